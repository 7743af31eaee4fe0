#!python
"""fence_halvm: fence a node through its BMC and its shared disk, on proof."""

import os

from fencer.cli.fence_halvm import main

if __name__ == "__main__":
    os._exit(main())  # main has flushed all there is; taking a hundred modules apart would cost the caller 10 ms
