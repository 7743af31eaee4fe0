# SPDX-License-Identifier: Apache-2.0
"""fence_halvm with two minutes for a look, for tests of what a look says and not of when it ends.

monitor, status and list have 14 s, because Pacemaker ends them after 20 s. A slow start takes up to half of that. On a
machine that gives a process no processor for seconds, "unknown" is then the right answer. No option gives a cluster
manager more.
"""

import gc
import os

gc.disable()

from fencer.agent import time_limits  # noqa: E402 - as in agents/fence_halvm.py

vars(time_limits)["LOOK_S"] = 120.0  # before others import it

from fencer.agent.main import main  # noqa: E402 - after that

if __name__ == "__main__":
    os._exit(main())
