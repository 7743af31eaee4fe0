# SPDX-License-Identifier: Apache-2.0
"""Readings of the snapshot and of the journal, and how far to believe them. Pure."""

from collections.abc import Callable
from typing import NamedTuple, assert_never

from fencer._enum import StrEnum
from fencer.journal.event import Event, StepTotal, Total
from fencer.state.liveness import Liveness, fresh_for_s, liveness
from fencer.state.snapshot import LunSnapshot, Snapshot


class Now(NamedTuple):
    """One moment by both clocks. unix_s: for people. monotonic_s: CLOCK_MONOTONIC, for ages."""

    unix_s: float
    monotonic_s: float


class SnapshotStatus(StrEnum):
    """How far the snapshot can be believed."""

    FRESH = "fresh"
    STALE = "stale"  # of this boot, but the sidecar has stopped renewing it
    MISSING = "missing"
    UNREADABLE = "unreadable"  # the file is there, but we may not read it
    MALFORMED = "malformed"  # torn, or not what a sidecar writes
    UNKNOWN_SCHEMA = "unknown_schema"  # of another version
    OTHER_BOOT = "other_boot"  # the sidecar has not run in this boot


class SnapshotReading(NamedTuple):
    """A snapshot as read. snapshot: None unless it parsed. age_s: None unless it is of this boot. problem: a sentence,
    or ""."""

    status: SnapshotStatus
    snapshot: Snapshot | None = None
    age_s: float | None = None
    problem: str = ""

    @property
    def fresh(self) -> Snapshot | None:
        """The snapshot, if it says how things are now."""
        return self.snapshot if self.status is SnapshotStatus.FRESH else None

    @property
    def failed(self) -> bool:
        """Whether there is a file that could not be read. A missing file is no failure."""
        return self.status in (SnapshotStatus.UNREADABLE, SnapshotStatus.MALFORMED, SnapshotStatus.UNKNOWN_SCHEMA)


class JournalStatus(StrEnum):
    """How far the journal can be believed."""

    READABLE = "readable"
    MISSING = "missing"  # nothing has been recorded yet
    UNREADABLE = "unreadable"
    UNKNOWN_SCHEMA = "unknown_schema"


class JournalReading(NamedTuple):
    """A journal as read.

    totals, steps: since the journal began. story: the latest events without monitors, the newest first. told: how many
    such events there ever were. fences, monitors: of each target the one recorded last, regardless of its time.
    problem: a sentence, or "".
    """

    status: JournalStatus
    totals: tuple[Total, ...] = ()
    steps: tuple[StepTotal, ...] = ()
    story: tuple[Event, ...] = ()
    told: int = 0
    fences: tuple[Event, ...] = ()
    monitors: tuple[Event, ...] = ()
    problem: str = ""

    @property
    def failed(self) -> bool:
        """Whether there is a journal that could not be read. A missing journal counts as an empty one."""
        return self.status in (JournalStatus.UNREADABLE, JournalStatus.UNKNOWN_SCHEMA)


class Readings(NamedTuple):
    """All that one answer is made from, at one moment. paths_accepted_unix_s: when an operator last accepted the
    present paths as complete, 0.0 if never."""

    now: Now
    boot_id: str
    snapshot: SnapshotReading
    journal: JournalReading
    paths_accepted_unix_s: float = 0.0


Source = Callable[[], Readings]
"""Reads both. Never raises, and touches no device."""


def judge_snapshot(snapshot: Snapshot, boot_id: str, now: Now) -> SnapshotReading:
    """How far to believe a snapshot. now: taken after it was read."""
    age_s = now.monotonic_s - snapshot.written_monotonic_s
    match liveness(snapshot, boot_id, now.monotonic_s):
        case Liveness.ALIVE | Liveness.STOPPED:
            return SnapshotReading(SnapshotStatus.FRESH, snapshot, age_s)
        case Liveness.STALE:
            return SnapshotReading(SnapshotStatus.STALE, snapshot, age_s, f"it was written {age_s:.0f} s ago")
        case Liveness.OTHER_BOOT:
            return SnapshotReading(SnapshotStatus.OTHER_BOOT, snapshot, None, "it was written before this boot")
        case Liveness.NO_NUMBERS:
            return SnapshotReading(SnapshotStatus.MALFORMED, None, None, "its times are no numbers")
        case Liveness.FUTURE:
            return SnapshotReading(SnapshotStatus.MALFORMED, None, None, "it was written in the future of this boot")
        case unknown:
            assert_never(unknown)


def readable_now(lun: LunSnapshot, snapshot: Snapshot) -> bool:
    """Whether the LUN's keys, holder and type were read, and lately, when the snapshot was written."""
    if lun.error or lun.read_monotonic_s <= 0:
        return False
    return snapshot.written_monotonic_s - lun.read_monotonic_s <= fresh_for_s(snapshot.check_interval_s)


def unix_s(snapshot: Snapshot, monotonic_s: float) -> float:
    """A monotonic time of the snapshot as Unix time, by the pair of clocks it was written with."""
    return snapshot.written_unix_s - (snapshot.written_monotonic_s - monotonic_s)
