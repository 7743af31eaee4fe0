# SPDX-License-Identifier: Apache-2.0
"""The actions of a storage worker on opened LUNs: fence, register, status, monitor."""

import time
from _thread import allocate_lock
from collections.abc import Callable, Sequence

from fencer._typing import Protocol, TypeVar
from fencer.errors import NotRegistered, StorageError, TransportError
from fencer.model import ArbitrationMode, Deadline, ReservationKey
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    LunFailed,
    LunState,
    Noted,
    Observation,
    StorageDone,
)
from fencer.storage.arbitration import MEND, Contest, RaceResult, arbitrate, not_registered, still_won
from fencer.storage.isolation import isolate, lasts_not
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import Look, some_of
from fencer.storage.pr import OutAction
from fencer.storage.registration import History, Past, Terms, objection, register
from fencer.storage.settings import StorageSettings
from fencer.storage.thread_start import start_thread

T = TypeVar("T")

AT_ONCE = 8
"""How many LUNs are looked at or registered at the same time. A slow processor that turned to all together would end
none in its time; a quick one gains nothing by more."""

SLOW_S = 1.0
"""A LUN that takes longer is waiting, for a path or for its array: another two may begin."""

LINGER_S = 0.05
"""How long the result of a LUN waits for those of others, to be sent in one message."""

SAME_TYPE = "give all nodes the reservation_type that is held, or release the reservation and run 'on' again"
RESERVE = "run 'on' (unfence) for a node that uses it"

LATE = "call again: this node or the other LUNs are slow"

OTHERS_S = 2.0
"""Timeout for finding out whether this node is registered, where no LUN can arbitrate."""


class Emit(Protocol):
    """Sends observations to the parent, several at a time."""

    def __call__(self, *what: Observation) -> None: ...


Answer = Callable[[RaceResult | None], None]
"""Takes the result of another look at the arbiter; None: the race is open again."""

Questions = Callable[[], Answer | None]
"""Waits for the question whether a race that was won is still won; None when none will come."""


class Opened:
    """The shared LUNs as far as they could be opened.

    unknown: entries whose LUN could not be identified, and why. doubt: why there may be more LUNs than these; the race
    can be played on these all the same, but they prove nothing. "" where these are all. missing: one sentence for each
    LUN that the physical volumes lie on, too, and that this node does not see.
    """

    __slots__ = ("doubt", "luns", "missing", "unknown")

    def __init__(
        self,
        luns: tuple[LogicalUnit, ...],
        unknown: tuple[LunFailed, ...] = (),
        doubt: str = "",
        missing: tuple[str, ...] = (),
    ) -> None:
        self.luns = luns
        self.unknown = unknown
        self.doubt = doubt
        self.missing = missing

    @property
    def count(self) -> int:
        return len(self.luns) + len(self.unknown)

    @property
    def in_order(self) -> tuple[LogicalUnit, ...]:
        """By WWID: the same order on every node. The first one arbitrates."""
        return tuple(sorted(self.luns, key=lambda lun: lun.wwid))


def fence(
    opened: Opened,
    contest: Contest,
    mode: ArbitrationMode,
    where: str,
    emit: Emit,
    deadline: Deadline,
    asked: Questions | None = None,
) -> None:
    """Arbitrates on the first LUN, then isolates the target from all of them side by side.

    where: the LUNs, as the operator named them.
    asked: when the race is won, looks at the arbiter again at each question, until there are no more.
    """
    arbiter, end = None, RaceResult(ArbitrationResult.UNREACHABLE)
    if mode is not ArbitrationMode.OFF:
        within = _time_to_decide(mode, deadline)
        arbiter, end = opened.in_order[0] if opened.luns else None, _arbitrate(opened, contest, within)
        if end.result is ArbitrationResult.UNREACHABLE:
            end = contest.refused_unseen(end.reason) or end
        where = arbiter.name if arbiter is not None else where
        emit(Arbitrated(end.result, where, end.reason, end.registered))
        if end.result in (ArbitrationResult.LOST, ArbitrationResult.REFUSED):
            return
        if end.result is ArbitrationResult.UNREACHABLE and mode is ArbitrationMode.REQUIRED:
            return
    won = end.result is ArbitrationResult.WON
    alone = allocate_lock()  # a nexus is not for several threads at once

    def one(lun: LogicalUnit) -> tuple[Observation, ...]:
        if lun is not arbiter:
            return (isolate(lun, contest, deadline, unopposed=won),)
        with alone:
            return (isolate(lun, contest, deadline, end.removal),)

    if asked is None or arbiter is None or not won:
        _each(opened, one, emit)
        return
    if len(opened.luns) == 1:
        _each(opened, one, emit)
    else:  # another LUN may be slow for as long as the deadline lets it
        start_thread(_each, (opened, one, emit))
    while (answer := asked()) is not None:
        with alone:
            again = still_won(arbiter, contest, _time_to_decide(mode, deadline))
        answer(again)


def _time_to_decide(mode: ArbitrationMode, deadline: Deadline) -> Deadline:
    """The deadline of the race: half of the time where arbitration is only preferred, to leave time for power."""
    return deadline.within(deadline.remaining_s / 2) if mode is ArbitrationMode.PREFERRED else deadline


def _arbitrate(opened: Opened, contest: Contest, deadline: Deadline) -> RaceResult:
    if opened.unknown:
        # Another node may see the LUN that we cannot name, and arbitrate there: two arbiters are none.
        reasons = "; ".join(failed.reason for failed in opened.unknown)
        return _undecided(opened, contest, deadline, f"which LUN arbitrates cannot be told: {reasons}")
    if not opened.luns:
        return RaceResult(ArbitrationResult.UNREACHABLE, "no shared LUN is visible on this node")
    return arbitrate(opened.in_order[0], contest, deadline)


def _undecided(opened: Opened, contest: Contest, deadline: Deadline, reason: str) -> RaceResult:
    """The result without an arbiter: lost where a LUN shows that this node's key is gone, else undecided."""
    within, registered = deadline.within(OTHERS_S), False
    for lun in opened.in_order:
        try:
            if contest.own not in lun.look(within).keys:
                return not_registered(contest.own, f" on {lun.name}")
            registered = True
        except NotRegistered:
            return not_registered(contest.own, f" on {lun.name}")
        except StorageError:
            continue
    return RaceResult(ArbitrationResult.UNREACHABLE, reason, registered=registered)


def register_all(
    opened: Opened,
    terms: Terms,
    past_of: Callable[[str], Past],
    emit: Emit,
    deadline: Deadline,
    left: frozenset[str] | None = None,
    at_once: int = AT_ONCE,
) -> None:
    """Registers this node on every path of every LUN. past_of: what is recorded of a WWID in this boot.

    left: the WWIDs of the LUNs to register, where the others are registered already and only looked at; None: all.
    at_once: how many LUNs have their turns at the same time.
    """
    refusals = () if terms.re_register else _refusals(opened, terms.own, past_of, deadline, at_once)

    def one(lun: LogicalUnit) -> tuple[Observation, ...]:
        _begin_in_time(lun, deadline)
        return register(lun, terms, past_of(lun.wwid), deadline)

    if refusals:  # fenced on one LUN is fenced: the others are left alone
        emit(*opened.unknown, *refusals, StorageDone(opened.count))
    else:
        if left is not None:
            opened = Opened(tuple(lun for lun in opened.luns if lun.wwid in left), opened.unknown)
        _each(opened, one, emit, at_once)


def _begin_in_time(lun: LogicalUnit, deadline: Deadline) -> None:
    """Raises TransportError where the deadline has passed before it was this LUN's turn."""
    if deadline.passed:
        raise TransportError(f"{lun.name}: nothing was sent: the deadline passed before it was its turn", LATE)


def _refusals(
    opened: Opened, own: ReservationKey, past_of: Callable[[str], Past], deadline: Deadline, at_once: int
) -> tuple[LunFailed, ...]:
    """Why this node must not register anywhere, LUN by LUN."""
    refusals: list[LunFailed] = []
    for lun, look in looks_of(opened.in_order, deadline, at_once):
        reason = look.with_remedy if isinstance(look, StorageError) else objection(look, past_of(lun.wwid), own)
        if reason is not None:
            refusals.append(LunFailed(lun.name, f"{lun.name}: {reason}"))
    return tuple(refusals)


def looks_of(
    luns: Sequence[LogicalUnit], deadline: Deadline, at_once: int = AT_ONCE
) -> tuple[tuple[LogicalUnit, Look | StorageError], ...]:
    """Looks at all LUNs side by side and returns the looks in the order given. A silent LUN delays no other."""
    found: dict[str, Look | StorageError] = {}

    def look(lun: LogicalUnit) -> tuple[tuple[str, Look | StorageError], ...]:
        try:
            _begin_in_time(lun, deadline)
            return ((lun.wwid, lun.look(deadline)),)
        except StorageError as error:
            return ((lun.wwid, error),)
        except Exception as error:  # noqa: BLE001 - lost in a thread, it would be waited for until the deadline
            text = f"{lun.name}: unexpected {type(error).__name__}: {error}: please report this"
            return ((lun.wwid, StorageError(text, "")),)

    def keep(*several: tuple[str, Look | StorageError]) -> None:
        found.update(several)

    _side_by_side(luns, look, keep, at_once)
    return tuple((lun, found[lun.wwid]) for lun in luns)


def status(opened: Opened, contest: Contest, emit: Emit, deadline: Deadline) -> None:
    """Reads whether the target is registered, and whether it would be shut out if it is not. Writes nothing."""
    target = contest.target

    def one(lun: LogicalUnit) -> tuple[Observation, ...]:
        look = lun.look_everywhere(deadline).look
        registered = bool(look.listed(target))
        if not registered and (doubt := contest.doubt(look)) is not None:
            return (LunFailed(lun.name, f"{lun.name}: {doubt}"),)
        return (LunState(lun.name, registered, look.held_without(target)),)

    _each(opened, one, emit)


def monitor(
    opened: Opened,
    settings: StorageSettings,
    past_of: Callable[[str], Past],
    emit: Emit,
    deadline: Deadline,
    needed: bool = True,
) -> None:
    """Checks, without writing, whether a fence would work now.

    On each LUN: all paths that answer show the same state, this node's key is registered, the reservation has the
    wanted type, and the target has PREEMPT AND ABORT and APTPL.

    needed: no fence succeeds without a proof by storage.
    """
    _each(opened, lambda lun: _monitor_one(lun, settings, past_of(lun.wwid), deadline, needed), emit)


def _monitor_one(
    lun: LogicalUnit, settings: StorageSettings, past: Past, deadline: Deadline, needed: bool
) -> tuple[Observation, ...]:
    own = settings.own_key
    looks = lun.look_everywhere(deadline)
    look = looks.look
    notes: tuple[Noted, ...] = ()
    if looks.failures:
        reasons = "; ".join(map(str, looks.failures))
        notes = (Noted(f"{lun.name}: {looks.paths} of {len(lun.nexuses)} paths answer: {reasons}: mend these paths"),)
    if own is None or own not in look.keys:
        if past.history is not History.NEVER:
            reason = f"{lun.name}: this node's key {own or ''} is gone: it was preempted in this boot: reboot this node"
            return (LunFailed(lun.name, reason),)
        notes += (Noted(f"{lun.name}: this node is not registered yet in this boot; run 'on' for it (unfence) first"),)
    held = look.reservation.type
    if held is not None and held is not settings.reservation_type:
        found, wanted = held.name, settings.reservation_type.name
        reason = f"{lun.name}: the reservation held is {found}, reservation_type says {wanted}: {SAME_TYPE}"
        return (*notes, LunFailed(lun.name, reason))
    if look.keys and held is None:
        reason = f"{lun.name}: keys are registered but no reservation is held: it protects nothing: {RESERVE}"
        return (*notes, LunFailed(lun.name, reason))
    if (why := lasts_not(lun, held, deadline)) is not None:
        return (*notes, LunFailed(lun.name, f"{lun.name}: {why}"))
    if (unknown := _unknown_key(lun, look, settings, needed)) is not None:
        return (*notes, unknown)
    notes += _weaknesses(lun, settings, deadline)
    return (*notes, LunState(lun.name, own is not None and own in look.keys, held is not None))


def _unknown_key(lun: LogicalUnit, look: Look, settings: StorageSettings, needed: bool) -> LunFailed | None:
    """The failure for a key that belongs to no known node, also where power proves every fence.

    Its owner writes here. If it is a node of this cluster with other files, each of the two would take the other
    one for fenced already.

    needed: no fence succeeds without a proof by storage.
    """
    own, others = settings.own_key, settings.others
    strangers = look.strangers((*others.known, own) if own is not None else others.known) if others is not None else ()
    if others is None or len(strangers) <= others.unnamed_most:
        return None
    keys = f"{some_of(strangers)} {'belongs' if len(strangers) == 1 else 'belong'} to no known node"
    nothing = "storage proves no fence of it" if needed else "whom a fence race takes it from is not known"
    return LunFailed(lun.name, f"{lun.name}: key {keys}: {nothing}: {MEND}")


def _weaknesses(lun: LogicalUnit, settings: StorageSettings, deadline: Deadline) -> tuple[Noted, ...]:
    found = []
    nexus = lun.nexuses[0]
    if nexus.supports(OutAction.PREEMPT_AND_ABORT, deadline) is False:
        found.append(f"{lun.name}: no PREEMPT AND ABORT: a fence leaves the victim's queued commands running")
    capabilities = nexus.report_capabilities(deadline)
    if settings.aptpl and (capabilities is None or not capabilities.ptpl_capable):
        found.append(f"{lun.name}: no APTPL: the registrations are lost when the target restarts")
    return tuple(Noted(text, lasting=True) for text in found)


# --- all LUNs ---------------------------------------------------------------------------------------------------------

Work = Callable[[LogicalUnit], tuple[Observation, ...]]


def _each(opened: Opened, work: Work, emit: Emit, at_once: int | None = None) -> None:
    """Does the work on every LUN side by side, sends each result, and StorageDone last."""
    if opened.unknown:
        emit(*opened.unknown)
    _side_by_side(opened.in_order, lambda lun: _ended(lun, work), emit, at_once)
    emit(StorageDone(opened.count))


def _ended(lun: LogicalUnit, work: Work) -> tuple[Observation, ...]:
    """The result of the work on one LUN. Never raises: an exception would be lost in the thread, and a LUN without a
    result proves nothing."""
    try:
        return work(lun)
    except StorageError as error:
        return (LunFailed(lun.name, error.with_remedy),)
    except Exception as error:  # noqa: BLE001 - a failure of this LUN, so never a proof
        return (LunFailed(lun.name, f"{lun.name}: unexpected {type(error).__name__}: {error}: please report this"),)


def _side_by_side(
    luns: Sequence[LogicalUnit],
    work: Callable[[LogicalUnit], tuple[T, ...]],
    emit: Callable[..., None],
    at_once: int | None = None,
) -> None:
    """Runs a thread for each LUN, so that a dead one delays no other. The process as a whole is expendable.

    at_once: how many LUNs have their turns at the same time; None: all. A LUN that takes longer than SLOW_S makes room
    for two more, so 64 dead ones delay the others by 4 s.
    The threads are bare ones: threading's handshake at each start costs a fence of 64 LUNs more than its commands.
    """
    if len(luns) == 1:
        emit(*work(luns[0]))
        return
    from _queue import Empty, SimpleQueue  # a single LUN needs none

    ends: SimpleQueue[tuple[int, tuple[T, ...]]] = SimpleQueue()
    waiting, under_way = list(enumerate(luns))[::-1], dict[int, float]()
    together: list[T] = []
    tell_s = 0.0
    while waiting or under_way:
        now = time.monotonic()
        slow = sum(now >= began_s + SLOW_S for began_s in under_way.values())
        room = len(waiting) if at_once is None else at_once + 2 * slow - len(under_way)
        for number, lun in (waiting.pop() for _ in range(min(room, len(waiting)))):
            under_way[number] = now
            start_thread(lambda number, lun: ends.put((number, work(lun))), (number, lun))
        until = [tell_s] if together else []
        until += [began_s + SLOW_S for began_s in under_way.values() if waiting and began_s + SLOW_S > now]
        try:
            number, end = ends.get(timeout=max(0.0, min(until) - now)) if until else ends.get()
        except Empty:
            pass
        else:
            del under_way[number]
            tell_s = tell_s if together else time.monotonic() + LINGER_S
            together += end
        if together and (time.monotonic() >= tell_s or not (waiting or under_way)):
            emit(*together)
            together = []
