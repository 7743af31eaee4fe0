# SPDX-License-Identifier: Apache-2.0
"""Registers this node between two writings of its marker, one process at a time: for ``on`` and for the sidecar."""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from fencer.errors import StorageError, UsageError
from fencer.model import Deadline, ReservationKey
from fencer.observations import LunFailed, LunRegistered, Noted, Observation, StorageDone
from fencer.state.directories import persistent_directory
from fencer.storage import fenced_record, procedure
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import Look
from fencer.storage.marker import EarlierBootMarker, LunMark, Marker, UnreadableMarker, read_marker, write_marker
from fencer.storage.procedure import Opened
from fencer.storage.registration import REBOOT, History, Past, Terms, objection, past

LOCK_NAME = "registering.lock"
_LOOK_AGAIN_S = 0.02

FIRST_LOOK_SHARE = 2 / 3
"""The share of the time until the deadline after which the LUNs that have answered are registered."""


def unfence(
    opened: Opened,
    terms: Terms,
    state_dir: str,
    emit: procedure.Emit,
    deadline: Deadline,
    ask: fenced_record.AskContact | None = None,
    *,
    left: frozenset[str] | None = None,
    at_once: int = procedure.AT_ONCE,
) -> None:
    """Registers this node, between two writings of the marker. A LUN that cannot be read is not touched.

    ask: asks corosync whether this node has met its peer, where it was fenced by it; None: that is left for later.
    left, at_once: as procedure.register_all.
    Raises UsageError when the marker cannot be written, StorageError when another process registers until the deadline.
    """
    with alone(state_dir, deadline):
        _unfence(opened, terms, state_dir, emit, deadline, ask, left, at_once)


class _Heard:
    """What a registration says of the LUNs, by their names. It is passed on, but for its end.

    The parent ends this process on StorageDone, and the marker is not written yet.
    """

    def __init__(self, emit: procedure.Emit) -> None:
        self._emit = emit
        self.done = set[str]()
        self.preempted = set[str]()
        self.ends: list[StorageDone] = []

    def __call__(self, *several: Observation) -> None:
        self.done.update(what.lun for what in several if isinstance(what, LunRegistered))
        self.preempted.update(what.lun for what in several if isinstance(what, LunFailed) and what.preempted)
        self.ends.extend(what for what in several if isinstance(what, StorageDone))
        if before_the_end := [what for what in several if not isinstance(what, StorageDone)]:
            self._emit(*before_the_end)


def _unfence(
    opened: Opened,
    terms: Terms,
    state_dir: str,
    emit: procedure.Emit,
    deadline: Deadline,
    ask: fenced_record.AskContact | None,
    left: frozenset[str] | None,
    at_once: int,
) -> None:
    found, persistent_dir = read_marker(state_dir), persistent_directory(state_dir)
    # A LUN that does not answer leaves time for those that do.
    looks, silent = _looks(opened.luns, deadline.within(deadline.remaining_s * FIRST_LOOK_SHARE), at_once)
    generations = {wwid: look.generation for wwid, look in looks.items()}
    earlier = None if isinstance(found, Marker | UnreadableMarker) else found or read_marker(persistent_dir)
    known = terms.others.known if terms.others is not None else ()
    if isinstance(earlier, EarlierBootMarker) and earlier.key in known:
        earlier = None  # of the node from which this machine was cloned
    _record_fence(opened, terms.own, earlier, looks, persistent_dir, emit)
    before = {mark.wwid: mark for mark in found.luns} if isinstance(found, Marker) else {}
    pasts = {wwid: _seen_so(past(found, wwid), look, terms.own, earlier) for wwid, look in looks.items()}
    lost = _lost(pasts, left)
    begun = {wwid: generation for wwid, generation in generations.items() if wwid not in lost}
    marks = {wwid: LunMark(wwid, generation, registered=False) for wwid, generation in begun.items()} | before
    trusted = terms.re_register or not isinstance(found, UnreadableMarker)
    if trusted:
        write_marker(state_dir, Marker(terms.own, tuple(marks.values())))
    heard = _Heard(emit)
    done, preempted = heard.done, heard.preempted
    readable = Opened(tuple(lun for lun in opened.luns if lun.wwid in generations), (*opened.unknown, *silent))
    if left is not None:  # those that the marker does not call registered are registered, too
        left |= {wwid for wwid, seen in pasts.items() if seen.history is not History.REGISTERED}
    pasts |= dict.fromkeys(lost, Past(History.UNKNOWN))
    procedure.register_all(readable, terms, pasts.__getitem__, heard, deadline, left, at_once)
    registered = tuple(lun for lun in readable.luns if lun.name in done)
    if earlier is not None and len(registered) < len(readable.luns):  # fenced meanwhile?
        missed, _ = _looks((lun for lun in readable.luns if lun.name not in done), deadline, at_once)
        _record_fence(opened, terms.own, earlier, missed, persistent_dir, emit)
    # A fence is one of this node also where it shows on a LUN that this call has only looked at.
    stays = _registered(found) if isinstance(found, Marker) and found.key == terms.own else set[str]()
    watched = [lun for lun in readable.luns if lun.name in done or (done and lun.wwid in stays)]
    after, unseen = _looks(watched, deadline, at_once)
    preempted |= {
        lun.name
        for lun in watched
        if lun.wwid in after and _is_taken(after[lun.wwid], looks[lun.wwid], pasts[lun.wwid], terms, lun.name in done)
    }
    # Fenced since, or not known: by the generation of before, this boot and the next one see that.
    taken = preempted | done & {each.lun for each in unseen}
    marks |= {
        lun.wwid: LunMark(lun.wwid, generations[lun.wwid], registered=True)
        for lun in readable.luns
        if lun.name in taken
    }
    if trusted or len(registered) == opened.count:
        for wwid, look in after.items():
            if terms.own in look.keys:
                marks[wwid] = LunMark(wwid, look.generation, registered=True)
        marker = Marker(terms.own, tuple(marks.values()))
        write_marker(state_dir, marker)
        # What was kept of an earlier boot is what shows a fence, until all is registered in this one.
        whole = generations.keys() <= after.keys() | stays or read_marker(persistent_dir) is None
        if persistent_dir != state_dir and whole and not _is_kept(found, marker):
            _keep(persistent_dir, marker, emit)
    if len(watched) > 1:  # a fence that these would show may have named another one isolated, before we came to it
        emit(*unseen)
    if preempted:
        emit(*(_withdrawn(lun, terms, min(preempted), deadline) for lun in registered))
    if ask is not None:
        fenced_record.note_refusal(persistent_dir, ask, emit)
    emit(*heard.ends)


def _is_taken(after: Look, before: Look, seen: Past, terms: Terms, is_done: bool) -> bool:
    """Whether another node has taken our key since the look before: registered by this call, or listed then.

    Nobody was fenced where the target lost all registrations, or dropped ours when its session ended.
    """
    if terms.own in after.keys:
        return False
    return is_done or (after.generation != before.generation and objection(after, seen, terms.own) is not None)


def _withdrawn(lun: LogicalUnit, terms: Terms, where: str, deadline: Deadline) -> LunFailed:
    """Takes the key off a LUN, because another node has fenced this one meanwhile on the LUN where.

    Registered here a moment after that node had looked, it could write although it was shown to be isolated.
    """
    from fencer.storage.unregistering import withdraw  # hardly ever needed

    left = withdraw(lun, terms.own, terms.aptpl, deadline)
    reason = f"{lun.name}: key {terms.own} was preempted on {where} while this node registered: {REBOOT}{left}"
    return LunFailed(lun.name, reason, preempted=True)


def _seen_so(
    marked: Past, look: Look, own: ReservationKey, earlier: Marker | EarlierBootMarker | UnreadableMarker | None
) -> Past:
    """What is known of a LUN before its registration. By its first look, where the marker of this boot records nothing.

    REGISTER AND IGNORE EXISTING KEY does not tell whether it replaces our key of an earlier boot or comes after a fence
    that has just removed it. So a key that is listed is registered by commands that need it.
    """
    keys = (own, earlier.key) if isinstance(earlier, EarlierBootMarker) else (own,)
    listed = next((key for key in keys if key in look.keys), None)
    if marked.history is not History.NEVER or listed is None:
        return marked
    return Past(History.LISTED, look.generation, listed)


def _lost(pasts: Mapping[str, Past], left: frozenset[str] | None) -> set[str]:
    """The LUNs that the caller registered in this boot, of which there is no mark, and where our key is gone.

    The marker was lost, so unknown counts as registered. No mark is begun for them: it would say later that nothing has
    happened.
    """
    if left is None:
        return set()
    return {wwid for wwid, seen in pasts.items() if wwid not in left and seen.history is History.NEVER}


def _looks(
    luns: Iterable[LogicalUnit], deadline: Deadline, at_once: int
) -> tuple[dict[str, Look], tuple[LunFailed, ...]]:
    """Looks at each LUN. Returns the looks by WWID, and the LUNs that cannot be read."""
    looks = procedure.looks_of(tuple(luns), deadline, at_once)
    seen = {lun.wwid: look for lun, look in looks if not isinstance(look, StorageError)}
    silent = (LunFailed(lun.name, look.with_remedy) for lun, look in looks if isinstance(look, StorageError))
    return seen, tuple(silent)


def _record_fence(
    opened: Opened,
    own: ReservationKey,
    earlier: Marker | EarlierBootMarker | UnreadableMarker | None,
    looks: Mapping[str, Look],
    persistent_dir: str,
    emit: procedure.Emit,
) -> None:
    """Records that this node was fenced since it last registered, where the LUNs show that."""
    names = {lun.wwid: lun.name for lun in opened.luns}
    record = fenced_record.find_fence(earlier, own, looks, names) if isinstance(earlier, EarlierBootMarker) else None
    if record is None:
        return
    try:
        fenced_record.write_record(persistent_dir, record)
    except OSError as error:
        emit(Noted(f"{persistent_dir}: {error.strerror}: that this node was fenced was not recorded: look at the disk"))


def _is_kept(found: Marker | EarlierBootMarker | UnreadableMarker | None, marker: Marker) -> bool:
    """Whether this boot has stored that already. Then nothing is written to a disk that may hang."""
    return isinstance(found, Marker) and found.key == marker.key and _registered(found) == _registered(marker)


def _registered(marker: Marker) -> set[str]:
    return {mark.wwid for mark in marker.luns if mark.registered}


def _keep(persistent_dir: str, marker: Marker, emit: procedure.Emit) -> None:
    """Stores the present registration in the persistent directory, which survives a reboot."""
    try:
        write_marker(persistent_dir, marker)
    except UsageError:
        emit(Noted(f"{persistent_dir}: the registration was not kept for the next boot: look at the disk"))


@contextmanager
def alone(state_dir: str, deadline: Deadline, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Holds a lock against other processes of this node, from the first reading of the marker to its last writing.

    Without it, two processes would each write the marks that they had read before the other one registered.
    The kernel releases the lock when its process ends. Raises UsageError, and StorageError at the deadline.
    """
    path = os.path.join(state_dir, LOCK_NAME)
    try:
        os.makedirs(state_dir, mode=0o755, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"state_dir: {path}: {error.strerror}: run as root, or give a directory on a tmpfs") from error
    try:
        while not _locked(descriptor):
            if deadline.passed:
                raise StorageError(f"{path}: another process is registering this node", "call again when it has ended")
            sleep(min(_LOOK_AGAIN_S, deadline.remaining_s))
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
