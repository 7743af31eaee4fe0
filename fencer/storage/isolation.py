# SPDX-License-Identifier: Apache-2.0
"""Isolates a node from one LUN, and reads back that it is isolated."""

from collections.abc import Iterable

from fencer.errors import NotRegistered, PathsDiffer, StorageError, StorageRefused, TransportError, remedies
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.observations import LunFailed, LunIsolated
from fencer.storage.arbitration import Contest, round_over
from fencer.storage.guarded_registration import register_under_guard
from fencer.storage.initiator_ports import NO_PORTS
from fencer.storage.key_removal import Removal, remove_key
from fencer.storage.logical_unit import LogicalUnit, RoundPause
from fencer.storage.look import Look, some_of
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.pr import ALL_REGISTRANTS_TYPES
from fencer.storage.turns import REASONS, REMEDIES, Turns

TGTD = "IET", "VIRTUAL-DISK"
"""What tgtd says in its INQUIRY data, where nothing else is configured."""


def isolate(
    lun: LogicalUnit, contest: Contest, deadline: Deadline, removed: Removal | None = None, *, unopposed: bool = False
) -> LunIsolated | LunFailed:
    """Removes the target's key, makes sure that a reservation is held, and reports what was read back afterwards.

    The proof is the last look alone, never the outcome of a command. Never raises.
    removed: how arbitration took the key from this LUN a moment ago, if it did.
    unopposed: arbitration was won, so that the target fences no node here. Then the first command goes out before any
    look: it takes no other key, and is refused where ours is not registered on this nexus, or the target's not at
    all.
    """
    if unopposed and removed is None and lun.nexuses:
        removed = _first_command(lun, contest, deadline)
    target_was_there = removed is not None and (removed.outcome is Outcome.DONE or not unopposed)
    wrote = removed is not None
    # By key; None: whichever one arbitration took.
    removals = {} if removed is None else {contest.target if unopposed else None: removed}
    traced = False
    reason, remedy = f"{lun.name}: not isolated before the deadline", TransportError.remedy
    turns, pause = Turns(lun), RoundPause(lun)
    while not deadline.passed:
        try:
            look = lun.look_everywhere(deadline).look if removals else _look(lun, contest.target, deadline)
            if contest.own not in look.keys:
                return LunFailed(
                    lun.name,
                    f"{lun.name}: this node's key {contest.own} is not registered here: {NotRegistered.remedy}",
                )
            victims = contest.victims(look)
            if not victims and look.shuts_out(contest.target):
                doubt = None if target_was_there else contest.doubt(look)
                veto = doubt or _second_key(lun, contest, removals.values(), deadline)
                if veto := veto or lasts_not(lun, look.reservation.type, deadline):
                    return LunFailed(lun.name, f"{lun.name}: {veto}")
                if not target_was_there and not traced:
                    traced = _leave_trace(lun, contest, deadline)
                    continue
                aborted = all(removal.aborted for removal in removals.values())
                return LunIsolated(lun.name, aborted, already=not wrote)
        except StorageError as error:
            reason, remedy = str(error), error.remedy
            if isinstance(error, (NotRegistered, PathsDiffer, StorageRefused)) or not pause.take(deadline):
                break
            continue
        nexus = turns.next()
        if nexus is None:
            if ended := round_over(lun, contest, turns, deadline, lun.nexuses[0].sleep):
                return LunFailed(lun.name, ended)
        elif victims:
            target_was_there = True
            removal = remove_key(nexus, contest.own, victims[0], contest.reservation_type, deadline)
            if removal.may_have_removed:
                wrote, removals[victims[0]] = True, removal
            reason, remedy = turns.note(nexus, removal.outcome, removal.failure), turns.remedy
        else:
            outcome, failure = _reserve(nexus, contest, deadline)
            wrote = wrote or outcome is Outcome.DONE
            reason, remedy = turns.note(nexus, outcome, failure), turns.remedy
    return LunFailed(lun.name, f"{reason}: {remedy}" if remedy else reason)


def _look(lun: LogicalUnit, target: ReservationKey, deadline: Deadline) -> Look:
    """Looks over one path; where that shows the target shut out, over every path, because a proof needs all of them."""
    look = lun.look(deadline)
    return lun.look_everywhere(deadline, look).look if look.shuts_out(target) else look


def _second_key(lun: LogicalUnit, contest: Contest, taken: Iterable[Removal], deadline: Deadline) -> str | None:
    """Why the target can still write: by a second key. None if it has none. Raises StorageError."""
    left = lun.registered_on(NO_PORTS.union(*(removal.ports for removal in taken)), deadline)
    if not left:
        return None
    keys = some_of(sorted({each.key for each in left}))
    ports = some_of(sorted({str(each.initiator) for each in left}))
    return (
        f"key {contest.target} is gone, but the node that had it is registered under {keys}, too, on {ports}, and can "
        "write: register all its paths under one key (reservation_key in its multipath.conf?), fence it by power"
    )


def lasts_not(lun: LogicalUnit, held: ReservationType | None, deadline: Deadline) -> str | None:
    """Why a reservation of this type may end by itself at this target; None elsewhere. Raises StorageError.

    tgtd (1.0.97 still) frees the registration that made the reservation when it is preempted, and goes on using it:
    with an all-registrants type no other one takes its place, and the type is read from freed memory.
    """
    if held not in ALL_REGISTRANTS_TYPES:
        return None
    found = lun.standard_inquiry(deadline)
    if (found.vendor, found.product) != TGTD:
        return None
    return (
        f"the reservation is {held.name}, which this target ({found.vendor} {found.product}) may lose at any time "
        "once the node that made it is fenced: give reservation_type=WERO on all nodes, and have the reservation made "
        "anew"
    )


def _first_command(lun: LogicalUnit, contest: Contest, deadline: Deadline) -> Removal | None:
    first = remove_key(lun.nexuses[0], contest.own, contest.target, contest.reservation_type, deadline)
    return first if first.may_have_removed else None


def _reserve(nexus: Nexus, contest: Contest, deadline: Deadline) -> tuple[Outcome | None, StorageError | None]:
    try:
        return nexus.reserve(contest.own, contest.reservation_type, deadline), None
    except StorageError as error:
        return None, error


def _leave_trace(lun: LogicalUnit, contest: Contest, deadline: Deadline) -> bool:
    """Moves the PR generation before an absent key is taken for a proof; the look that proves comes after it.

    A target may have dropped the victim's key with its session. The victim restores it only while the generation is as
    it was with the key (fencer.storage.restoring), so from here on it does not. REGISTER from our key to our key
    changes nothing else. By every path: gateways may each have a state of their own. Raises StorageError when no path
    takes it.
    """
    failures: list[StorageError] = []
    for nexus in lun.nexuses:
        try:
            outcome = nexus.register(contest.own, contest.own, contest.aptpl, deadline)
            if outcome is Outcome.UNSUPPORTED and contest.aptpl:
                outcome = nexus.register(contest.own, contest.own, False, deadline)
            if outcome is Outcome.CONFLICT and (contest.repair or lun.private):
                outcome = register_under_guard(nexus, contest.own, contest.aptpl, deadline)
        except StorageError as error:
            failures.append(error)
            continue
        if outcome is not Outcome.DONE:
            failures.append(StorageError(f"{nexus.name}: {REASONS[outcome]}", REMEDIES[outcome]))
    if len(failures) == len(lun.nexuses):
        text = "; ".join(map(str, failures)) or f"{lun.name}: no path to it could be opened"
        raise StorageError(text, remedies(failures) or None)
    return True
