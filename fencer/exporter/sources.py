# SPDX-License-Identifier: Apache-2.0
"""Reads the sidecar's snapshot and the journal. Both may be missing, stale, torn, huge or hostile.

A file that has not changed is not read again. No device and no socket is opened.
"""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from fencer.journal.event import Event, EventKind, Total
from fencer.journal.file import Journal, JournalError, NewerJournal
from fencer.journal.reading import JournalSnapshot, Position, TotalRow
from fencer.state.boot_id import read_boot_id
from fencer.state.json_records import from_json
from fencer.state.readings import (
    JournalReading,
    JournalStatus,
    Now,
    Readings,
    SnapshotReading,
    SnapshotStatus,
    judge_snapshot,
)
from fencer.state.snapshot import SCHEMA, Snapshot

SNAPSHOT_BYTES_MOST: Final = 4 << 20
STORY_LENGTH: Final = 50
STORY: Final = tuple(kind for kind in EventKind if kind not in (EventKind.MONITOR, EventKind.REGISTRATION))
SETTLED_NS: Final = 100_000_000
"""A file that changed more recently is read again: a second change may leave the same time of modification."""
_JOURNAL_BUSY_S: Final = 0.2
_JOURNAL_PATIENCE_S: Final = 1.0
PATHS_ACCEPTED: Final = "paths-accepted"
"""Name of an empty file beside the journal. Its time of modification says when an operator last forgot the paths that
were taken away (docs/runbook.md). The file is never opened."""


class _Mark(NamedTuple):
    """Identifies a version of a file."""

    inode: int
    size: int
    mtime_ns: int


class Sources:
    """Reads both files.

    clock: gives both clocks at one moment. said: logs a sentence when a file becomes unreadable, or readable again.
    """

    def __init__(self, snapshot: Path, journal: Path, clock: Callable[[], Now], said: Callable[[str], None]) -> None:
        self._snapshot = _SnapshotFile(snapshot)
        self._journal = _JournalFile(journal)
        self._paths_accepted = str(journal.with_name(PATHS_ACCEPTED))
        self._clock = clock
        self._said = said
        self._problems: dict[str, str] = {}

    def read(self) -> Readings:
        """Never raises."""
        boot = boot_id()
        snapshot = self._snapshot.read(boot, self._clock)
        now = self._clock()
        journal = self._journal.read(now)
        self._tell("snapshot", snapshot.problem if snapshot.failed else "")
        self._tell("journal", journal.problem if journal.failed else "")
        return Readings(now, boot, snapshot, journal, _changed_unix_s(self._paths_accepted))

    def _tell(self, subject: str, problem: str) -> None:
        if self._problems.get(subject, "") != problem:
            self._problems[subject] = problem
            self._said(problem or f"{subject}: can be read again")


def boot_id() -> str:
    """The boot ID of the running kernel; "" if it cannot be read. No snapshot has the boot ID ""."""
    try:
        return read_boot_id()
    except (OSError, ValueError):
        return ""


def runbook() -> str:
    """The text of docs/runbook.md, as installed or in the checkout; "" if there is none."""
    package = Path(__file__).parents[1]
    for path in (package / "exporter" / "page" / "runbook.md", package.parent / "docs" / "runbook.md"):
        try:
            return path.read_text(encoding="utf-8")
        except OSError:
            continue
    return ""


class _SnapshotFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark: _Mark | None = None
        self._snapshot: Snapshot | None = None

    def read(self, boot: str, clock: Callable[[], Now]) -> SnapshotReading:
        try:
            snapshot = self._parsed(clock())
        except FileNotFoundError:
            return SnapshotReading(SnapshotStatus.MISSING, problem=f"{self._path}: there is none")
        except OSError as error:
            problem = f"{self._path}: {error.strerror or error}: let halvm-exporter read it"
            return SnapshotReading(SnapshotStatus.UNREADABLE, problem=problem)
        except _UnknownSchema as error:
            problem = f"{self._path}: schema {error}, this halvm-exporter knows {SCHEMA}: install one version of both"
            return SnapshotReading(SnapshotStatus.UNKNOWN_SCHEMA, problem=problem)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            problem = f"{self._path}: not a snapshot: {error}"
            return SnapshotReading(SnapshotStatus.MALFORMED, problem=problem)
        return judge_snapshot(snapshot, boot, clock())  # a new time: the file may have been written after the first

    def _parsed(self, now: Now) -> Snapshot:
        found = Path(self._path).stat()
        mark = _Mark(found.st_ino, found.st_size, found.st_mtime_ns)
        if self._snapshot is not None and mark == self._mark and _settled(mark, now):
            return self._snapshot
        self._snapshot = None
        content = _content(self._path)
        try:
            self._snapshot = from_json(Snapshot, content, SCHEMA)
        except ValueError as error:
            if (schema := _schema_of(content)) not in (None, SCHEMA):
                raise _UnknownSchema(schema) from error
            raise
        self._mark = mark
        return self._snapshot


class _UnknownSchema(Exception):
    """A snapshot of another schema. The argument is its number."""


def _content(path: Path) -> bytes:
    """Reads a regular file of at most SNAPSHOT_BYTES_MOST. Does not block on a FIFO. Raises OSError, ValueError.

    The rules are those of fencer.regular_file, which may fork: this process has threads, and it reads at each scrape.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("not a regular file")
        with open(fd, "rb", closefd=False) as file:
            content = file.read(SNAPSHOT_BYTES_MOST + 1)
    finally:
        os.close(fd)
    if len(content) > SNAPSHOT_BYTES_MOST:
        raise ValueError(f"longer than {SNAPSHOT_BYTES_MOST} bytes")
    return content


def _schema_of(content: bytes) -> int | None:
    """The schema number of a snapshot of any version; None if content is no snapshot."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    schema = document.get("schema") if isinstance(document, dict) else None
    return schema if type(schema) is int else None


def _settled(mark: _Mark, now: Now) -> bool:
    return now.unix_s * 1e9 - mark.mtime_ns > SETTLED_NS


class _Looked(NamedTuple):
    """What was read of the journal up to position. last: the event there, to recognise the journal."""

    position: Position
    last: Event | None
    reading: JournalReading
    totals: dict[TotalRow, Total]
    fences: dict[str, Event]
    monitors: dict[str, Event]


class _JournalFile:
    """Reads what was appended since the last time. Reads all of it at first, and when the journal was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal = Journal(str(path), busy_s=_JOURNAL_BUSY_S, patience_s=_JOURNAL_PATIENCE_S)
        self._marks: tuple[_Mark | None, _Mark | None] | None = None
        self._looked: _Looked | None = None

    def read(self, now: Now) -> JournalReading:
        try:
            marks = (_mark(str(self._path)), _mark(f"{self._path}-wal"))
            if marks[0] is None:
                self._looked = None
                return JournalReading(JournalStatus.MISSING, problem=f"{self._path}: there is none yet")
            if self._looked is None or marks != self._marks or not all(m is None or _settled(m, now) for m in marks):
                self._looked = self._journal.ask(self._look)
                self._marks = marks
        except (JournalError, OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            self._looked = None
            newer = isinstance(error, NewerJournal)
            status = JournalStatus.UNKNOWN_SCHEMA if newer else JournalStatus.UNREADABLE
            return JournalReading(status, problem=str(error))
        return self._looked.reading

    def _look(self, journal: JournalSnapshot) -> _Looked:
        """Reads the journal. Changes no state of this object, so it may be called again after an error."""
        position = journal.position()
        before = self._looked if self._looked is not None and _continues(journal, position, self._looked) else None
        if before is not None and position == before.position:
            return before
        rows = journal.totals_by_row() if before is None else journal.totals_by_row(before.totals)
        totals = tuple(rows.values())
        after_id, fences, monitors = (
            (before.position.last_id, before.fences, before.monitors) if before else (0, {}, {})
        )
        told = sum(total.events for total in totals if total.kind in STORY)
        if before is not None and told == before.reading.told:
            story = before.reading.story  # no event was added: each one is counted when it is written
        else:
            story = tuple(event for _, event in journal.page(limit=STORY_LENGTH, kinds=STORY))
            fences = _latest(journal, EventKind.FENCE, totals, fences, after_id)
        monitors = _latest(journal, EventKind.MONITOR, totals, monitors, after_id)
        reading = JournalReading(
            JournalStatus.READABLE,
            totals=totals,
            steps=journal.step_totals(),
            story=story,
            told=told,
            fences=tuple(fences[target] for target in sorted(fences)),
            monitors=tuple(monitors[target] for target in sorted(monitors)),
        )
        return _Looked(position, journal.event(position.last_id), reading, rows, fences, monitors)


def _latest(
    journal: JournalSnapshot, kind: EventKind, totals: tuple[Total, ...], known: dict[str, Event], after_id: int
) -> dict[str, Event]:
    """The latest event of the kind for each target. If the journal has dropped all of a target, the one in known.

    known: the latest events up to after_id.
    """
    targets = {total.target for total in totals if total.kind is kind}
    if after_id > 0:
        seen = {target: event for target, event in known.items() if target in targets}
        return seen | {event.target: event for event in journal.latest(kind, after_id)}
    recent = journal.page(limit=len(targets) * 8 + 64, kinds=(kind,))  # usually these include all targets
    found = {event.target: event for _, event in reversed(recent) if event.target in targets}
    return found if len(found) == len(targets) else {event.target: event for event in journal.latest(kind)}


def _continues(journal: JournalSnapshot, position: Position, before: _Looked) -> bool:
    """Whether the journal is the one that was read before, with new events appended. False for another journal, and for
    an older copy that was restored."""
    return (
        position.journal == before.position.journal
        and position.last_id >= before.position.last_id
        and journal.event(before.position.last_id) == before.last
    )


def _changed_unix_s(path: str) -> float:
    """Time of modification of the file; 0.0 if there is none, or if it cannot be read."""
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _mark(path: str) -> _Mark | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return _Mark(found.st_ino, found.st_size, found.st_mtime_ns)
