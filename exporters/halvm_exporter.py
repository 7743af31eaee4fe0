#!python
# SPDX-License-Identifier: Apache-2.0
"""halvm-exporter: what the sidecar and the journal know, for Prometheus and for people."""

import sys

from fencer.exporter.main import main

if __name__ == "__main__":
    sys.exit(main())
