"""One logical unit as a whole: all its paths, and what is registered and reserved on it."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from fencer.errors import StorageError, TransportError
from fencer.light_typing import NamedTuple, TypeVar
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.pr import Reservation

T = TypeVar("T")

LOOKS_MOST = 5
"""Readings before we give up waiting for a moment in which nobody changes the registrations."""

UNDO_TRIES = 5

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

    def held_by(self, key: ReservationKey) -> bool:
        """True when a registrant under key holds the reservation; with an all-registrants type each of them does."""
        held = self.reservation
        return key in self.keys and held.type is not None and held.holder in (key, None)


class LogicalUnit:
    """A LUN and the I_T nexuses that lead to it.

    wwid: as sysfs writes it, the same on all nodes. active_here: an LVM volume group is active on it on this node
    (looked up for the LUN that arbitrates).
    private: its nexuses carry only our own commands, nobody's data.
    """

    def __init__(
        self, wwid: str, name: str, nexuses: Sequence[Nexus], active_here: bool = False, private: bool = False
    ) -> None:
        self.wwid = wwid
        self.name = name
        self.nexuses = tuple(nexuses)
        self.active_here = active_here
        self.private = private

    def look(self, deadline: Deadline) -> Look:
        """Reads keys and reservation over the first path that answers.

        Raises StorageError when no path does, or when the LUN never holds still.
        """
        return self._on_any_path(lambda nexus: _consistent_look(nexus, deadline))

    def close(self) -> None:
        """Gives all paths up. Never raises."""
        for nexus in self.nexuses:
            nexus.close()

    def _on_any_path(self, ask: Callable[[Nexus], T]) -> T:
        failures: list[str] = []
        for nexus in self.nexuses:
            try:
                return ask(nexus)
            except StorageError as error:
                failures.append(str(error))
        raise TransportError("; ".join(failures) or f"{self.name}: no path to it could be opened")


class Removal(NamedTuple):
    """What became of one attempt to remove a key.

    aborted: by PREEMPT AND ABORT, not by the plain PREEMPT. failure: no usable answer came; only reading back tells
    whether the key is gone, and outcome is None.
    """

    outcome: Outcome | None
    aborted: bool
    failure: StorageError | None = None

    @property
    def may_have_removed(self) -> bool:
        return self.outcome is Outcome.DONE or self.outcome is None

    def after(self, earlier: "Removal | None") -> "Removal":
        """Both together: as weak as the weaker one."""
        return self if earlier is None else self._replace(aborted=self.aborted and earlier.aborted)


def remove_key(
    nexus: Nexus, own: ReservationKey, victim: ReservationKey, kind: ReservationType, deadline: Deadline
) -> Removal:
    """PREEMPT AND ABORT, or openly the plain PREEMPT where the target lacks it. Never raises.

    A CONFLICT means that this nexus is not registered under own, or that victim is not registered at all.
    """
    aborted = True
    try:
        outcome = nexus.preempt_and_abort(own, victim, kind, deadline)
        if outcome is Outcome.UNSUPPORTED:
            aborted = False
            outcome = nexus.preempt(own, victim, kind, deadline)
    except StorageError as error:
        return Removal(None, aborted, error)
    return Removal(outcome, aborted)


def register_under_guard(nexus: Nexus, own: ReservationKey, aptpl: bool, deadline: Deadline) -> Outcome:
    """Registers own on a nexus that is not registered, while own is still listed on another one of this LUN.

    A relogin changes the ISID and a returning path is a new nexus: our key is listed, yet commands conflict. A node
    whose key was preempted must never come back, and there is no command that registers "only if my key is listed". So
    the nexus is registered under the guard key first; the PR generation must have moved by exactly our own step between
    two readings, else it is undone; only then the guard key becomes own. Killed in between, we leave a key that wins
    nothing. CHANGED: nothing was kept, look again. docs/decisions/0002-guarded-registration.md says what this does and
    does not exclude.
    """
    guard = guard_key(own)
    before = nexus.read_keys(deadline)
    if own not in before.keys:
        return Outcome.CHANGED
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
        if after.generation == (before.generation + 1) % (1 << 32) and own in after.keys:
            outcome = nexus.register(guard, own, aptpl, deadline)
            if outcome is Outcome.DONE:
                return Outcome.DONE
    except StorageError:  # executed perhaps: LIO without /etc/target/pr registers, then answers 2/0800
        _forget(nexus, guard, aptpl, deadline)
        raise
    _forget(nexus, guard, aptpl, deadline)
    return Outcome.CHANGED


def _forget(nexus: Nexus, guard: ReservationKey, aptpl: bool, deadline: Deadline) -> None:
    """Unregisters the guard key; a conflict says that it is not there (any more).

    aptpl as before: the last REGISTER, whatever it does, decides whether *all* registrations of the LUN survive a power
    loss (SPC-4 5.13.5).
    """
    for _ in range(UNDO_TRIES):
        with suppress(StorageError):
            if nexus.register(guard, None, aptpl, deadline) in (Outcome.DONE, Outcome.CONFLICT):
                return


def _consistent_look(nexus: Nexus, deadline: Deadline) -> Look:
    for _ in range(LOOKS_MOST):
        reservation = nexus.read_reservation(deadline)
        registered = nexus.read_keys(deadline)
        if reservation.generation == registered.generation:
            return Look(registered.generation, frozenset(registered.keys), reservation)
    raise StorageError(f"{nexus.name}: registrations change faster than they can be read")
