# SPDX-License-Identifier: Apache-2.0
"""The registrar: registers this node at the start, and again after a target has lost all registrations.

It never registers a node that was fenced.

Single paths that come (back) register themselves (path_watch); this is about LUNs as a whole, with the marker that says
for this boot where we have been registered.
"""

import threading
from collections.abc import Callable

from fencer._typing import Final, NamedTuple
from fencer.errors import FenceError, StorageError
from fencer.model import Deadline, ReservationKey
from fencer.observations import LunFailed, LunRegistered, Observation
from fencer.sidecar.observer.lun_watch import LunWatch, Send
from fencer.sidecar.observer.path_watch import OpenNexus, PathWatch
from fencer.sidecar.reports import Registered, RegistrationFailed
from fencer.sidecar.settings import SidecarTiming, TargetReset
from fencer.state.snapshot import RegistrationState
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.marker import read_marker
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.registration import Terms, past
from fencer.storage.restoring import restore
from fencer.storage.settings import StorageSettings
from fencer.storage.unfencing import unfence

UNFENCE_S = 10.0
UNFENCE_EACH_S = 0.5
"""How long registering all LUNs may take, and how much longer for each: nothing is armed before, so nothing waits."""

AT_ONCE = 2
"""How many LUNs are registered at the same time. The paths are probed meanwhile, and on a slow processor each LUN more
would have the probes come later."""


class LunAndPaths(NamedTuple):
    """A LUN and its paths, as the registrar sees them."""

    watch: LunWatch
    paths: tuple[PathWatch, ...]

    @property
    def good(self) -> tuple[PathWatch, ...]:
        """The paths that answered their last probe."""
        return tuple(path for path in self.paths if path.good)


class Registrar:
    """Registers this node on the LUNs that need it. luns: those watched now. is_active: whether a LUN is in use here.
    wanted: set while a LUN may need it.

    After a target has lost everything the node that does the work registers at once, and the others later: a node that
    finds another one registered cannot know whether it was fenced meanwhile, and must fence itself.
    """

    def __init__(
        self,
        storage: StorageSettings,
        own: ReservationKey,
        timing: SidecarTiming,
        on_target_reset: TargetReset,
        luns: Callable[[], tuple[LunAndPaths, ...]],
        is_active: Callable[[str], bool],
        open_nexus: OpenNexus,
        send: Send,
        clock: Callable[[], float],
    ) -> None:
        self._terms: Final = Terms.on(storage, own)
        self._state_dir: Final = storage.state_dir
        self._timing: Final = timing
        self._on_target_reset: Final = on_target_reset
        self._luns: Final = luns
        self._is_active: Final = is_active
        self._open_nexus: Final = open_nexus
        self._send: Final = send
        self._clock: Final = clock
        self._complaints: Final[dict[str, str]] = {}
        self.wanted: Final = threading.Event()

    def run(self, ended: threading.Event) -> None:
        """Takes a turn when it is wanted, until ended."""
        while not ended.wait(min(1.0, self._timing.check_interval_s)):
            self.wanted.wait()
            self.wanted.clear()
            self.turn()

    def turn(self) -> None:
        """Registers what is to be registered now. Never raises."""
        luns = self._luns()
        if any(lun.watch.fenced for lun in luns):
            return
        now = self._clock()
        if not any(self._is_due(lun, now) for lun in luns):
            return
        try:
            dropped = [lun for lun in luns if lun.watch.dropped_at is not None and lun.good]
            for lun in dropped:
                self._restore(lun)
            if not dropped:
                self._register(luns)
        except FenceError as error:
            self._complain("", str(error))
        except Exception as error:  # noqa: BLE001 - this thread must go on: no other one registers
            self._complain("", f"unexpected {type(error).__name__}: {error}")

    def _is_due(self, lun: LunAndPaths, now: float) -> bool:
        watch = lun.watch
        if watch.unfenced or not lun.good or any(path.good is None for path in lun.paths):
            return False  # done, or impossible, or the first probes are still under way
        if watch.registration is not RegistrationState.TARGET_FORGOT:
            return True
        if self._on_target_reset is TargetReset.SELF_FENCE or watch.forgot_since_s is None:
            return False
        head_start_s = 0.0 if self._is_active(watch.wwid) else 2 * self._timing.check_interval_s
        return now >= watch.forgot_since_s + head_start_s

    def _register(self, luns: tuple[LunAndPaths, ...]) -> None:
        """Registers the LUNs that are left and answer, together. The others are looked at, too: a node that was fenced
        on one of them is registered on none."""
        by_name = {lun.watch.wwid: lun for lun in luns}
        used: dict[str, list[tuple[PathWatch, int]]] = {}
        opened: list[LogicalUnit] = []
        for lun in luns:
            nexuses: list[Nexus] = []
            for path in lun.good:
                epoch = path.epoch
                try:
                    nexuses.append(self._open_nexus(path.path.node).of_lun(lun.watch.wwid))
                except StorageError:
                    continue  # its next probe will say so
                used.setdefault(lun.watch.wwid, []).append((path, epoch))
            if nexuses:
                opened.append(LogicalUnit(lun.watch.wwid, lun.watch.wwid, nexuses))
        left = frozenset(wwid for wwid, lun in by_name.items() if not lun.watch.unfenced)
        done: dict[str, LunRegistered] = {}
        preempted: set[str] = set()

        def hear(*several: Observation) -> None:
            for what in several:
                if isinstance(what, LunRegistered):
                    done[what.lun] = what
                elif isinstance(what, LunFailed):
                    done.pop(what.lun, None)
                    preempted.update({what.lun} if what.preempted else ())
                    self._complain(what.lun, what.reason)

        deadline = Deadline.after(UNFENCE_S + UNFENCE_EACH_S * len(opened), self._clock)
        try:
            unfence(Opened(tuple(opened)), self._terms, self._state_dir, hear, deadline, left=left, at_once=AT_ONCE)
        finally:
            for unit in opened:
                unit.close()
        marker = read_marker(self._state_dir) if done or preempted else None
        for wwid in preempted:
            by_name[wwid].watch.note_preempted(past(marker, wwid))
        for registered in done.values():
            wwid = registered.lun
            lun, again, recorded = by_name[wwid], by_name[wwid].watch.unfenced, past(marker, wwid)
            lun.watch.note_unfenced(recorded)
            self._complaints.pop(wwid, None)
            for path, epoch in used[wwid]:
                if path.path.node not in registered.missing:
                    path.note_registered(epoch)
            if not again:
                self._send(Registered(wwid, "", self._clock(), "this node keeps its key on the LUN"))

    def _restore(self, lun: LunAndPaths) -> None:
        """Restores the key that the target dropped. Raises FenceError."""
        generation, used = lun.watch.dropped_at, tuple((path, path.epoch) for path in lun.good)
        if generation is None:
            return
        nexuses: list[Nexus] = []
        try:
            for path, _ in used:
                nexuses.append(self._open_nexus(path.path.node).of_lun(lun.watch.wwid))
            unit = LogicalUnit(lun.watch.wwid, lun.watch.name, nexuses)
            deadline = Deadline.after(UNFENCE_S + UNFENCE_EACH_S, self._clock)
            restore(unit, self._terms, self._state_dir, generation, deadline)
        finally:
            for nexus in nexuses:
                nexus.close()
        lun.watch.note_unfenced(past(read_marker(self._state_dir), lun.watch.wwid))
        self._complaints.pop("", None)
        for path, epoch in used:
            path.note_registered(epoch)
        why = "the target had dropped this node's registration, and no registration had changed since"
        self._send(Registered(lun.watch.wwid, "", self._clock(), why))

    def _complain(self, wwid: str, reason: str) -> None:
        """Reports a failure, once for each reason, because it is tried again and again."""
        if self._complaints.get(wwid) != reason:
            self._complaints[wwid] = reason
            self._send(RegistrationFailed(wwid, "", self._clock(), reason))
