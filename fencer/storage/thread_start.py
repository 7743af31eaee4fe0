# SPDX-License-Identifier: Apache-2.0
"""Starts bare threads: threading is slow to load, and its handshake at each start costs more than a command."""

import time
from _thread import start_new_thread
from collections.abc import Callable

from fencer.worker import FORK_PATIENCE_S, FORK_PAUSE_S


def start_thread(work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Runs work in a new thread. Tried again while tasks or memory run out, as a fork is (fencer.worker).

    Raises RuntimeError when that lasts.
    """
    until_s = time.monotonic() + FORK_PATIENCE_S
    while True:
        try:
            start_new_thread(work, arguments)
        except RuntimeError:
            if time.monotonic() >= until_s:
                raise
            time.sleep(FORK_PAUSE_S)
        else:
            return
