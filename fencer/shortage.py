# SPDX-License-Identifier: Apache-2.0
"""Starts processes and threads although the machine has none left for a moment."""

import errno
import math
import time
from collections.abc import Callable

from fencer._typing import TypeVar

PATIENCE_S = 2.0
"""How long a start is repeated."""
_PAUSE_S = 0.05

SHORTAGES = frozenset((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE))
"""Errors of a start that say nothing of what was to be started: no process, memory or descriptor is left."""

Started = TypeVar("Started")


def start_despite_shortage(start: Callable[[], Started], until_s: float = math.inf) -> Started:
    """Calls start, and for PATIENCE_S again while processes, threads, memory or descriptors run out. Returns its value.

    until_s: a moment of the monotonic clock after which it is not called again either. Raises what the last call
    raised: OSError; RuntimeError, by which Python says that a thread cannot be started.
    """
    until_s = min(until_s, time.monotonic() + PATIENCE_S)
    while True:
        try:
            return start()
        except (OSError, RuntimeError) as error:
            is_shortage = not isinstance(error, OSError) or error.errno in SHORTAGES
            if not is_shortage or time.monotonic() >= until_s:
                raise
        time.sleep(_PAUSE_S)
