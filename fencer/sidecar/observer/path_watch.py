# SPDX-License-Identifier: Apache-2.0
"""Watches one path of a LUN, turn by turn. A turn may hang with the path, which then grows stale; others go on.

A single command may get lost on a path that works, and the kernel waits half a minute for it. So a turn that has
waited for half of its time is left behind, and another one goes on beside it; only when that gets no answer either, in
the time that the first one had, is the path lost.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from fencer._typing import Final, NamedTuple, Protocol
from fencer.errors import StorageError
from fencer.model import Deadline
from fencer.sidecar.observer.kernel_paths import KernelPath
from fencer.sidecar.observer.lun_watch import LunWatch, Send
from fencer.sidecar.observer.rounds import AHEAD_S, Turn, next_on_grid
from fencer.sidecar.reports import LISTED, PathGone, PathRegistered, PathSeen, Registered, RegistrationFailed
from fencer.sidecar.settings import SidecarTiming
from fencer.state.snapshot import RegistrationState
from fencer.storage.nexus import Nexus
from fencer.storage.registration import Terms, register_path
from fencer.storage.settings import StorageSettings

REGISTER_S = 5.0
"""How long registering one path may take."""

LEFT_BEHIND_MOST = 2
"""Turns of one path that may hang beside the one that is asked for. What a path costs stays bounded."""


SLOW_S = 0.05
"""A path whose last probe took longer is probed in its turn alone."""


class Probe(Protocol):
    """Reads from the disk through one path. descriptor: what it reads from; None while it has none."""

    @property
    def descriptor(self) -> int | None: ...

    def read(self) -> str:
        """Why the path is lost; "" when it answered."""

    def close(self) -> None:
        """Gives the path up."""


OpenNexus = Callable[[str], Nexus]
"""Opens a device file for SCSI commands. Raises StorageError."""


class _Turns:
    """What the turns of a path hold, and what one that is under way waits for. busy: since when, how long it may take,
    and whether others may take their place meanwhile. A thread takes them one after the other."""

    def __init__(self, probe: Probe) -> None:
        self.probe: Final = probe
        self.lock: Final = threading.Lock()
        self.nexus: Nexus | None = None
        self.busy: tuple[float, float, bool] | None = None
        self.left_behind = self.is_dropped = False
        self.drops = 0

    def drop(self) -> None:
        """Closes what it holds. Never raises."""
        self.drops += 1  # before anything is closed: its number may be another file's at once
        nexus, self.nexus = self.nexus, None
        if nexus is not None:
            nexus.close()
        self.probe.close()


class Offer(NamedTuple):
    """A read for another thread to begin, and what has to be so still when it is answered. began_s: when it begins."""

    descriptor: int
    began_s: float
    epoch: int
    turns: _Turns
    drops: int


class PathWatch:
    """Watches one path. The thread whose turn it is calls the step that was added, and turn(); others call the rest.

    epoch counts the losses: a registration that was under way while the path was lost does not count, since what comes
    back may be another I_T nexus. add: has a step taken at a time, as Rounds.add.
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
        clock: Callable[[], float],
        add: Callable[[Turn, float], None],
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
        self._add: Final = add
        self._lock: Final = threading.Lock()
        self._ended: Final = threading.Event()
        self._turns = _Turns(make_probe(path))
        self._hanging = 0
        self._hanging_since_s: float | None = None  # when the oldest unanswered command began
        self._next_probe_s = 0.0
        self._took_s = 0.0
        self._next_read_s = 0.0
        self._next_try_s = 0.0
        self._given_up = False
        self._complaint = ""

    # --- when it is its turn --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Schedules the first step now."""
        self._add(partial(self._step, self._turns), self._clock())

    def _step(self, turns: _Turns) -> float | None:
        """Takes one turn, and returns when the next one is due; None when the path is gone, or others have taken over.

        A fault of ours is a loss of this path, never of the thread.
        """
        if self._next_turn_s > self._clock() and not self._ended.is_set() and not turns.left_behind:
            return self._next_turn_s
        if not turns.lock.acquire(blocking=False):
            return None  # end() has this one come beside the one that is under way, which finds the same
        try:
            if not self._ended.is_set() and not turns.left_behind:
                try:
                    next_s = self._turn(turns)
                except Exception as error:  # noqa: BLE001 - or the path would grow stale for ever
                    self._see(turns, self._clock(), f"unexpected {type(error).__name__}: {error}")
                    next_s = self._clock() + self._timing.probe_interval_s
                if not self._ended.is_set() and not turns.left_behind:
                    return next_s
            turns.drop()
            with self._lock:
                self._hanging -= turns.left_behind and not turns.is_dropped
                turns.is_dropped = True
            return None
        finally:
            turns.lock.release()

    @property
    def _next_turn_s(self) -> float:
        """When there is something to do. A path that is well has been read ahead by then, most often."""
        if not self.good:
            return self._next_probe_s
        return min(self._next_probe_s + AHEAD_S, max(self.lun.due_s, self._next_read_s))

    def turn(self) -> float:
        """Probes, reads registrations if it is this path's turn, registers if need be. Returns when to come again."""
        return self._turn(self._turns)

    def _turn(self, turns: _Turns) -> float:
        now = self._clock()
        if now >= self._next_probe_s:
            self._next_probe_s = next_on_grid(now, self._timing.probe_interval_s)
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
        return self._next_turn_s

    def _see(self, turns: _Turns, at_s: float, reason: str) -> None:
        took_s = self._clock() - at_s
        with self._lock:
            if turns.left_behind:
                return  # the turns in their place report the path
            if reason:
                self._lose()
            if not self._ended.is_set():
                self.good = not reason
                self._given_up = False
                self._hanging_since_s = None
                self._took_s = took_s
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
            turns.nexus = self._open_nexus(self.path.node).of_lun(self.lun.wwid)
        return turns.nexus

    def _deadline(self, seconds: float) -> Deadline:
        return Deadline.after(seconds, self._clock)

    def _no_longer_than(self, turns: _Turns, seconds: float, *, alone: bool = False) -> "_Busy":
        return _Busy(self, turns, seconds, alone)

    # --- by the thread that reads ahead -----------------------------------------------------------------------------

    def offer(self) -> Offer | None:
        """A read to begin now, of a path that is well and due for a probe."""
        now, turns, epoch = self._clock(), self._turns, self.epoch
        if not self.good or self._took_s > SLOW_S or now < self._next_probe_s or self._ended.is_set():
            return None
        drops, descriptor = turns.drops, turns.probe.descriptor
        return None if descriptor is None or turns.left_behind else Offer(descriptor, now, epoch, turns, drops)

    def answered(self, offer: Offer) -> None:
        """The read was answered. It counts as a probe, unless the path was lost meanwhile, or others have its turns, or
        its descriptor was given up: then it may have been a read of another file."""
        took_s = self._clock() - offer.began_s
        with self._lock:
            is_same = self._turns is offer.turns and self.epoch == offer.epoch and offer.turns.drops == offer.drops
            if not is_same or not self.good or self._hanging_since_s is not None or self._ended.is_set():
                return
            self._next_probe_s = max(self._next_probe_s, next_on_grid(offer.began_s, self._timing.probe_interval_s))
            self._send(PathSeen(self.lun.wwid, self.path.name, offer.began_s, True, "", took_s))

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
        """Has another turn go on where one waits for long, and reports a loss, once, when none gets an answer."""
        successor: _Turns | None = None
        with self._lock:
            waiting = self._turns
            if self._ended.is_set() or (waiting.busy is None and self._hanging_since_s is None):
                return
            # A turn that is to go on beside another has perhaps not begun yet.
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
            self._add(partial(self._step, successor), now)

    def end(self, now: float) -> None:
        """The kernel has no such path any more. What it holds is given up as soon as it can be."""
        with self._lock:
            self._ended.set()
            self._send(PathGone(self.lun.wwid, self.path.name, now))
        self._add(partial(self._step, self._turns), now)

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
