#!python
# SPDX-License-Identifier: Apache-2.0
"""halvmctl: the state of the cluster on one screen, and a check beforehand that a failover will work."""

import contextlib
import os
import sys

from fencer.ctl.main import main

if __name__ == "__main__":
    status = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)  # a source that hangs on a lost disk is left behind
