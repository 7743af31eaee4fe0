"""Watches one path of a LUN in a thread of its own: only this thread hangs with the path, which then grows stale.

A single command may get lost on a path that works, and the kernel waits half a minute for it. So a thread that has
waited for half of its time is left behind, and another one goes on beside it; only when that gets no answer either, in
the time that the first one had, is the path lost.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from fencer.errors import StorageError
from fencer.model import Deadline
from fencer.sidecar.observer.kernel_paths import KernelPath
from fencer.sidecar.observer.lun_watch import LunWatch, Send
from fencer.sidecar.reports import LISTED, PathGone, PathRegistered, PathSeen, Registered, RegistrationFailed
from fencer.sidecar.settings import SidecarTiming
from fencer.state.snapshot import RegistrationState
from fencer.storage.nexus import Nexus
from fencer.storage.registration import Terms, register_path
from fencer.storage.settings import StorageSettings

REGISTER_S = 5.0
"""How long registering one path may take."""

LEFT_BEHIND_MOST = 2
"""Threads of one path that may hang beside the one that is asked for. What a path costs stays bounded."""


def start_thread(job: Callable[[], None], name: str) -> None:
    """Starts a thread that does not keep the process from ending."""
    threading.Thread(target=job, name=name, daemon=True).start()


class Probe(Protocol):
    """Reads from the disk through one path."""

    def read(self) -> str:
        """Why the path is lost; "" when it answered."""

    def close(self) -> None:
        """Gives the path up."""


OpenNexus = Callable[[str], Nexus]
"""Opens a device file for SCSI commands. Raises StorageError."""


class _Turns:
    """One thread's share of a path: what it holds and what it waits for. busy: since when, how long it may take, and
    whether another may take its place meanwhile."""

    def __init__(self, probe: Probe) -> None:
        self.probe: Final = probe
        self.nexus: Nexus | None = None
        self.busy: tuple[float, float, bool] | None = None
        self.left_behind = False

    def drop(self) -> None:
        """Closes what it holds. Never raises."""
        nexus, self.nexus = self.nexus, None
        if nexus is not None:
            nexus.close()
        self.probe.close()


class PathWatch:
    """Watches one path. Its own thread calls turn(); other threads call the rest.

    epoch counts the losses: a registration that was under way while the path was lost does not count, since what comes
    back may be another I_T nexus. start: begins a thread.
    """

    def __init__(
        self,
        path: KernelPath,
        lun: LunWatch,
        make_probe: Callable[[KernelPath], Probe],
        open_nexus: OpenNexus,
        storage: StorageSettings,
        timing: SidecarTiming,
        send: Send,
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None], str], None] = start_thread,
    ) -> None:
        self.path: Final = path
        self.lun: Final = lun
        self.good: bool | None = None  # None: not probed yet
        self.registered = False
        self.epoch = 0
        self._make_probe: Final = make_probe
        self._open_nexus: Final = open_nexus
        self._storage: Final = storage
        self._timing: Final = timing
        self._send: Final = send
        self._clock: Final = clock
        self._start: Final = start
        self._lock: Final = threading.Lock()
        self._ended: Final = threading.Event()
        self._turns = _Turns(make_probe(path))
        self._hanging = 0
        self._hanging_since_s: float | None = None  # when the oldest unanswered command began
        self._next_probe_s = 0.0
        self._next_read_s = 0.0
        self._next_try_s = 0.0
        self._given_up = False
        self._complaint = ""

    # --- in its own thread ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Takes turns until the path is gone or another thread has taken over."""
        self._run(self._turns)

    def _run(self, turns: _Turns) -> None:
        """Takes turns. An unexpected exception counts as a loss of this path and does not end the thread."""
        while not self._ended.is_set() and not turns.left_behind:
            try:
                next_s = self._turn(turns)
            except Exception as error:  # noqa: BLE001 - or the path would grow stale for ever
                self._see(turns, self._clock(), f"unexpected {type(error).__name__}: {error}")
                next_s = self._clock() + self._timing.probe_interval_s
            if not turns.left_behind:
                self._ended.wait(max(0.0, next_s - self._clock()))
        turns.drop()
        with self._lock:
            self._hanging -= turns.left_behind

    def turn(self) -> float:
        """Probes, reads registrations if it is this path's turn, registers if need be. Returns when to come again."""
        return self._turn(self._turns)

    def _turn(self, turns: _Turns) -> float:
        now = self._clock()
        if now >= self._next_probe_s:
            self._next_probe_s = now + self._timing.probe_interval_s
            with self._no_longer_than(turns, self._timing.probe_deadline_s) as busy:
                reason = turns.probe.read()
            self._see(turns, now, reason or busy.lateness)
        if not self.good or turns.left_behind:
            return self._next_probe_s
        now = self._clock()
        if now >= self._next_read_s and self.lun.take_turn(now):
            self._read_registrations(turns, now)
        if self.good and not self.registered and self.lun.unfenced and now >= self._next_try_s:
            self._register(turns)
        return min(self._next_probe_s, max(self.lun.due_s, self._next_read_s))

    def _see(self, turns: _Turns, at_s: float, reason: str) -> None:
        took_s = self._clock() - at_s
        with self._lock:
            if turns.left_behind:
                return  # the thread in its place reports the path
            if reason:
                self._lose()
            if not self._ended.is_set():
                self.good = not reason
                self._given_up = False
                self._hanging_since_s = None
                self._send(PathSeen(self.lun.wwid, self.path.name, at_s, not reason, reason, took_s))
        if reason:
            turns.drop()

    def _read_registrations(self, turns: _Turns, now: float) -> bool:
        """Whether our key is listed, by a reading of this path."""
        try:
            nexus = self._connected(turns)
        except StorageError as error:
            self._see(turns, now, str(error))
            return False
        with self._no_longer_than(turns, self._timing.answer_deadline_s):
            reading = self.lun.read(nexus, now, self._deadline(self._timing.answer_deadline_s))
        if reading is None:
            self._next_read_s = now + self._timing.check_interval_s
            turns.drop()
            return False
        if (
            self.lun.registration is RegistrationState.UNPROTECTED
            and self.registered
            and self._storage.own_key is not None
        ):
            with suppress(StorageError):
                nexus.reserve(self._storage.own_key, self._storage.reservation_type, self._deadline(REGISTER_S))
        return self._storage.own_key in reading.keys

    def _register(self, turns: _Turns) -> None:
        """Puts our key on this path, where it is on the LUN and was not preempted: a look comes first."""
        own, epoch = self._storage.own_key, self.epoch
        began_s = self._clock()
        self._next_try_s = began_s + self._timing.check_interval_s
        if own is None or not self._read_registrations(turns, began_s):
            return
        if self.lun.registration not in LISTED or self.lun.fenced or turns.left_behind:
            return
        terms = Terms.on(self._storage, own)
        try:
            with self._no_longer_than(turns, REGISTER_S, alone=True):
                refusal = register_path(self._connected(turns), terms, own, self._deadline(REGISTER_S))
        except StorageError as error:
            refusal = str(error)
        if refusal is None:
            self.note_registered(epoch, "the path is new or came back")
        elif refusal != self._complaint:
            self._complaint = refusal
            self._send(RegistrationFailed(self.lun.wwid, self.path.name, began_s, refusal))

    def _connected(self, turns: _Turns) -> Nexus:
        if turns.nexus is None:
            turns.nexus = self._open_nexus(self.path.node)
        return turns.nexus

    def _deadline(self, seconds: float) -> Deadline:
        return Deadline.after(seconds, self._clock)

    def _no_longer_than(self, turns: _Turns, seconds: float, *, alone: bool = False) -> "_Busy":
        return _Busy(self, turns, seconds, alone)

    # --- by others ------------------------------------------------------------------------------------------------

    def note_registered(self, epoch: int, why: str = "") -> None:
        """Our key is on this path, if it has not been lost since epoch was read. why: for the journal; "" for none."""
        at_s = self._clock()
        with self._lock:
            if epoch != self.epoch or self._ended.is_set():
                return
            self.registered, self._complaint = True, ""
            self._send(PathRegistered(self.lun.wwid, self.path.name, at_s))
            if why:
                self._send(Registered(self.lun.wwid, self.path.name, at_s, why))

    def repeat(self) -> None:
        """Reports again that the path is registered, if it is: for a new policy."""
        with self._lock:
            if self.registered and not self._ended.is_set():
                self._send(PathRegistered(self.lun.wwid, self.path.name, self._clock()))

    def tell_overdue(self, now: float) -> None:
        """Has another thread go on where one waits for long, and reports a loss, once, when none gets an answer."""
        successor: _Turns | None = None
        with self._lock:
            waiting = self._turns
            if self._ended.is_set() or (waiting.busy is None and self._hanging_since_s is None):
                return
            # A thread that is to go on beside another has perhaps not begun yet.
            began_s, most_s, alone = waiting.busy or (now, self._timing.probe_deadline_s, True)
            since_s = began_s if self._hanging_since_s is None else min(began_s, self._hanging_since_s)
            if now - since_s > most_s and not self._given_up:
                self._given_up = True
                self._lose()
                self.good = False
                reason = f"no answer within {most_s:g} s"
                self._send(PathSeen(self.lun.wwid, self.path.name, since_s, False, reason, now - since_s))
            if not alone and now - began_s >= most_s / 2 and self._hanging < LEFT_BEHIND_MOST:
                waiting.left_behind = True
                self._hanging += 1
                self._hanging_since_s = since_s
                self._next_probe_s = now
                successor = self._turns = _Turns(self._make_probe(self.path))
        if successor is not None:
            try:
                self._start(partial(self._run, successor), self.path.name)
            except RuntimeError:  # no memory or no process for another thread: this one is waited for
                with self._lock:
                    self._turns, waiting.left_behind = waiting, False
                    self._hanging -= 1

    def end(self, now: float) -> None:
        """The kernel has no such path any more. The thread ends when it can."""
        with self._lock:
            self._ended.set()
            self._send(PathGone(self.lun.wwid, self.path.name, now))

    def _lose(self) -> None:
        self.epoch += 1
        self.registered = False


class _Busy:
    """While a command is under way. lateness: afterwards, why its answer came too late; "" when it did not."""

    def __init__(self, watch: PathWatch, turns: _Turns, seconds: float, alone: bool) -> None:
        self._watch, self._turns, self._seconds, self._alone = watch, turns, seconds, alone
        self._began_s = 0.0
        self.lateness = ""

    def __enter__(self) -> "_Busy":
        self._began_s = self._watch._clock()
        with self._watch._lock:
            self._turns.busy = (self._began_s, self._seconds, self._alone)
        return self

    def __exit__(self, *_: object) -> None:
        took_s = self._watch._clock() - self._began_s
        with self._watch._lock:
            self._turns.busy = None
        if took_s > self._seconds:
            self.lateness = f"answered only after {took_s:.1f} s"
