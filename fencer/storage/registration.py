# SPDX-License-Identifier: Apache-2.0
"""Registers this node's key on every path of a LUN and makes sure that a reservation is held.

A node that was preempted in this boot is not registered again.
"""

from collections.abc import Sequence

from fencer._enum import Enum, auto
from fencer._typing import NamedTuple
from fencer.errors import StillUnderWay, StorageError, TransportError, remedies
from fencer.model import Deadline, OtherKeys, ReservationKey, ReservationType
from fencer.observations import LunFailed, LunRegistered, Noted, Observation
from fencer.storage.guarded_registration import register_under_guard
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import Look, guard_key
from fencer.storage.marker import EarlierBootMarker, Marker, UnreadableMarker
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.settings import StorageSettings

ATTEMPTS_MOST = 6

LATER = "halvm-watchdogd registers the others when they return; without it run 'on' for this node again then"

UNREGISTER = "unregister it, then run 'on' again"
ONE_PORT = (
    "another node: the target takes the two for one, so that neither can be fenced: give each node its own "
    "InitiatorName, or its own port of the host's adapter; if this machine was that node before, unregister the key"
)
SWITCH_ON = "switch them on at the target, or give another LUN"
REBOOT = "this node was fenced: reboot it"


class History(Enum):
    """What this node knows of its own registration on one LUN in this boot."""

    NEVER = auto()  # not registered since the kernel started: nothing of an earlier life can be written
    LISTED = auto()  # the same, and its key of an earlier boot was listed when this call looked first
    BEGUN = auto()  # a registration was begun and not finished; the generation before it is known
    REGISTERED = auto()
    UNKNOWN = auto()  # the record is unreadable


class Past(NamedTuple):
    """What is known of one LUN: the PR generation, and the key (None: not known).

    By the marker of this boot; of LISTED, by the first look of the call that registers.
    """

    history: History
    generation: int | None = None
    key: ReservationKey | None = None


def past(found: Marker | EarlierBootMarker | UnreadableMarker | None, wwid: str) -> Past:
    """What the marker of this boot records of one LUN."""
    match found:
        case UnreadableMarker():
            return Past(History.UNKNOWN)
        case Marker(key) if (mark := found.of(wwid)) is not None:
            return Past(History.REGISTERED if mark.registered else History.BEGUN, mark.generation, key)
        case _:
            return Past(History.NEVER)


class Terms(NamedTuple):
    """The key to register, and how.

    re_register: also where this node was preempted in this boot. others: whose keys may be on the LUN besides own; None
    where that is not known.
    """

    own: ReservationKey
    reservation_type: ReservationType
    aptpl: bool
    re_register: bool = False
    others: OtherKeys | None = None

    @classmethod
    def on(cls, settings: StorageSettings, own: ReservationKey, *, re_register: bool = False) -> "Terms":
        """The terms of own on the LUNs of settings."""
        return cls(own, settings.reservation_type, settings.aptpl, re_register, settings.others)

    def bar(self, look: Look) -> str | None:
        """Why a node that is registered under own may not write to this LUN; None when it may. Pure.

        Where reservation_type is one of the types under which the holder alone writes, the cluster's other nodes take
        their turns at holding it, and each is registered.
        """
        holder = look.keeps_from_writing(self.own)
        held = look.reservation.type
        if holder is None or held is None:
            return None
        if held is self.reservation_type and (self.others is None or self.others.may_be(holder)):
            return None
        return (
            f"key {holder} holds a {held.name} reservation: this node may not write, registered or not: "
            f"release it there, or have it preempted, then run 'on' again"
        )


def objection(look: Look, past: Past, own: ReservationKey) -> str | None:
    """Why this node must not register on this LUN; None when it may. Pure.

    A node that was preempted in this boot may hold unwritten data of a file system that another node has mounted since.
    Registered again, it would write them. Only a reboot drops them.
    """
    if own in look.keys or past.key in look.keys or past.history is History.NEVER:
        return None
    if past.history in (History.BEGUN, History.LISTED) and past.generation == look.generation:
        return None  # nothing has happened on this LUN since before our REGISTER: it was never executed
    if past.history is History.LISTED:
        return f"key {past.key} was listed and is gone: this node was fenced while it registered: {REBOOT}"
    if past.history is History.REGISTERED and not look.keys and _restarted(look, past):
        return None  # the target lost all registrations, not only ours
    return (
        f"key {own} was registered in this boot and is gone: this node was fenced; "
        "reboot it, or run fence_halvm -o on --re-register by hand if you know that nothing unwritten is left on it"
    )


def _restarted(look: Look, past: Past) -> bool:
    return past.generation is not None and look.generation < past.generation


def register(lun: LogicalUnit, terms: Terms, past: Past, deadline: Deadline) -> tuple[Observation, ...]:
    """Registers terms.own on every path of lun that answers, makes sure that a reservation is held, and reads back.

    Paths that do not answer are named in a note. A LUN without a path that answers is a failure. Never raises.
    """
    try:
        look = lun.look_everywhere(deadline).look
        reason = None if terms.re_register else objection(look, past, terms.own)
        reason = reason or terms.bar(look)
        if reason is not None:
            return (LunFailed(lun.name, f"{lun.name}: {reason}"),)
        held = next((key for key in (terms.own, past.key) if key in look.keys), None)
        listed = None if terms.re_register or past.history is History.NEVER else held
        forgot = held is None and past.history is History.REGISTERED and not terms.re_register
        registered, down = _register_paths(
            lun,
            terms,
            listed,
            deadline,
            first=past.history is History.LISTED,
            absent_at=look.generation if forgot else None,
        )
        if not registered:
            raise TransportError("; ".join(map(str, down.values())), remedies(down.values()))
        without_key = listed is None and not forgot and len(registered) > 1
        if without_key and not _is_under(registered[0], terms.own, terms.aptpl, deadline):
            return (_preempted(lun, terms, deadline),)
        end = _hold(lun, registered, terms, deadline)
    except StorageError as error:
        return (LunFailed(lun.name, error.with_remedy),)
    if isinstance(end, LunFailed) or not down:
        return (end,)
    missing = f"{len(registered)} of {len(lun.nexuses)} paths: {'; '.join(map(str, down.values()))}"
    return (end, Noted(f"{lun.name}: key {terms.own} is registered on {missing}: {LATER}"))


def _register_paths(
    lun: LogicalUnit,
    terms: Terms,
    listed: ReservationKey | None,
    deadline: Deadline,
    first: bool,
    absent_at: int | None,
) -> tuple[list[Nexus], dict[str, StorageError]]:
    """Registers path after path. Returns the paths that are registered now, and by name why others do not answer.

    absent_at: the PR generation at which the target had lost all registrations, this node's of this boot, too. Another
    node may register and fence this one before our REGISTER comes, so the first path is registered under guard.

    Raises StorageError for a path that answers and cannot be registered. Raises it also where a REGISTER hangs: the
    target may execute it after this node was fenced, which would register it again.
    """
    registered: list[Nexus] = []
    down: dict[str, StorageError] = {}
    for nexus in lun.nexuses:
        try:
            aptpl = _aptpl(nexus, terms, deadline)  # a path that hangs does so in what only reads
        except StorageError as error:
            down[nexus.name] = error
            continue
        try:
            if absent_at is None:
                refusal = _register_path(nexus, terms, listed, aptpl, deadline, first)
            else:
                refusal = _register_absent(nexus, terms, aptpl, deadline, absent_at)
        except StillUnderWay as error:
            reason = f"{error}: the REGISTER may be executed yet: run 'on' again when the path answers or is gone"
            raise StorageError(reason, "") from error
        except StorageError as error:
            down[nexus.name] = error
            continue
        if refusal is not None:
            raise StorageError(f"{nexus.name}: {refusal}", "")
        registered.append(nexus)
        if absent_at is not None:
            absent_at, listed = None, terms.own
    return registered, down


def _register_absent(nexus: Nexus, terms: Terms, aptpl: bool, deadline: Deadline, absent_at: int) -> str | None:
    match register_under_guard(nexus, terms.own, aptpl, deadline, absent_at=absent_at):
        case Outcome.DONE:
            return None
        case Outcome.CHANGED:
            return f"REGISTER: the registrations have changed: this node may have been fenced meanwhile: {REBOOT}"
        case Outcome.CONFLICT:
            return f"REGISTER: reservation conflict: another key is registered on this path: {UNREGISTER}"
        case Outcome.UNSUPPORTED:
            return f"REGISTER: this target supports no persistent reservations: {SWITCH_ON}"


def _is_under(nexus: Nexus, key: ReservationKey, aptpl: bool, deadline: Deadline) -> bool:
    """Whether this nexus is registered under key: a REGISTER from it to itself is executed only then, and moves no key.

    A fence takes this node's key from all paths at once, and a REGISTER that does not rest on the key puts it back on
    those that come after it: the first path shows that. A session that the target forgets in just these milliseconds
    looks the same. Raises StorageError where the target does not say.
    """
    for _ in range(ATTEMPTS_MOST):
        match nexus.register(key, key, aptpl, deadline):
            case Outcome.DONE:
                return True
            case Outcome.CONFLICT:
                return False
            case Outcome.UNSUPPORTED:
                aptpl = False
            case Outcome.CHANGED:
                pass
    raise StorageError(f"{nexus.name}: REGISTER: registrations keep changing: run 'on' again", "")


def _preempted(lun: LogicalUnit, terms: Terms, deadline: Deadline) -> LunFailed:
    """This node was fenced between two paths of a LUN: takes its key off those that were registered since."""
    from fencer.storage.unregistering import withdraw  # hardly ever needed

    left = withdraw(lun, terms.own, terms.aptpl, deadline)
    reason = f"{lun.name}: key {terms.own} was preempted while this node registered its paths: {REBOOT}{left}"
    return LunFailed(lun.name, reason, preempted=True)


def register_path(nexus: Nexus, terms: Terms, listed: ReservationKey | None, deadline: Deadline) -> str | None:
    """Registers one path; None when it is registered now, else why not.

    listed: this node's key as this boot registered it and as it is listed still; None when there is nothing to lose.
    """
    return _register_path(nexus, terms, listed, _aptpl(nexus, terms, deadline), deadline)


def _aptpl(nexus: Nexus, terms: Terms, deadline: Deadline) -> bool:
    """Whether registrations are to survive a power loss of the target. Also shows whether the path answers."""
    capabilities = nexus.report_capabilities(deadline)
    return terms.aptpl and capabilities is not None and capabilities.ptpl_capable


def _register_path(
    nexus: Nexus, terms: Terms, listed: ReservationKey | None, aptpl: bool, deadline: Deadline, first: bool = False
) -> str | None:
    """first: of this boot. Then what must not be lost is the trace of a fence, and nothing that this node may write."""
    for _ in range(ATTEMPTS_MOST):
        if listed is None:
            outcome = nexus.register(None, terms.own, aptpl, deadline)
            if outcome is Outcome.CONFLICT:
                if (key := _key_of_another(nexus, terms, aptpl, deadline)) is not None:
                    return f"REGISTER: the initiator port of this path is registered under key {key} of {ONE_PORT}"
                outcome = nexus.register_and_ignore(terms.own, aptpl, deadline)
        else:
            # REGISTER from our key to our key: executed only where it is still registered, so it can resurrect nothing.
            outcome = nexus.register(listed, terms.own, aptpl, deadline)
            if outcome is Outcome.CONFLICT and listed != terms.own:  # on another path we have changed it already
                outcome = nexus.register(terms.own, terms.own, aptpl, deadline)
            if outcome is Outcome.CONFLICT:
                outcome = register_under_guard(nexus, terms.own, aptpl, deadline)
        match outcome:
            case Outcome.DONE:
                return None
            case Outcome.CONFLICT if first:
                listed = None  # an unknown key is on this path: it is replaced, as where our key is not listed
            case Outcome.CONFLICT:
                return f"REGISTER: reservation conflict: another key is registered on this path: {UNREGISTER}"
            case Outcome.UNSUPPORTED if aptpl:
                aptpl = False  # the target reports APTPL but cannot store it (LIO without /var/target/pr)
            case Outcome.UNSUPPORTED:
                return f"REGISTER: this target supports no persistent reservations: {SWITCH_ON}"
            case Outcome.CHANGED:
                if listed is not None and not {listed, terms.own} & set(nexus.read_keys(deadline).keys):
                    return f"REGISTER: key {terms.own} was preempted meanwhile: {REBOOT}"
    if first and listed is not None:
        return _register_path(nexus, terms, None, aptpl, deadline)
    return "REGISTER: registrations keep changing: run 'on' again"


def _key_of_another(nexus: Nexus, terms: Terms, aptpl: bool, deadline: Deadline) -> ReservationKey | None:
    """The key of a known other node under which this nexus is registered, or None. Raises StorageError."""
    known = terms.others.known if terms.others is not None else ()
    if not known:
        return None
    listed = set(nexus.read_keys(deadline).keys).difference((terms.own, guard_key(terms.own)))
    mine = (key for key in sorted(listed & {*known, *map(guard_key, known)}) if _is_under(nexus, key, aptpl, deadline))
    return next(mine, None)


def _hold(lun: LogicalUnit, registered: Sequence[Nexus], terms: Terms, deadline: Deadline) -> LunRegistered | LunFailed:
    """Reserves the LUN where no reservation is held, and reads back. registered: the paths to try, in turn."""
    reason = f"{lun.name}: RESERVE: no reservation is held afterwards: run 'on' again, and look at the target's log"
    for attempt in range(ATTEMPTS_MOST + len(registered)):
        look = lun.look_everywhere(deadline).look
        if terms.own not in look.keys:
            return LunFailed(
                lun.name,
                f"{lun.name}: key {terms.own} is not listed after REGISTER: it was preempted meanwhile: {REBOOT}",
                preempted=True,
            )
        if (bar := terms.bar(look)) is not None:
            return LunFailed(lun.name, f"{lun.name}: {bar}")
        if look.reservation.type is not None:
            names = {nexus.name for nexus in registered}
            missing = tuple(nexus.name for nexus in lun.nexuses if nexus.name not in names)
            return LunRegistered(lun.name, len(registered), missing)
        nexus = registered[attempt % len(registered)]
        try:
            nexus.reserve(terms.own, terms.reservation_type, deadline)
        except StorageError as error:
            reason = error.with_remedy
    return LunFailed(lun.name, reason)
