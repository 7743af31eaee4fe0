#!python
# SPDX-License-Identifier: Apache-2.0
"""halvm-watchdogd: resets this node when it has lost its shared storage or its reservation key."""

import contextlib
import os
import sys

from fencer.sidecar.main import main

if __name__ == "__main__":
    status = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)  # children that hang are left behind, and nothing closes the watchdog but the kernel
