# SPDX-License-Identifier: Apache-2.0
"""Starts bare threads: threading is slow to load, and its handshake at each start costs more than a command."""

from _thread import start_new_thread
from collections.abc import Callable

from fencer.shortage import start_despite_shortage


def start_thread(work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Runs work in a new thread. Raises RuntimeError where none can be started for PATIENCE_S of fencer.shortage."""
    start_despite_shortage(lambda: start_new_thread(work, arguments))
