"""One path of a LUN, watched by a thread of its own: whatever hangs, hangs here, and the path grows stale."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from fencer.errors import StorageError
from fencer.model import Deadline
from fencer.request import StorageSettings
from fencer.storage.nexus import Nexus
from fencer.storage.registration import Terms, register_path
from fencer.watchdog.lun_watch import LunWatch, Send
from fencer.watchdog.paths import KernelPath
from fencer.watchdog.settings import Timing
from fencer.watchdog.sightings import PathGone, PathRegistered, PathSeen, Registered, RegistrationFailed, Standing

REGISTER_S = 5.0
"""How long registering one path may take."""

_LISTED = (Standing.REGISTERED, Standing.UNPROTECTED, Standing.CONFLICT)


class Probe(Protocol):
    """Reads from the disk through one path."""

    def read(self) -> str:
        """Why the path is lost; "" when it answered."""

    def close(self) -> None:
        """Gives the path up."""


OpenNexus = Callable[[str], Nexus]
"""Opens a device file for SCSI commands. Raises StorageError."""


class PathWatch:
    """turn() is called by the path's own thread, everything else by others.

    epoch counts the losses: a registration that was under way while the path was lost does not count, since what comes
    back may be another I_T nexus.
    """

    def __init__(
        self,
        path: KernelPath,
        lun: LunWatch,
        probe: Probe,
        open_nexus: OpenNexus,
        storage: StorageSettings,
        timing: Timing,
        send: Send,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path: Final = path
        self.lun: Final = lun
        self.good: bool | None = None  # None: not probed yet
        self.registered = False
        self.epoch = 0
        self._probe: Final = probe
        self._open_nexus: Final = open_nexus
        self._storage: Final = storage
        self._timing: Final = timing
        self._send: Final = send
        self._clock: Final = clock
        self._lock: Final = threading.Lock()
        self._ended: Final = threading.Event()
        self._nexus: Nexus | None = None
        self._next_probe_s = 0.0
        self._next_read_s = 0.0
        self._next_try_s = 0.0
        self._busy: tuple[float, float] | None = None  # since when, and how long it may take
        self._given_up = False
        self._complaint = ""

    # --- in its own thread ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Takes turns until the path is gone. A fault of ours is a loss of this path, never of the thread."""
        while not self._ended.is_set():
            try:
                next_s = self.turn()
            except Exception as error:  # noqa: BLE001 - or the path would grow stale for ever
                self._see(self._clock(), f"unexpected {type(error).__name__}: {error}")
                next_s = self._clock() + self._timing.probe_interval_s
            self._ended.wait(max(0.0, next_s - self._clock()))
        self._drop()

    def turn(self) -> float:
        """Probes, reads registrations if it is this path's turn, registers if need be. Returns when to come again."""
        now = self._clock()
        if now >= self._next_probe_s:
            self._next_probe_s = now + self._timing.probe_interval_s
            with self._no_longer_than(self._timing.probe_deadline_s) as busy:
                reason = self._probe.read()
            self._see(now, reason or busy.lateness)
        if not self.good:
            return self._next_probe_s
        now = self._clock()
        if now >= self._next_read_s and self.lun.take_turn(now):
            self._read_registrations(now)
        if self.good and not self.registered and self.lun.unfenced and now >= self._next_try_s:
            self._register()
        return min(self._next_probe_s, max(self.lun.due_s, self._next_read_s))

    def _see(self, at_s: float, reason: str) -> None:
        took_s = self._clock() - at_s
        with self._lock:
            if reason:
                self._lose()
            if not self._ended.is_set():
                self.good = not reason
                self._send(PathSeen(self.lun.wwid, self.path.name, at_s, not reason, reason, took_s))
        if reason:
            self._drop()

    def _read_registrations(self, now: float) -> bool:
        """Whether our key is listed, by a reading of this path."""
        try:
            nexus = self._connected()
        except StorageError as error:
            self._see(now, str(error))
            return False
        with self._no_longer_than(self._timing.answer_deadline_s):
            reading = self.lun.read(nexus, now, self._deadline(self._timing.answer_deadline_s))
        if reading is None:
            self._next_read_s = now + self._timing.check_interval_s
            self._drop()
            return False
        if self.lun.standing is Standing.UNPROTECTED and self.registered and self._storage.own_key is not None:
            with suppress(StorageError):
                nexus.reserve(self._storage.own_key, self._storage.reservation_type, self._deadline(REGISTER_S))
        return self._storage.own_key in reading.keys

    def _register(self) -> None:
        """Puts our key on this path, where it is on the LUN and nobody has taken it away: a look comes first."""
        own, epoch = self._storage.own_key, self.epoch
        began_s = self._clock()
        self._next_try_s = began_s + self._timing.check_interval_s
        if own is None or not self._read_registrations(began_s) or self.lun.standing not in _LISTED or self.lun.fenced:
            return
        terms = Terms(own, self._storage.reservation_type, self._storage.aptpl)
        try:
            with self._no_longer_than(REGISTER_S):
                refusal = register_path(self._connected(), terms, own, self._deadline(REGISTER_S))
        except StorageError as error:
            refusal = str(error)
        if refusal is None:
            self.note_registered(epoch, "the path is new or came back")
        elif refusal != self._complaint:
            self._complaint = refusal
            self._send(RegistrationFailed(self.lun.wwid, self.path.name, began_s, refusal))

    def _connected(self) -> Nexus:
        if self._nexus is None:
            self._nexus = self._open_nexus(self.path.node)
        return self._nexus

    def _drop(self) -> None:
        nexus, self._nexus = self._nexus, None
        if nexus is not None:
            nexus.close()
        self._probe.close()

    def _deadline(self, seconds: float) -> Deadline:
        return Deadline.after(seconds, self._clock)

    def _no_longer_than(self, seconds: float) -> "_Busy":
        return _Busy(self, seconds)

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
        """Says again that the path is registered, if it is: for a policy that has begun anew meanwhile."""
        with self._lock:
            if self.registered and not self._ended.is_set():
                self._send(PathRegistered(self.lun.wwid, self.path.name, self._clock()))

    def tell_overdue(self, now: float) -> None:
        """Reports a command that has not ended in its time as a loss, once. It is not asked again while it hangs."""
        with self._lock:
            if self._busy is None or self._given_up or self._ended.is_set():
                return
            since_s, most_s = self._busy
            if now - since_s > most_s:
                self._given_up = True
                self._lose()
                self.good = False
                reason = f"no answer within {most_s:g} s"
                self._send(PathSeen(self.lun.wwid, self.path.name, since_s, False, reason, now - since_s))

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

    def __init__(self, watch: PathWatch, seconds: float) -> None:
        self._watch, self._seconds = watch, seconds
        self._began_s = 0.0
        self.lateness = ""

    def __enter__(self) -> "_Busy":
        self._began_s = self._watch._clock()
        with self._watch._lock:
            self._watch._busy = (self._began_s, self._seconds)
            self._watch._given_up = False
        return self

    def __exit__(self, *_: object) -> None:
        took_s = self._watch._clock() - self._began_s
        with self._watch._lock:
            late = self._watch._given_up or took_s > self._seconds
            self._watch._busy = None
        if late:
            self.lateness = f"answered only after {took_s:.1f} s"
