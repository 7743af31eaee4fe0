"""The journal: who fenced whom, when, what proved it. SQLite; the only module that imports sqlite3.

Agents and the sidecar append, each from a process that nobody waits for; ``fence_halvm -o history`` and the exporter
read. Who reads needs no right to write: neither the file nor its directory (docs/journal.md).

- WAL, ``synchronous=FULL``: a record that ``append`` returned from is on the disk, and a crash at any instant leaves
  the journal whole. An event is rare; one sync each is what a self-fence, written just before a reset, needs.
- The file appears whole: it is made under another name and linked into place.
- Its size is bounded for each kind of event, so that monitors, one a minute, never push a fence out. The totals are
  kept in the same transaction: they do not go back when events are dropped.
"""

import contextlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator

from fencer.errors import FenceError
from fencer.event import BUCKETS_S, Event, EventKind, Outcome, Step, StepName, StepTotal, Total
from fencer.light_typing import Final, NamedTuple
from fencer.model import Proof

DEFAULT_PATH: Final = "/var/lib/fence-halvm/journal.db"
ROWS: Final = 100_000
BYTES: Final = 64 << 20
BUSY_S: Final = 4.0
"""How long append waits for other writers."""
READER_PATIENCE_S: Final = 0.1
"""How long a reader asks again while a writer comes or goes."""

SCHEMA: Final = 2
TARGETS: Final = 1000
"""Different totals that are kept; what comes after counts for the target OTHER."""
OTHER: Final = "(other)"

_SHARES: Final = {
    EventKind.FENCE: 0.30,
    EventKind.POWER_ON: 0.05,
    EventKind.UNFENCE: 0.05,
    EventKind.DIAG: 0.05,
    EventKind.MONITOR: 0.30,
    EventKind.SELF_FENCE: 0.05,
    EventKind.REGISTRATION: 0.15,
    EventKind.PAUSE: 0.05,
}
_PAGE: Final = 500
STEPS_MOST: Final = 400
TEXT_CHARACTERS: Final = 600

_VERSION_1: Final = (
    """CREATE TABLE identity (journal TEXT NOT NULL)""",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at_unix_s REAL NOT NULL, took_s REAL NOT NULL, kind TEXT NOT NULL,
        program TEXT NOT NULL, actor TEXT NOT NULL, target TEXT NOT NULL, action TEXT NOT NULL, outcome TEXT NOT NULL,
        proofs TEXT NOT NULL, weak INTEGER NOT NULL, error TEXT NOT NULL, steps TEXT NOT NULL, bytes INTEGER NOT NULL
    )""",
    """CREATE INDEX events_by_kind ON events (kind, id)""",
    """CREATE TABLE kept (kind TEXT PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE totals (
        kind TEXT NOT NULL, target TEXT NOT NULL, action TEXT NOT NULL, outcome TEXT NOT NULL, proof TEXT NOT NULL,
        events INTEGER NOT NULL, sum_s REAL NOT NULL, buckets TEXT NOT NULL, last_unix_s REAL NOT NULL,
        PRIMARY KEY (kind, target, action, outcome, proof)
    ) WITHOUT ROWID""",
)

# How long each step takes. Counted from here on: what an older fence-halvm has recorded is not counted again.
_VERSION_2: Final = (
    """CREATE TABLE step_totals (
        kind TEXT NOT NULL, name TEXT NOT NULL, steps INTEGER NOT NULL, sum_s REAL NOT NULL, buckets TEXT NOT NULL,
        PRIMARY KEY (kind, name)
    ) WITHOUT ROWID""",
)


class JournalError(FenceError):
    """The journal cannot be written or read: path, cause, what to do. Nothing else is the worse for it."""


class Position(NamedTuple):
    """How far somebody has read. journal: which one, since a file can be moved away. last_id: 0 before the first."""

    journal: str
    last_id: int


class Bounds(NamedTuple):
    """The most that is kept, of all kinds together."""

    rows: int = ROWS
    bytes: int = BYTES


class Snapshot:
    """One moment of the journal."""

    def __init__(self, db: sqlite3.Connection, version: int) -> None:
        self._db = db
        self._version = version

    def position(self) -> Position:
        """Equal to an earlier one: nothing has happened since."""
        journal, last_id = self._db.execute(
            "SELECT journal, (SELECT coalesce(max(id), 0) FROM events) FROM identity"
        ).fetchone()
        return Position(journal, last_id)

    def totals(self) -> tuple[Total, ...]:
        """Everything ever counted."""
        return tuple(
            Total(
                EventKind(kind),
                target,
                action,
                Outcome(outcome),
                proof,
                events,
                sum_s,
                tuple(json.loads(buckets)),
                last,
            )
            for kind, target, action, outcome, proof, events, sum_s, buckets, last in self._db.execute(
                "SELECT kind, target, action, outcome, proof, events, sum_s, buckets, last_unix_s FROM totals"
            )
        )

    def step_totals(self) -> tuple[StepTotal, ...]:
        """Every step ever counted; none where nobody has written since schema 1."""
        if self._version < 2:
            return ()
        return tuple(
            StepTotal(EventKind(kind), StepName(name), steps, sum_s, tuple(json.loads(buckets)))
            for kind, name, steps, sum_s, buckets in self._db.execute(
                "SELECT kind, name, steps, sum_s, buckets FROM step_totals"
            )
        )

    def since(self, position: Position | None, limit: int = 1000) -> tuple[Event, ...]:
        """What was appended after position, oldest first; where that is more than limit, the latest of it."""
        after = position.last_id if position is not None and position.journal == self.position().journal else 0
        return tuple(event for _, event in reversed(self.page(limit=limit, after_id=after)))

    def page(
        self,
        *,
        limit: int,
        before_id: int | None = None,
        after_id: int | None = None,
        since_unix_s: float | None = None,
        target: str | None = None,
        node: str | None = None,
        kinds: Iterable[EventKind] = (),
        routine: bool = True,
        newest_first: bool = True,
    ) -> list[tuple[int, Event]]:
        """Events with their ids, ids between the two given. node: who acted or was acted on. routine: monitors that
        found nothing wrong, too."""
        conditions, values = ["1" if routine else "NOT (kind = 'monitor' AND outcome = 'success')"], list[object]()
        for condition, value in (
            ("id < ?", before_id),
            ("id > ?", after_id),
            ("at_unix_s >= ?", since_unix_s),
            ("target = ?", target),
            ("? IN (target, actor)", node),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        wanted = [kind.value for kind in kinds]
        if wanted:
            conditions.append(f"kind IN ({', '.join('?' * len(wanted))})")
            values += wanted
        order = "DESC" if newest_first else "ASC"
        rows = self._db.execute(
            "SELECT id, at_unix_s, took_s, kind, program, actor, target, action, outcome, proofs, weak, error, steps "  # noqa: S608 - words of ours only
            f"FROM events WHERE {' AND '.join(conditions)} ORDER BY id {order} LIMIT ?",
            (*values, limit),
        )
        return [(row[0], _event(row[1:])) for row in rows]


class Journal:
    """One journal. Opened for writing at the first append, and then held open; opened anew for each reading."""

    def __init__(self, path: str = DEFAULT_PATH, bounds: Bounds | None = None, busy_s: float = BUSY_S) -> None:
        self.path = os.path.abspath(path)  # noqa: PTH100 - pathlib costs a fence 7 ms
        self._bounds = bounds or Bounds()
        self._busy_s = busy_s
        self._db: sqlite3.Connection | None = None
        self._opened: int | None = None

    # --- writing --------------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Returns when it is on the disk. Raises JournalError; what was there before is whole then, too."""
        with self._writing() as db, _transaction(db):
            _insert(db, event, self._bounds)

    def open(self) -> None:
        """What append does first, so that it has less to do. Raises JournalError."""
        with self._writing():
            pass

    def close(self) -> None:
        """The next append opens it again. A process that ends without a call of this does no harm."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._db is not None and self._inode() != self._opened:
                self.close()  # somebody moved it away
            if self._db is None:
                self._db = self._open_for_writing()
                self._opened = self._inode()
            yield self._db
        except (sqlite3.Error, OSError, ValueError, JournalError) as error:
            self.close()
            raise (error if isinstance(error, JournalError) else self._unusable(error)) from error

    def _inode(self) -> int | None:
        try:
            return os.lstat(self.path).st_ino
        except FileNotFoundError:
            return None

    def _open_for_writing(self) -> sqlite3.Connection:
        directory = os.path.dirname(self.path)  # noqa: PTH120
        if not os.path.isdir(directory):  # noqa: PTH112
            if os.path.lexists(directory):
                raise JournalError(f"journal: {directory}: not a directory: give another path")
            os.mkdir(directory, 0o755)  # noqa: PTH102 - one level only: more is a typing error
            os.chmod(directory, 0o755)  # noqa: PTH101, S103 - whatever the umask: readers are unprivileged
        self._require_private(directory)
        if not self._exists():
            self._create(directory)
        db = self._connect("rw")
        try:
            _prepare(db)
            if self._version(db) < SCHEMA:
                with _transaction(db):  # of two programs that find an old journal one does it
                    _migrate(db, self._version(db))
        except BaseException:
            db.close()
            raise
        return db

    def _require_private(self, directory: str) -> None:
        """Whoever may write to the directory could put a link there and have root write elsewhere."""
        found = os.stat(directory)  # noqa: PTH116
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
            raise JournalError(
                f"journal: {directory}: others than root may write to it: give a directory that only root may write to"
            )

    def _create(self, directory: str) -> None:
        """Made under another name, whole, then linked: nobody ever sees half a journal, and of two makers one wins."""
        temporary = f"{directory}/.journal.{os.getpid()}.{os.urandom(4).hex()}"
        try:
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
            os.chmod(temporary, 0o644)  # noqa: PTH101 - whatever the umask
            db = sqlite3.connect(temporary, isolation_level=None)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                _prepare(db)
                with _transaction(db):
                    _migrate(db, 0)
            finally:
                db.close()
            with contextlib.suppress(FileExistsError):
                os.link(temporary, self.path)
        finally:
            for name in (temporary, f"{temporary}-wal", f"{temporary}-shm", f"{temporary}-journal"):
                with contextlib.suppress(OSError):
                    os.unlink(name)  # noqa: PTH108

    # --- reading --------------------------------------------------------------------------------------------------

    def read(self) -> contextlib.AbstractContextManager[Snapshot]:
        """One moment, all of whose answers agree. Keep it short: the log of changes cannot be emptied meanwhile.
        Raises JournalError, also when there is no journal yet."""
        return self._read()

    def totals(self) -> tuple[Total, ...]:
        """Everything ever counted. Raises JournalError."""
        with self.read() as snapshot:
            return snapshot.totals()

    def step_totals(self) -> tuple[StepTotal, ...]:
        """Every step ever counted. Raises JournalError."""
        with self.read() as snapshot:
            return snapshot.step_totals()

    def position(self) -> Position:
        """Equal to an earlier one: nothing has happened since. Raises JournalError."""
        with self.read() as snapshot:
            return snapshot.position()

    def events(
        self,
        *,
        limit: int | None = None,
        since_unix_s: float | None = None,
        target: str | None = None,
        node: str | None = None,
        kinds: Iterable[EventKind] = (),
        routine: bool = True,
        newest_first: bool = True,
    ) -> Iterator[Event]:
        """As Snapshot.page. A page at a time, so that a slow consumer holds nothing up. Raises JournalError."""
        left = limit
        last_id: int | None = None
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            with self.read() as snapshot:
                page = snapshot.page(
                    limit=size,
                    before_id=last_id if newest_first else None,
                    after_id=None if newest_first else last_id,
                    since_unix_s=since_unix_s,
                    target=target,
                    node=node,
                    kinds=kinds,
                    routine=routine,
                    newest_first=newest_first,
                )
            for _, event in page:
                yield event
            if len(page) < size:
                return
            last_id = page[-1][0]
            left = None if left is None else left - size

    @contextlib.contextmanager
    def _read(self) -> Iterator[Snapshot]:
        try:
            if not self._exists():
                raise JournalError(f"journal: {self.path}: there is none yet")
            before = self._mark()
            db, version, alone = self._open_for_reading()
            try:
                yield Snapshot(db, version)
            finally:
                db.close()
                if alone and self._mark() != before:  # whatever was read, or found wrong with it, means nothing
                    raise JournalError(f"journal: {self.path}: changed while it was read: try again")
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            raise self._unusable(error) from error

    def _open_for_reading(self) -> tuple[sqlite3.Connection, int, bool]:
        """In a transaction, with its schema, and whether the file stands alone.

        The last writer that closed it has emptied the log and taken it away. SQLite would then want to make one, which
        a reader may not. Without a log the file alone is the journal. While a writer comes or goes there is a moment
        when SQLite finds neither the one nor the other ("attempt to write a readonly database"): it is asked again.
        """
        until = time.monotonic() + READER_PATIENCE_S
        while True:
            alone = not os.path.exists(f"{self.path}-wal")  # noqa: PTH110
            db = self._connect("ro&immutable=1" if alone else "ro")
            try:
                db.execute("BEGIN")
                return db, self._version(db), alone
            except sqlite3.OperationalError:
                db.close()
                if time.monotonic() >= until:
                    raise
                time.sleep(0.002)
            except BaseException:
                db.close()
                raise

    # --- both -----------------------------------------------------------------------------------------------------

    def _exists(self) -> bool:
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(found.st_mode):
            raise JournalError(f"journal: {self.path}: not a regular file: move it away")
        return True

    def _mark(self) -> tuple[int, int, int]:
        found = os.stat(self.path)  # noqa: PTH116
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _connect(self, mode: str) -> sqlite3.Connection:
        path = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        uri = f"file:{path}?mode={mode}"
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=self._busy_s)

    def _version(self, db: sqlite3.Connection) -> int:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version < 1:
            raise self._not_a_journal()
        if version > SCHEMA:
            raise JournalError(
                f"journal: {self.path}: written by a newer fence-halvm (schema {version}, this one knows {SCHEMA}): "
                "upgrade this one, or move the journal away"
            )
        return version

    def _not_a_journal(self) -> JournalError:
        return JournalError(f"journal: {self.path}: not a journal: move it away, or give another path")

    def _unusable(self, error: Exception) -> JournalError:
        if isinstance(error, OSError):
            return JournalError(f"journal: {error.filename or self.path}: {error.strerror}")
        said = _text(str(error))[:120]  # it may quote what it found
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return JournalError(f"journal: {self.path}: locked by another process for {self._busy_s:g} s")
        if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
            return JournalError(f"journal: {self.path}: {said}")
        if "not a database" in str(error):
            return self._not_a_journal()
        return JournalError(f"journal: {self.path}: corrupt ({said}): move {self.path}* away, a new one is made then")


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous = FULL")
    # A short log is soon read by the next process that opens it, and by readers that may not share its index.
    db.execute("PRAGMA wal_autocheckpoint = 250")
    db.execute("PRAGMA journal_size_limit = 4194304")


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _migrate(db: sqlite3.Connection, version: int) -> None:
    """From any older schema to ours; 0: an empty file."""
    if version < 1:
        for statement in _VERSION_1:
            db.execute(statement)
        db.execute("INSERT INTO identity VALUES (?)", (os.urandom(8).hex(),))
    if version < 2:
        for statement in _VERSION_2:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA}")


def _insert(db: sqlite3.Connection, event: Event, bounds: Bounds) -> None:
    event = _clean(event)
    steps = json.dumps([[round(s.at_s, 6), s.text, s.name, round(s.took_s, 6)] for s in event.steps])
    size = len(steps) + len(event.error) + 200
    db.execute(
        "INSERT INTO events (at_unix_s, took_s, kind, program, actor, target, action, outcome, proofs, weak, error, "
        "steps, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(event.at_unix_s, event.took_s, event.kind.value, event.program, event.actor, event.target, event.action),
            *(event.outcome.value, "+".join(event.proofs), int(event.weak), event.error, steps, size),
        ),
    )
    _count(db, event)
    _count_steps(db, event)
    db.execute(
        "INSERT INTO kept VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET rows = rows + 1, bytes = bytes + excluded.bytes",
        (event.kind.value, size),
    )
    _prune(db, event.kind, bounds)


def _count(db: sqlite3.Connection, event: Event) -> None:
    key = [event.kind.value, event.target, event.action, event.outcome.value, event.proof]
    ended_at = event.at_unix_s + event.took_s
    found = _total(db, key)
    if found is None and db.execute("SELECT count(*) FROM totals").fetchone()[0] >= TARGETS:
        key[1] = OTHER
        found = _total(db, key)
    events, sum_s, buckets, last_unix_s = found or (0, 0.0, "", 0.0)
    db.execute(
        "INSERT OR REPLACE INTO totals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, events + 1, sum_s + event.took_s, _filled(buckets, [event.took_s]), max(last_unix_s, ended_at)),
    )


def _count_steps(db: sqlite3.Connection, event: Event) -> None:
    took: dict[StepName, list[float]] = {}
    for step in event.steps:
        took.setdefault(step.name, []).append(step.took_s)
    for name, seconds in took.items():
        key = (event.kind.value, name.value)
        found = db.execute("SELECT steps, sum_s, buckets FROM step_totals WHERE kind = ? AND name = ?", key).fetchone()
        steps, sum_s, buckets = found or (0, 0.0, "")
        db.execute(
            "INSERT OR REPLACE INTO step_totals VALUES (?, ?, ?, ?, ?)",
            (*key, steps + len(seconds), sum_s + sum(seconds), _filled(buckets, seconds)),
        )


def _filled(buckets: str, seconds: list[float]) -> str:
    """A cumulative histogram, as JSON, with some more in it."""
    counts = json.loads(buckets) if buckets else [0] * len(BUCKETS_S)
    return json.dumps([n + sum(each <= most for each in seconds) for n, most in zip(counts, BUCKETS_S, strict=True)])


def _total(db: sqlite3.Connection, key: list[str]) -> tuple[int, float, str, float] | None:
    found: tuple[int, float, str, float] | None = db.execute(
        "SELECT events, sum_s, buckets, last_unix_s FROM totals "
        "WHERE kind = ? AND target = ? AND action = ? AND outcome = ? AND proof = ?",
        key,
    ).fetchone()
    return found


def _prune(db: sqlite3.Connection, kind: EventKind, bounds: Bounds) -> None:
    """Drops the oldest of a kind that has outgrown its share, a hundredth of the share at a time."""
    rows_most, bytes_most = int(bounds.rows * _SHARES[kind]), int(bounds.bytes * _SHARES[kind])
    batch = max(1, rows_most // 100)
    while True:
        rows, size = db.execute("SELECT rows, bytes FROM kept WHERE kind = ?", (kind.value,)).fetchone()
        if rows <= 1 or (rows <= rows_most and size <= bytes_most):
            return
        dropped = db.execute(
            "SELECT id, bytes FROM events WHERE kind = ? ORDER BY id LIMIT ?", (kind.value, min(batch, rows - 1))
        ).fetchall()
        if not dropped:
            return
        db.execute("DELETE FROM events WHERE kind = ? AND id <= ?", (kind.value, dropped[-1][0]))
        db.execute(
            "UPDATE kept SET rows = rows - ?, bytes = bytes - ? WHERE kind = ?",
            (len(dropped), sum(row[1] for row in dropped), kind.value),
        )


def _clean(event: Event) -> Event:
    """Bounded, on one line, and text that a database takes: a caller's bytes need not be UTF-8."""
    steps = tuple(step._replace(text=_text(step.text)) for step in event.steps[:STEPS_MOST])
    return event._replace(
        program=_text(event.program),
        actor=_text(event.actor),
        target=_text(event.target),
        action=_text(event.action),
        error=_text(event.error),
        steps=steps,
    )


def _text(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= TEXT_CHARACTERS else shown[: TEXT_CHARACTERS - 1] + "…"


_Row = tuple[float, float, str, str, str, str, str, str, str, int, str, str]


def _event(row: _Row) -> Event:
    at_unix_s, took_s, kind, program, actor, target, action, outcome, proofs, weak, error, steps = row
    return Event(
        at_unix_s=at_unix_s,
        took_s=took_s,
        kind=EventKind(kind),
        program=program,
        actor=actor,
        target=target,
        action=action,
        outcome=Outcome(outcome),
        proofs=tuple(Proof(word) for word in proofs.split("+") if word),
        weak=bool(weak),
        error=error,
        steps=tuple(Step(at, text, StepName(name), took) for at, text, name, took in json.loads(steps)),
    )
