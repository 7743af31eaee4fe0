# SPDX-License-Identifier: Apache-2.0
"""The feeder's environment: its injected adapters, its signals, and how it ends."""

import signal
import time
from _socket import socketpair
from collections.abc import Callable

from fencer._typing import NamedTuple, Protocol
from fencer.sidecar.control import ControlSocket
from fencer.sidecar.lun_list import LunList
from fencer.sidecar.sd_notify import ServiceManager
from fencer.sidecar.watchdog_device import Watchdog
from fencer.state.snapshot import WatchdogSnapshot


class ExitStatus:
    """The unit's RestartPreventExitStatus names the first two that are not 0. TRY_AGAIN: it is to be started again."""

    STOPPED = 0
    MISCONFIGURED = 1
    PREEMPTED = 3
    TRY_AGAIN = 75
    BROKEN = 70


class Ended(NamedTuple):
    """How a run ended. sentence: for stderr, "" when there is nothing to say."""

    status: int
    sentence: str = ""


class Resetting(Protocol):
    """What resets this machine: fencer.sidecar.self_fence.Reset."""

    def say(self, text: str) -> None:
        """Writes the sentence to the console or the kernel's log."""

    def now(self) -> None:
        """Resets the machine. Returns only when that failed."""


class Environment(NamedTuple):
    """What the feeder acts on. arm: opens the watchdog, from when on it ticks. Raises WatchdogError, or WatchdogNotYet
    when asking again later may help.

    left: the watchdog that a predecessor in this boot left ticking. paused_until_s: its pause, monotonic. generations:
    what it last read while this node's key was listed (fencer.sidecar.messages.Generations). luns: what it watched, if
    that is to be watched again at once. not_granted: what the kernel refused this process, one phrase each.
    """

    arm: Callable[[], Watchdog]
    reset: Resetting
    service: ServiceManager
    control: ControlSocket
    boot_id: str
    left: WatchdogSnapshot | None = None
    paused_until_s: float | None = None
    generations: tuple[tuple[str, int], ...] = ()
    luns: LunList | None = None
    clock: Callable[[], float] = time.monotonic
    not_granted: tuple[str, ...] = ()

    @property
    def resumed(self) -> bool:
        """The node is reset unless this daemon feeds in time."""
        return self.left is not None


class Signals:
    """SIGTERM and SIGINT: stop in order. SIGHUP: read the configuration again. Handlers only set a flag."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self._read_end, write_end = socketpair()
        self._write_end = write_end
        for sock in (self._read_end, write_end):
            sock.setblocking(False)
        signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def fileno(self) -> int:
        return self._read_end.fileno()

    def drain(self) -> None:
        """Empties the pipe that woke the feeder."""
        try:
            self._read_end.recv(4096)
        except BlockingIOError:
            return

    def _stop(self, _number: int, _frame: object) -> None:
        self.stop = True

    def _reload(self, _number: int, _frame: object) -> None:
        self.reload = True
