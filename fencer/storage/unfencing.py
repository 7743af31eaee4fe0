"""Registers this node between two writings of its marker, one process at a time: for ``on`` and for the sidecar."""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fencer.errors import StorageError, UsageError
from fencer.model import Deadline
from fencer.observations import LunFailed, LunRegistered, Observation, StorageDone
from fencer.storage import procedure
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.marker import EarlierBootMarker, LunMark, Marker, UnreadableMarker, read_marker, write_marker
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past, Terms

LOCK_NAME = "registering.lock"
_LOOK_AGAIN_S = 0.02

FIRST_LOOK_SHARE = 2 / 3
"""The share of the time until the deadline after which the LUNs that have answered are registered."""


def past(found: Marker | EarlierBootMarker | UnreadableMarker | None, wwid: str) -> Past:
    """What this boot's marker says about one LUN."""
    match found:
        case UnreadableMarker():
            return Past(History.UNKNOWN)
        case Marker(key) if (mark := found.of(wwid)) is not None:
            return Past(History.REGISTERED if mark.registered else History.BEGUN, mark.generation, key)
        case _:
            return Past(History.NEVER)


def unfence(opened: Opened, terms: Terms, state_dir: str, emit: procedure.Emit, deadline: Deadline) -> None:
    """Registers this node, between two writings of the marker. A LUN that cannot be read is not touched.

    Raises UsageError when the marker cannot be written, StorageError when another process registers until the deadline.
    """
    with alone(state_dir, deadline):
        _unfence(opened, terms, state_dir, emit, deadline)


def _unfence(opened: Opened, terms: Terms, state_dir: str, emit: procedure.Emit, deadline: Deadline) -> None:
    found = read_marker(state_dir)
    # A LUN that does not answer leaves time for those that do.
    generations, silent = _generations(opened.luns, deadline.within(deadline.remaining_s * FIRST_LOOK_SHARE))
    before = {mark.wwid: mark for mark in found.luns} if isinstance(found, Marker) else {}
    marks = {wwid: LunMark(wwid, generation, registered=False) for wwid, generation in generations.items()} | before
    trusted = terms.re_register or not isinstance(found, UnreadableMarker)
    if trusted:
        write_marker(state_dir, Marker(terms.own, tuple(marks.values())))
    done: set[str] = set()
    ends: list[Observation] = []

    def note(*several: Observation) -> None:
        done.update(what.lun for what in several if isinstance(what, LunRegistered))
        # The parent ends this process on StorageDone, and the marker is not written yet.
        ends.extend(what for what in several if isinstance(what, StorageDone))
        if before_the_end := [what for what in several if not isinstance(what, StorageDone)]:
            emit(*before_the_end)

    readable = Opened(tuple(lun for lun in opened.luns if lun.wwid in generations), (*opened.unknown, *silent))
    procedure.register_all(readable, terms, lambda wwid: past(found, wwid), note, deadline)
    registered = tuple(lun for lun in readable.luns if lun.name in done)
    if trusted or len(registered) == opened.count:
        after, _ = _generations(registered, deadline)
        marks |= {wwid: LunMark(wwid, generation, registered=True) for wwid, generation in after.items()}
        write_marker(state_dir, Marker(terms.own, tuple(marks.values())))
    emit(*ends)


def _generations(luns: Iterable[LogicalUnit], deadline: Deadline) -> tuple[dict[str, int], tuple[LunFailed, ...]]:
    """PRGENERATION by WWID, and the LUNs that cannot be read."""
    looks = procedure.looks_of(tuple(luns), deadline)
    generations = {lun.wwid: look.generation for lun, look in looks if not isinstance(look, StorageError)}
    silent = (LunFailed(lun.name, look.with_remedy) for lun, look in looks if isinstance(look, StorageError))
    return generations, tuple(silent)


@contextmanager
def alone(state_dir: str, deadline: Deadline, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Locks out other processes from the first reading of the marker to its last writing.

    Two that interleave would each write the marks that they had read, and the generation that the other one caused.
    The kernel releases the lock when its process ends. Raises UsageError, and StorageError at the deadline.
    """
    path = Path(state_dir) / LOCK_NAME
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
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
