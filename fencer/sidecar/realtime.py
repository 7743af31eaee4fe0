# SPDX-License-Identifier: Apache-2.0
"""Makes this process real-time: locks its memory, raises its priority, exempts it from the OOM killer."""

import contextlib
import ctypes
import gc
import os
from collections.abc import Callable

from fencer.sidecar.children import set_oom_score

_MCL_CURRENT, _MCL_FUTURE = 1, 2
_OOM_NEVER = -1000
_PRIORITY = 1
"""The lowest real-time priority: above everything else, below an administrator's own real-time processes."""


def become_realtime() -> tuple[str, ...]:
    """Returns what could not be done, one phrase each. The sidecar runs all the same, say without privileges."""
    set_oom_score(_OOM_NEVER)
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("lock memory", _lock_memory),
        ("real-time priority", _real_time),
    )
    problems: list[str] = []
    for name, step in steps:
        try:
            step()
        except OSError as error:
            problems.append(f"{name}: {error.strerror}")
    # Nothing here makes reference cycles; a collection would be a pause of unknown length.
    gc.collect()
    gc.freeze()
    gc.disable()
    return tuple(problems)


def keep_loaded() -> None:
    """Keeps in memory what this process has loaded, also for the children that it forks: pages of libraries that were
    dropped for want of memory would have to come from a root disk that may hang. Best effort."""
    with contextlib.suppress(OSError):
        _lock_memory(_MCL_CURRENT)


def _lock_memory(flags: int = _MCL_CURRENT | _MCL_FUTURE) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _real_time() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
