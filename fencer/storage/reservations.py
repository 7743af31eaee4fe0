"""One logical unit as a whole: all its paths, and what is registered and reserved on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fencer.errors import StorageError, TransportError
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.pr import Reservation

T = TypeVar("T")

LOOKS_MOST = 5
"""Readings before we give up waiting for a moment in which nobody changes the registrations."""


@dataclass(frozen=True, slots=True)
class Look:
    """One consistent reading of a LUN: both answers carry the same PR generation."""

    generation: int
    keys: frozenset[ReservationKey]
    reservation: Reservation

    def shuts_out(self, key: ReservationKey) -> bool:
        """True when nothing sent under key is written: the key is absent, a registered survivor holds a reservation.

        All six reservation types refuse the writes of an initiator that is not registered (SPC-4 table 45); the absence
        of the key alone proves nothing, since a LUN without a reservation takes everybody's writes.
        """
        return key not in self.keys and self.held_without(key)

    def held_without(self, key: ReservationKey) -> bool:
        """True when a reservation is held by somebody registered other than key."""
        if self.reservation.type is None:
            return False
        if self.reservation.holder is None:  # an all-registrants type
            return bool(self.keys - {key})
        return self.reservation.holder in self.keys - {key}


class LogicalUnit:
    """A LUN and the I_T nexuses that lead to it.

    wwid: as sysfs writes it, the same on all nodes. active_here: an LVM volume group is active on it on this node.
    """

    def __init__(self, wwid: str, name: str, nexuses: Sequence[Nexus], active_here: bool = False) -> None:
        self.wwid = wwid
        self.name = name
        self.nexuses = tuple(nexuses)
        self.active_here = active_here

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


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of one attempt to remove a key. aborted: by PREEMPT AND ABORT, not by the plain PREEMPT."""

    outcome: Outcome
    aborted: bool


def remove_key(
    nexus: Nexus, own: ReservationKey, target: ReservationKey, kind: ReservationType, deadline: Deadline
) -> Removal:
    """PREEMPT AND ABORT, or openly the plain PREEMPT where the target lacks it.

    A CONFLICT means that this nexus is not registered under own. Raises StorageError; after a TransportError only
    reading back tells whether the key is gone.
    """
    outcome = nexus.preempt_and_abort(own, target, kind, deadline)
    if outcome is not Outcome.UNSUPPORTED:
        return Removal(outcome, aborted=True)
    return Removal(nexus.preempt(own, target, kind, deadline), aborted=False)


def register_under_guard(nexus: Nexus, own: ReservationKey, aptpl: bool, deadline: Deadline) -> Outcome:
    """Registers own on a nexus that is not registered, while own is still listed on another one of this LUN.

    A relogin changes the ISID and a returning path is a new nexus: our key is listed, yet commands conflict. A node
    whose key was preempted must never come back, and there is no command that registers "only if my key is listed". So
    the PR generation must have moved by exactly our own step between two readings; else it is undone. CHANGED: nothing
    was kept, look again. docs/decisions/0002-guarded-registration.md says what this does and does not exclude.
    """
    before = nexus.read_keys(deadline)
    if own not in before.keys:
        return Outcome.CHANGED
    outcome = nexus.register(None, own, aptpl, deadline)
    if outcome is Outcome.UNSUPPORTED and aptpl:
        outcome = nexus.register(None, own, False, deadline)
    if outcome is not Outcome.DONE:
        return outcome
    after = nexus.read_keys(deadline)
    if after.generation == (before.generation + 1) % (1 << 32) and own in after.keys:
        return Outcome.DONE
    while nexus.register(own, None, False, deadline) is Outcome.CHANGED and not deadline.passed:
        pass
    return Outcome.CHANGED


def _consistent_look(nexus: Nexus, deadline: Deadline) -> Look:
    for _ in range(LOOKS_MOST):
        reservation = nexus.read_reservation(deadline)
        registered = nexus.read_keys(deadline)
        if reservation.generation == registered.generation:
            return Look(registered.generation, frozenset(registered.keys), reservation)
    raise StorageError(f"{nexus.name}: registrations change faster than they can be read")
