# SPDX-License-Identifier: Apache-2.0
"""Watches the registrations of one LUN. At each reading one path reads for all of them."""

import threading
from collections.abc import Callable

from fencer._typing import Final
from fencer.errors import StorageError
from fencer.model import Deadline
from fencer.sidecar.observer.rounds import AHEAD_S, next_on_grid
from fencer.sidecar.registration_state import Reading, judge
from fencer.sidecar.reports import KEYS_MOST, LunSeen, LunSilent, Report
from fencer.sidecar.settings import SidecarTiming
from fencer.state.snapshot import RegistrationState
from fencer.storage.nexus import Nexus
from fencer.storage.registration import History, Past
from fencer.storage.settings import StorageSettings

READINGS_MOST = 5

Send = Callable[[Report], None]


def read_registrations(nexus: Nexus, deadline: Deadline) -> Reading:
    """Keys and reservation of one PR generation. Raises StorageError."""
    for _ in range(READINGS_MOST):
        held = nexus.read_reservation(deadline)
        registered = nexus.read_keys(deadline)
        if held.generation == registered.generation:
            return Reading(registered.generation, registered.keys, held)
    raise StorageError(f"{nexus.name}: registrations change faster than they can be read")


class LunWatch:
    """What is known of one LUN. Its methods may be called by several threads.

    registration: by the last reading. unfenced: registered as a whole by this process. fenced: seen preempted or shut
    out; never again anything else in this process. in_vain: how many readings failed since the last good one.
    """

    def __init__(
        self,
        wwid: str,
        name: str,
        storage: StorageSettings,
        timing: SidecarTiming,
        send: Send,
        recorded: Past,
        generation: int | None = None,
    ) -> None:
        """recorded: by the marker of this boot. generation: of the latest reading that listed our key, where an earlier
        observer of this boot made one."""
        self.wwid: Final = wwid
        self.name: Final = name
        self.registration: RegistrationState | None = None
        self.unfenced = False
        self.fenced = False
        self.forgot_since_s: float | None = None
        self.dropped_at: int | None = None  # the generation, while the target has dropped our registration
        self._storage: Final = storage
        self._timing: Final = timing
        self._send: Final = send
        self._lock: Final = threading.Lock()
        self._due_s = 0.0
        self._told_silent_s = 0.0
        self._past = recorded
        if self._past.history is History.REGISTERED and self._past.generation is not None and generation is not None:
            self._past = self._past._replace(generation=max(self._past.generation, generation))

    @property
    def due_s(self) -> float:
        """When the next reading is to begin."""
        return self._due_s

    def take_turn(self, now: float) -> bool:
        """Whether the caller is to read the registrations now. When it gets no answer in time, another path may."""
        with self._lock:
            if now < self._due_s:
                return False
            self._due_s = now + self._timing.answer_deadline_s
            return True

    def read(self, nexus: Nexus, now: float, deadline: Deadline) -> Reading | None:
        """Reads by this path and reports; None when there was no answer. now: the present, from deadline's clock."""
        try:
            reading = read_registrations(nexus, deadline)
            if self._storage.own_key not in reading.keys:  # the number may belong to another LUN since
                nexus.require_wwid(deadline)
        except StorageError as error:
            with self._lock:
                self._due_s = now  # another path may try at once; this one waits
            self._send(LunSilent(self.wwid, now, str(error)))
            return None
        self._learn(reading, now)
        return reading

    def _learn(self, reading: Reading, now: float) -> None:
        own = self._storage.own_key
        if own is None:
            return
        with self._lock:
            # Together with the turns of the paths, which come AHEAD_S after they were read ahead.
            self._due_s = next_on_grid(now - AHEAD_S, self._timing.check_interval_s) + AHEAD_S
            registration = judge(reading, self._past, own, self._storage.reservation_type)
            if own in reading.keys and self._past.history is History.REGISTERED:
                self._past = Past(History.REGISTERED, reading.generation, own)
            self.fenced = self.fenced or registration in (RegistrationState.PREEMPTED, RegistrationState.SHUT_OUT)
            if registration is not RegistrationState.TARGET_FORGOT:
                self.forgot_since_s = None
            elif self.forgot_since_s is None:
                self.forgot_since_s = now
                self.unfenced = False
            self.dropped_at = reading.generation if registration is RegistrationState.DROPPED else None
            if registration is RegistrationState.DROPPED:
                self.unfenced = False
            self.registration = registration
        held, counts = reading.reservation, reading.counts
        told = sorted(counts, key=lambda each: each[0] != own)[:KEYS_MOST]
        keys, nexuses = tuple(key for key, _ in told), tuple(count for _, count in told)
        more = len(counts) - len(told)
        self._send(
            LunSeen(self.wwid, now, registration, reading.generation, keys, held.holder, held.type, nexuses, more)
        )

    def note_unfenced(self, recorded: Past) -> None:
        """This process has registered our key on the LUN. recorded: by the marker since."""
        with self._lock:
            self._past = recorded
            self.unfenced = True
            self._due_s = 0.0

    def note_preempted(self, recorded: Past) -> None:
        """Another node has fenced this one while this process registered it; the marker says so (recorded)."""
        with self._lock:
            self._past = recorded
            self._due_s = 0.0

    def tell_silence(self, now: float) -> None:
        """Reports that the registrations are not read: no path answers its probe."""
        late_s = self._timing.check_interval_s + self._timing.answer_deadline_s
        if now - self._due_s > late_s and now - self._told_silent_s > late_s:
            self._told_silent_s = now
            self._send(LunSilent(self.wwid, now, "no path answers"))
