#!python
# SPDX-License-Identifier: Apache-2.0
"""fence_halvm: fence a node through its BMC and its shared disk, on proof."""

import gc
import os

gc.disable()  # a call is short and leaves few cycles; looking for them while all this loads is 6 % of what it costs

from fencer.agent.main import main  # noqa: E402 - after gc.disable

if __name__ == "__main__":
    os._exit(main())  # main has flushed all there is; taking a hundred modules apart would cost the caller 10 ms
