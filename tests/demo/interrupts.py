# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end the demo wherever it waits, but never between starting a process and knowing of it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The demo was told to end. number: the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """Takes both signals over. Raises Interrupted once, in the main thread; not inside of ``held``, but at its end."""

    def __init__(self) -> None:
        self._number = 0
        self._told = False
        self._held = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    @contextmanager
    def held(self) -> Iterator[None]:
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._tell()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._number = number
        self._tell()

    def _tell(self) -> None:
        if self._number and not self._held and not self._told:
            self._told = True
            raise Interrupted(self._number)
