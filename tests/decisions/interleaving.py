# SPDX-License-Identifier: Apache-2.0
"""Several nodes' procedures against fake targets, one SCSI command at a time, in an order that somebody else chooses.

Each procedure runs in a thread of its own that stops before every command and every sleep. Stage.step() lets one of
them go on to its next stop, with a fate for the command it stands before; so every interleaving of whole commands,
every lost command or answer and every crash can be played, and played again.
"""

import threading
from collections.abc import Callable
from enum import Enum, auto

from fencer.errors import TransportError
from fencer.model import Deadline
from fencer.storage.transport import ScsiReply, ScsiTransport

LONG_S = 10_000.0


class Fate(Enum):
    """What becomes of one command."""

    EXECUTE = auto()
    LOSE = auto()  # never reaches the target
    DEAFEN = auto()  # executed, the answer is lost
    CRASH = auto()  # the process ends before it is sent
    CRASH_AFTER = auto()  # executed, then the process ends


class _CrashedError(BaseException):
    """SIGKILL. Not an Exception: nothing may handle it."""


class Stage:
    """One procedure in its thread. clock: counts the steps, so that deadlines pass by steps, not by time."""

    def __init__(self, work: Callable[["Stage"], None]) -> None:
        self.now = 0.0
        self.over = False
        self.crashed = False
        self.error: BaseException | None = None
        self.pending = b""  # the CDB of the command that the procedure stands before; b"" for a sleep
        self._fate = Fate.EXECUTE
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._stopped.acquire()

    @property
    def deadline(self) -> Deadline:
        return Deadline(LONG_S, lambda: self.now)

    def step(self, fate: Fate = Fate.EXECUTE) -> None:
        """Lets the procedure go on to its next stop, or to its end."""
        assert not self.over
        self._fate = fate
        self._go.release()
        self._stopped.acquire()
        if self.error is not None:
            raise self.error

    def finish(self, most: int = 2000) -> None:
        """Steps until it is over."""
        for _ in range(most):
            if self.over:
                return
            self.step()
        raise AssertionError("the procedure does not end")

    def crash(self) -> None:
        """SIGKILL where it stands."""
        if not self.over:
            self.step(Fate.CRASH)

    # --- in the thread --------------------------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._stop(b"")

    def command(self, cdb: bytes, send: Callable[[], ScsiReply]) -> ScsiReply:
        fate = self._stop(cdb)
        self.now += 0.001
        if fate is Fate.LOSE:
            raise TransportError("the command was lost")
        reply = send()
        if fate is Fate.CRASH_AFTER:
            raise _CrashedError
        if fate is Fate.DEAFEN:
            raise TransportError("the answer was lost")
        return reply

    def _stop(self, cdb: bytes) -> Fate:
        self.pending = cdb
        self._stopped.release()
        self._go.acquire()
        if self._fate is Fate.CRASH:
            raise _CrashedError
        return self._fate

    def _run(self, work: Callable[["Stage"], None]) -> None:
        try:
            work(self)
        except _CrashedError:
            self.crashed = True
        except BaseException as error:
            self.error = error
        self.over = True
        self._stopped.release()


class SteppedTransport:
    """A ScsiTransport whose commands wait for their turn."""

    def __init__(self, inner: ScsiTransport, stage: Stage) -> None:
        self._inner, self._stage = inner, stage

    @property
    def name(self) -> str:
        return self._inner.name

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        return self._stage.command(
            cdb,
            lambda: self._inner.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=timeout_s),
        )

    def close(self) -> None:
        self._inner.close()
