#!python
"""fence_halvm: fence a node through its BMC and its shared disk, on proof."""

import sys

from fencer.cli.fence_halvm import main

if __name__ == "__main__":
    sys.exit(main())
