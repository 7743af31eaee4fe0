"""One logical unit as a whole: all its paths, and what is registered and reserved on it."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from fencer._typing import NamedTuple
from fencer.errors import (
    CommandFailed,
    MalformedAnswer,
    NotRegistered,
    PathsDiffer,
    StillUnderWay,
    StorageError,
    StorageRefused,
    TransportError,
    remedies,
)
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.storage.bounded_transport import BoundedTransport, SpareThreads
from fencer.storage.initiator_ports import NO_PORTS, Ports, ports_of, registered_on
from fencer.storage.nexus import PASSING_S, PATH_S, Nexus, Outcome
from fencer.storage.pr import RegisteredKeys, Registration, Reservation
from fencer.storage.transport import ScsiTransport

LOOKS_MOST = 5
"""Readings before we give up waiting for a moment in which nobody changes the registrations."""

DIFFER_PAUSE_S = 0.05
"""The first pause before paths that showed different registrations are read again; each one is longer by as much."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.8
"""Between two rounds over all paths of a LUN of which none answered."""

LAST_ROUND_S = 0.05
"""The last round begins so long before the deadline."""

LOOK_S = PATH_S + PASSING_S
"""The most that a look by one of several paths may take before another one is asked."""

ONE_THREAD_S = 0.05
"""So long one thread asks the paths of a LUN one after the other; then the others have a thread each."""

ONE_STATE = "reservations protect nothing there: give this LUN one target that keeps one state for all its portals"

UNDO_PAUSE_S = 0.05
UNDO_S = 2.0
"""What the undoing of a guard key has for itself, also past the deadline: left there, it lets its owner write."""

HOLDER_ONLY_TYPES = (ReservationType.WRITE_EXCLUSIVE, ReservationType.EXCLUSIVE_ACCESS)
"""Under these only the holder writes, whoever else is registered (SPC-4 table 45)."""

_GUARD_BIT = 1 << 63


def guard_key(key: ReservationKey) -> ReservationKey:
    """The key under which a node registers a nexus while it is not yet certain that it may: see register_under_guard.

    It gives its owner no standing in a race, and whoever fences the owner removes it, too.
    """
    return ReservationKey(int(key) ^ _GUARD_BIT or _GUARD_BIT >> 1)


class Look(NamedTuple):
    """One consistent reading of a LUN: both answers carry the same PR generation."""

    generation: int
    keys: frozenset[ReservationKey]
    reservation: Reservation

    def __str__(self) -> str:
        held = self.reservation
        kind = "no reservation" if held.type is None else f"{held.type.name} held by {held.holder or 'all'}"
        return f"generation {self.generation}, keys {', '.join(map(str, sorted(self.keys))) or 'none'}, {kind}"

    def listed(self, key: ReservationKey) -> tuple[ReservationKey, ...]:
        """Those of a node's two keys (its own and its guard key) that are registered."""
        return tuple(each for each in (key, guard_key(key)) if each in self.keys)

    def strangers(self, known: Collection[ReservationKey]) -> tuple[ReservationKey, ...]:
        """Registered keys that are none of known nodes' keys."""
        return tuple(sorted(self.keys.difference(known, map(guard_key, known))))

    def shuts_out(self, key: ReservationKey) -> bool:
        """True when nothing sent under key is written: the key is absent, a registered survivor holds a reservation.

        All six reservation types refuse the writes of an initiator that is not registered (SPC-4 table 45); the absence
        of the key alone proves nothing, since a LUN without a reservation takes everybody's writes.
        """
        return not self.listed(key) and self.held_without(key)

    def held_without(self, key: ReservationKey) -> bool:
        """True when a reservation is held by somebody registered other than key."""
        if self.reservation.type is None:
            return False
        survivors = self.keys - {key, guard_key(key)}
        if self.reservation.holder is None:  # an all-registrants type
            return bool(survivors)
        return self.reservation.holder in survivors

    def keeps_from_writing(self, key: ReservationKey) -> ReservationKey | None:
        """Who holds a reservation under which a registrant under key may not write; None when it may."""
        held = self.reservation
        return held.holder if held.type in HOLDER_ONLY_TYPES and held.holder != key else None

    def held_by(self, key: ReservationKey) -> bool:
        """True when a registrant under key holds the reservation; with an all-registrants type each of them does."""
        held = self.reservation
        return key in self.keys and held.type is not None and held.holder in (key, None)


class LogicalUnit:
    """A LUN and the I_T nexuses that lead to it, those that are likely to answer first.

    wwid: as sysfs writes it, the same on all nodes. active_here: an LVM volume group is active on it on this node
    (looked up for the LUN that arbitrates).
    private: its nexuses carry only our own commands, nobody's data.
    bound: wraps the transport of each of several paths into one that never waits past its timeout; None: into a
    BoundedTransport. The only path of a LUN is used as it is: there is nobody else to ask while it hangs.
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
        """What every path shows that answers now: each is asked once, and again while they differ, since others may
        register meanwhile. Where none answers, as look. Raises StorageError; PathsDiffer where they go on to differ.

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
        """What each path shows, by name, and why others do not answer.

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
        """Has to_ask emptied by ask, and waits for the ends until then; what hangs is left behind."""
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
        """What is registered on these initiator ports now. Raises StorageError where no path tells."""
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

    def _unanswered(self, failures: Sequence[StorageError]) -> StorageError:
        """No path answered. That a path is not registered is known, whatever became of the others."""
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
        """Gives all paths up. Never raises."""
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


class Turns:
    """Whose turn it is to write: each path once a round, with a pause before the next round.

    unregistered: paths that turned out not to be registered. refused: why others never will do it, by path. Neither
    gets a turn. remedy: of what the latest turn came to.
    """

    def __init__(self, lun: LogicalUnit) -> None:
        self.unregistered: set[Nexus] = set()
        self.refused: dict[Nexus, str] = {}
        self.remedy = REMEDIES[Outcome.CHANGED]
        self._lun = lun
        self._pause = RoundPause(lun)
        self._had_turn: set[Nexus] = set()
        self._mended = False

    def next(self) -> Nexus | None:
        """The path to write over now; None when the round is over."""
        passed_over = self._had_turn | self.unregistered | set(self.refused)
        nexus = next((each for each in self._lun.nexuses if each not in passed_over), None)
        if nexus is not None:
            self._had_turn.add(nexus)
        return nexus

    @property
    def others(self) -> bool:
        """Whether there are paths that may do it yet, in another round."""
        return len(self.unregistered | set(self.refused)) < len(self._lun.nexuses)

    def note(self, nexus: Nexus, outcome: Outcome | None, failure: StorageError | None) -> str:
        """What came of a turn: ``path: reason``."""
        if isinstance(failure, StorageRefused):
            self.refused[nexus] = str(failure)
        self.remedy = failure.remedy if failure is not None else REMEDIES[outcome or Outcome.CHANGED]
        if outcome is Outcome.CONFLICT:
            self.unregistered.add(nexus)
        reason = str(failure) if outcome is None else f"{nexus.name}: {REASONS[outcome]}"
        if outcome is Outcome.UNSUPPORTED:
            self.refused[nexus] = reason
        return reason

    def new_round(self, deadline: Deadline, *, mended: bool) -> None:
        """Every path that may write has its turn again: at once when one was mended for the first time, else after a
        pause."""
        self._had_turn.clear()
        if mended and not self._mended:
            self._mended = True
        else:
            self._pause.take(deadline)


REASONS = {  # why a command did not lead to what was wanted
    Outcome.DONE: "the target accepted the command, but reading back does not show it",
    Outcome.CONFLICT: "reservation conflict: this node's key is not registered on this path",
    Outcome.UNSUPPORTED: "PREEMPT: not supported by this target",
    Outcome.CHANGED: "registrations keep changing",
}

REMEDIES = {
    Outcome.DONE: "update the target's firmware, or give another LUN: this one does not do what it says",
    Outcome.CONFLICT: "run 'on' for this node (unfence), then call again",
    Outcome.UNSUPPORTED: "switch persistent reservations on at the target, or give another LUN",
    Outcome.CHANGED: "call again",
}


def _differing(seen: Sequence[tuple[str, Look]]) -> str:
    """Each reading once, with the paths that show it."""
    paths: dict[Look, list[str]] = {}
    for path, look in seen:
        paths.setdefault(look, []).append(path)
    return "; ".join(f"{', '.join(names)}: {look}" for look, names in paths.items())


class Removal(NamedTuple):
    """What became of one attempt to remove a key.

    aborted: by a PREEMPT AND ABORT that the target has completed. It is complete when the victim's commands are ended
    (SPC-4 5.13.11.2), so one without an answer is no better than a plain PREEMPT. failure: no usable answer came;
    only reading back tells whether the key is gone, and outcome is None. sent: False where the path failed before.
    ports: the initiator ports on which the key was registered before, as far as the target tells.
    """

    outcome: Outcome | None
    aborted: bool
    failure: StorageError | None = None
    ports: Ports = NO_PORTS
    sent: bool = True

    @property
    def may_have_removed(self) -> bool:
        if self.outcome is None:
            return self.sent and not isinstance(self.failure, StorageRefused)
        return self.outcome is Outcome.DONE


def weakest(removals: Iterable[Removal]) -> Removal | None:
    """All together: as weak as the weakest. One for each key: the latest counts, since it found the key there yet."""
    removals = tuple(removals)
    weak = min(removals, key=lambda removal: removal.aborted, default=None)
    return None if weak is None else weak._replace(ports=NO_PORTS.union(*(removal.ports for removal in removals)))


def remove_key(
    nexus: Nexus, own: ReservationKey, victim: ReservationKey, kind: ReservationType, deadline: Deadline
) -> Removal:
    """PREEMPT AND ABORT, or openly the plain PREEMPT where the target lacks it. Never raises.

    A CONFLICT means that this nexus is not registered under own, or that victim is not registered at all.
    """
    try:
        ports = _ports_before(nexus, own, victim, deadline)
    except StorageError as error:
        return Removal(None, aborted=False, failure=error, sent=False)
    try:
        outcome = nexus.preempt_and_abort(own, victim, kind, deadline)
        if outcome is not Outcome.UNSUPPORTED:
            return Removal(outcome, True, ports=ports)
        return Removal(nexus.preempt(own, victim, kind, deadline), False, ports=ports)
    except StorageError as error:
        return Removal(None, False, error, ports)


def _ports_before(nexus: Nexus, own: ReservationKey, victim: ReservationKey, deadline: Deadline) -> Ports:
    """Where victim, or its guard key, is registered. A target that does not tell, or not well, gives no doubt.

    Raises StorageError where the path does not answer.
    """
    try:
        status = nexus.read_full_status(deadline)
    except (CommandFailed, MalformedAnswer):
        return NO_PORTS
    return NO_PORTS if status is None else ports_of(status, (victim, guard_key(victim)), own)


def register_under_guard(
    nexus: Nexus, own: ReservationKey, aptpl: bool, deadline: Deadline, *, absent_at: int | None = None
) -> Outcome:
    """Registers own on a nexus that is not registered, while own is still listed on another one of this LUN.

    absent_at: instead, own is listed nowhere, and the PR generation is still the one with which it was last listed.

    A relogin changes the ISID and a returning path is a new nexus: our key is listed, yet commands conflict. A node
    whose key was preempted must never come back, and there is no command that registers "only if my key is listed". So
    the nexus is registered under the guard key first; the PR generation must have moved by exactly our own step between
    two readings, else it is undone; only then the guard key becomes own. Killed in between, we leave a key that wins
    nothing. CHANGED: nothing was kept, look again. docs/decisions/0002-guarded-registration.md says what this does and
    does not exclude.
    """
    before = nexus.read_keys(deadline)
    expected = own in before.keys if absent_at is None else own not in before.keys and before.generation == absent_at
    if not expected:
        return Outcome.CHANGED
    nexus.guarding(True)
    try:
        return _by_guard(nexus, own, before, aptpl, deadline, absent_at is None)
    finally:
        nexus.guarding(False)


def _by_guard(
    nexus: Nexus, own: ReservationKey, before: RegisteredKeys, aptpl: bool, deadline: Deadline, own_is_listed: bool
) -> Outcome:
    guard = guard_key(own)
    try:
        outcome = nexus.register(None, guard, aptpl, deadline)
        if outcome is Outcome.UNSUPPORTED and aptpl:
            aptpl = False
            outcome = nexus.register(None, guard, aptpl, deadline)
        if outcome is Outcome.CONFLICT:  # an earlier attempt ended here
            outcome = nexus.register(guard, guard, aptpl, deadline)
        if outcome is not Outcome.DONE:
            return outcome
        after = nexus.read_keys(deadline)
        if after.generation == (before.generation + 1) % (1 << 32) and (own in after.keys) == own_is_listed:
            outcome = nexus.register(guard, own, aptpl, deadline)
            if outcome is Outcome.DONE:
                return Outcome.DONE
    except StorageError:  # executed perhaps: LIO without /etc/target/pr registers, then answers 2/0800
        _forget(nexus, guard, aptpl, deadline)
        raise
    _forget(nexus, guard, aptpl, deadline)
    return Outcome.CHANGED


def _forget(nexus: Nexus, guard: ReservationKey, aptpl: bool, deadline: Deadline) -> None:
    """Unregisters the guard key; a conflict says that it is not there (any more). Takes UNDO_S at most, whatever the
    deadline, of which only the clock counts.

    aptpl as before: the last REGISTER, whatever it does, decides whether *all* registrations of the LUN survive a power
    loss (SPC-4 5.13.5).
    """
    own_time = Deadline.after(UNDO_S, deadline.clock)
    while not own_time.passed:
        with suppress(StorageError):
            if nexus.register(guard, None, aptpl, own_time) in (Outcome.DONE, Outcome.CONFLICT):
                return
        nexus.sleep(min(UNDO_PAUSE_S, own_time.remaining_s))  # its REGISTER may be under way yet


def _consistent_look(nexus: Nexus, deadline: Deadline) -> Look:
    for _ in range(LOOKS_MOST):
        reservation = nexus.read_reservation(deadline)
        registered = nexus.read_keys(deadline)
        if reservation.generation == registered.generation:
            return Look(registered.generation, frozenset(registered.keys), reservation)
    raise StorageError(f"{nexus.name}: registrations change faster than they can be read")
