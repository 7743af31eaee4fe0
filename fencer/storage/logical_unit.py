# SPDX-License-Identifier: Apache-2.0
"""One LUN over all its paths: reads its registrations and its reservation over those that answer."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from fencer._typing import NamedTuple
from fencer.errors import (
    CommandFailed,
    NotRegistered,
    PathsDiffer,
    StillUnderWay,
    StorageError,
    StorageRefused,
    TransportError,
    remedies,
)
from fencer.model import Deadline
from fencer.storage.bounded_transport import BoundedTransport, SpareThreads
from fencer.storage.initiator_ports import Ports, registered_on
from fencer.storage.inquiry import StandardInquiry
from fencer.storage.look import Look
from fencer.storage.nexus import PASSING_S, PATH_S, Nexus
from fencer.storage.pr import Registration
from fencer.storage.transport import ScsiTransport

LOOKS_MOST = 5
"""Readings of a LUN whose registrations change while they are read, before that is an error."""

DIFFER_PAUSE_S = 0.05
"""The first pause before paths that showed different registrations are read again; each one is longer by as much."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.8
"""Between two rounds over all paths of a LUN of which none answered."""

LAST_ROUND_S = 0.05
"""The last round begins so long before the deadline."""

LOOK_S = PATH_S + PASSING_S
"""The most that a look by one of several paths may take before another one is asked."""

ONE_THREAD_S = 0.05
"""How long one thread reads the paths of a LUN one after the other. Then each path left has its own thread."""

ONE_STATE = "reservations protect nothing there: give this LUN one target that keeps one state for all its portals"


class LogicalUnit:
    """A LUN and the I_T nexuses that lead to it, in the order in which they are used.

    wwid: as sysfs writes it, the same on all nodes. active_here: an LVM volume group is active on it on this node
    (looked up for the LUN that arbitrates).
    private: its nexuses carry only our own commands and no data of other programs.
    bound: wraps the transport of each of several paths into one that never waits past its timeout; None: into a
    BoundedTransport. The only path of a LUN is used as it is: there is no other to use while it hangs.
    """

    def __init__(
        self,
        wwid: str,
        name: str,
        nexuses: Sequence[Nexus],
        active_here: bool = False,
        private: bool = False,
        bound: Callable[[ScsiTransport], ScsiTransport] | None = None,
    ) -> None:
        self.wwid = wwid
        self.name = name
        self.active_here = active_here
        self.private = private
        self._threads: SpareThreads | None = None
        if len(nexuses) > 1:
            if bound is None:
                threads = self._threads = SpareThreads()

                def bound(transport: ScsiTransport) -> ScsiTransport:
                    return BoundedTransport(transport, threads)

            nexuses = [nexus.as_one_of_several(bound) for nexus in nexuses]
        self._nexuses = tuple(nexuses)

    @property
    def nexuses(self) -> tuple[Nexus, ...]:
        """All paths: those that failed when they were last asked come last."""
        return tuple(sorted(self._nexuses, key=lambda nexus: nexus.failed))

    def look(self, deadline: Deadline) -> Look:
        """Reads keys and reservation over the first path that answers: path after path, round after round.

        An array controller may take 20 s to take over, and a path that is gone may come back: only the deadline ends
        this, or a refusal by every path. Raises StorageError then; NotRegistered where reading is refused because no
        path is registered.
        """
        pause = RoundPause(self)

        def read(nexus: Nexus) -> Look:
            return _consistent_look(nexus, deadline)

        while True:
            failures: list[StorageError] = []
            for nexus in self.nexuses:
                try:
                    return nexus.bounded(read, deadline.within(LOOK_S).remaining_s)
                except StorageError as error:
                    failures.append(error)
            refused = all(isinstance(failure, (StorageRefused, NotRegistered)) for failure in failures)
            if refused or not pause.take(deadline):
                raise self._unanswered(failures)

    def look_everywhere(self, deadline: Deadline, just_seen: Look | None = None) -> "Looks":
        """Reads over every path that answers. Where they differ, reads again, since nodes may register meanwhile.

        Where no path answers, as look. Raises StorageError; PathsDiffer where the paths go on to differ.

        just_seen: spares the only path of a LUN being asked again.
        """
        if len(self._nexuses) == 1:
            return Looks(just_seen or self.look(deadline), 1, ())
        for attempt in range(LOOKS_MOST):
            if attempt:
                self.pause(DIFFER_PAUSE_S * attempt, deadline)
            seen, failures = self._all_paths(deadline)
            if not seen:
                self.look(deadline)  # until one answers
            elif len({look for _, look in seen}) == 1:
                return Looks(seen[0][1], len(seen), tuple(failures))
        if not seen:
            raise self._unanswered(failures)
        raise PathsDiffer(f"{self.name}: its paths show different registrations ({_differing(seen)}): {ONE_STATE}")

    def _all_paths(self, deadline: Deadline) -> tuple[list[tuple[str, Look]], list[StorageError]]:
        """The reading of each path by its name, and why the other paths do not answer.

        One thread asks them one after the other, which costs the least where all answer. From the first silence on each
        path that was not asked yet has a thread of its own.
        """
        paths = self.nexuses
        to_ask, ends = deque(paths), dict[Nexus, Look | StorageError]()

        def ask() -> None:
            while to_ask:
                try:
                    nexus = to_ask.popleft()
                except IndexError:  # another thread was faster
                    return
                try:
                    ends[nexus] = nexus.here(lambda path: _consistent_look(path, deadline))
                except StorageError as error:
                    ends[nexus] = error

        self._in_spare_threads(ask, to_ask, deadline.within(LOOK_S))
        told = [
            (nexus.name, ends.get(nexus) or StillUnderWay(f"{nexus.name}: no answer within {LOOK_S:.1f} s"))
            for nexus in paths
        ]
        seen = [(name, end) for name, end in told if isinstance(end, Look)]
        return seen, [end for _, end in told if isinstance(end, StorageError)]

    def _in_spare_threads(self, ask: Callable[[], None], to_ask: deque[Nexus], until: Deadline) -> None:
        """Runs ask in spare threads until to_ask is empty or the time is over. A thread that hangs is left behind."""
        if self._threads is None:
            return ask()
        first = self._threads.begin(self.name, ask)
        with suppress(StillUnderWay):
            return first(min(ONE_THREAD_S, until.remaining_s))
        for end in (first, *[self._threads.begin(self.name, ask) for _ in tuple(to_ask)]):
            with suppress(StillUnderWay):
                end(until.remaining_s)
        to_ask.clear()
        return None

    def registered_on(self, ports: Ports, deadline: Deadline) -> tuple[Registration, ...]:
        """The registrations of these initiator ports now. Raises StorageError where no path answers."""
        if not ports:
            return ()
        failures: list[StorageError] = []
        for nexus in self.nexuses:
            try:
                if (status := nexus.read_full_status(deadline)) is not None:
                    return registered_on(status, ports)
                failures.append(CommandFailed(f"{nexus.name}: READ FULL STATUS: not supported any more"))
            except StorageError as error:
                failures.append(error)
        raise self._unanswered(failures)

    def standard_inquiry(self, deadline: Deadline) -> StandardInquiry:
        """By the first path that answers. Raises StorageError where none does."""
        failures: list[StorageError] = []
        for nexus in self.nexuses:
            try:
                return nexus.standard_inquiry(deadline)
            except StorageError as error:
                failures.append(error)
        raise self._unanswered(failures)

    def _unanswered(self, failures: Sequence[StorageError]) -> StorageError:
        """The error for a LUN of which no path answered; NotRegistered where one path reported that."""
        text = "; ".join(map(str, failures)) or f"{self.name}: no path to it could be found"
        remedy = remedies(failures) or None
        if any(isinstance(failure, NotRegistered) for failure in failures):
            return NotRegistered(text, remedy)
        refused = all(isinstance(failure, StorageRefused) for failure in failures)
        return StorageRefused(text, remedy) if refused else TransportError(text, remedy)

    def pause(self, seconds: float, deadline: Deadline) -> None:
        """Waits, but not past the deadline."""
        if self._nexuses:
            self._nexuses[0].sleep(min(seconds, deadline.remaining_s))

    def close(self) -> None:
        """Closes all paths. Never raises."""
        for nexus in self._nexuses:
            nexus.close()
        if self._threads is not None:
            self._threads.close()


class Looks(NamedTuple):
    """One reading by each path that answered, all alike.

    paths: how many answered. failures: of the others, each with the path's name.
    """

    look: Look
    paths: int
    failures: tuple[StorageError, ...]


class RoundPause:
    """The pause between two rounds over a LUN's paths: it grows from FIRST_PAUSE_S to LONGEST_PAUSE_S."""

    def __init__(self, lun: LogicalUnit) -> None:
        self._lun = lun
        self._seconds = FIRST_PAUSE_S

    def take(self, deadline: Deadline) -> bool:
        """Waits, and leaves time for a last round. False, and at once, when there was one."""
        left_s = deadline.remaining_s - LAST_ROUND_S
        if left_s <= 0:
            return False
        self._lun.pause(min(self._seconds, left_s), deadline)
        self._seconds = min(2 * self._seconds, LONGEST_PAUSE_S)
        return True


def _differing(seen: Sequence[tuple[str, Look]]) -> str:
    """The different readings as text, each with the paths that show it."""
    paths: dict[Look, list[str]] = {}
    for path, look in seen:
        paths.setdefault(look, []).append(path)
    return "; ".join(f"{', '.join(names)}: {look}" for look, names in paths.items())


def _consistent_look(nexus: Nexus, deadline: Deadline) -> Look:
    for _ in range(LOOKS_MOST):
        reservation = nexus.read_reservation(deadline)
        registered = nexus.read_keys(deadline)
        if reservation.generation == registered.generation:
            return Look(registered.generation, frozenset(registered.keys), reservation)
    raise StorageError(f"{nexus.name}: registrations change faster than they can be read")
