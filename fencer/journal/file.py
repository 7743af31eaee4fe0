# SPDX-License-Identifier: Apache-2.0
"""Opens the journal's file: for writing once, for reading anew each time. Translates its errors into sentences.

This package imports the C half of sqlite3: its Python half brings dates along, and only registers how to store them.
"""

import _sqlite3 as sqlite3
import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator

from fencer._typing import Final, TypeVar
from fencer.errors import FenceError
from fencer.journal.cleaning import one_line
from fencer.journal.event import Event, EventKind, StepTotal, Total
from fencer.journal.making import create, restrict
from fencer.journal.pending import is_recorded, keep, remove, waiting
from fencer.journal.reading import JournalSnapshot, Position
from fencer.journal.schema import SCHEMA, has_tables, migrate, prepare, transaction, trust_nothing
from fencer.journal.writing import Bounds, insert
from fencer.regular_file import is_private

DEFAULT_PATH: Final = "/var/lib/fence-halvm/journal.db"
BUSY_S: Final = 0.2
"""How long append waits for other writers. After it the event is kept, and recorded with the next one."""
READER_PATIENCE_S: Final = 0.1
"""Default time for which a reader asks again while a writer opens or closes the journal."""
LEAST_TRIES: Final = 5
"""How often a reader asks at least. On an overloaded machine one try takes longer than the time for all of them."""

READING_S: Final = 20.0
"""Deadline of one query, also of a file that was made to harm."""

_PAGE: Final = 500
_AGAIN_S: Final = 0.002
_TICK_NS: Final = 20_000_000
_LOG_HEADER_BYTES: Final = 32
_Mark = tuple[int, int, int, bytes | None]

R = TypeVar("R")


class JournalError(FenceError):
    """The journal cannot be written or read: path, cause, remedy. No fence fails because of it."""


class JournalBusy(JournalError):
    """Another process held the journal for too long. The event is kept in a file beside it, and recorded later."""


class NewerJournal(JournalError):
    """A newer fence-halvm wrote the journal, by a schema that this one does not know."""


class _Locked(JournalError):
    """SQLITE_BUSY and its kind."""


class _InFlux(JournalError):
    """A writer seems to have opened or closed the journal. A reader may try again."""


class Journal:
    """One journal. Opened for writing at the first append, and then held open; opened anew for each reading."""

    def __init__(
        self,
        path: str = DEFAULT_PATH,
        bounds: Bounds | None = None,
        busy_s: float = BUSY_S,
        patience_s: float = READER_PATIENCE_S,
    ) -> None:
        """patience_s: how long a reading is repeated while a writer opens or closes the journal during it. It is
        tried LEAST_TRIES times in any case."""
        self.path = os.path.abspath(path)
        self._bounds = bounds or Bounds()
        self._busy_s = busy_s
        self._patience_s = patience_s
        self._pending = f"{self.path}.later"
        self._log = f"{self.path}-wal"
        self._db: sqlite3.Connection | None = None
        self._opened: int | None = None

    # --- writing --------------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Records the event, and those kept before; they are on the disk on return.

        Raises JournalBusy where the event was kept in a file instead, and JournalError. Earlier events stay whole.
        """
        try:
            self._record(event)
        except _Locked as error:
            try:
                keep(self._pending, event)
            except (OSError, FenceError) as trouble:
                reason = trouble.strerror if isinstance(trouble, OSError) else trouble
                raise JournalError(f"{error}, and it could not be kept: {reason}") from error
            raise JournalBusy(f"{error}: it is kept in {self._pending}, and recorded later") from error

    def record_kept(self) -> bool:
        """Records what was kept while the journal was busy. Returns whether nothing is left. Raises JournalError."""
        if not any(waiting(self._pending)):
            return True
        try:
            self._record(None)
        except _Locked:
            return False
        return not any(waiting(self._pending))

    def _record(self, event: Event | None) -> None:
        taken: list[str] = []
        with self._writing() as db:
            with transaction(db):
                for path, kept in waiting(self._pending):
                    if kept is not None and not is_recorded(db, kept):
                        insert(db, kept, self._bounds)
                    taken.append(path)
                if event is not None:
                    insert(db, event, self._bounds)
            remove(taken)

    def open(self) -> None:
        """Does the first part of append in advance. Raises JournalError."""
        with self._writing():
            pass

    def close(self) -> None:
        """Closes the file; the next append opens it again. A process may end without calling this."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._db is not None and self._inode() != self._opened:
                self.close()  # the file was moved away
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
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            if os.path.lexists(directory):
                raise JournalError(f"journal: {directory}: not a directory: give another path")
            os.mkdir(directory, 0o755)  # one level only: a longer missing path is a typing error
            os.chmod(directory, 0o755)  # noqa: S103 - whatever the umask: readers are unprivileged
        self._require_private(directory)
        if not self._exists():
            create(self.path)
        restrict(self.path)
        db = self._connect("rw")
        try:
            prepare(db)
            if self._version(db) < SCHEMA:
                with transaction(db):  # of two programs that find an old journal one does it
                    migrate(db, self._version(db))
        except BaseException:
            db.close()
            raise
        return db

    def _require_private(self, directory: str) -> None:
        """Checks the directory: a user who may write to it could put a link there and have root write elsewhere."""
        if not is_private(directory):
            raise JournalError(
                f"journal: {directory}: others than root may write to it: give a directory that only root may write to"
            )

    # --- reading --------------------------------------------------------------------------------------------------

    def ask(self, question: Callable[[JournalSnapshot], R]) -> R:
        """Answers question from one moment of the journal. Raises JournalError, also when there is no journal yet.

        The question may be asked several times: an answer during which a writer opened or closed the journal is
        dropped. Keep it short: the write-ahead log cannot be emptied meanwhile.
        """
        until = time.monotonic() + self._patience_s
        tries = 0
        while True:
            tries += 1
            try:
                with self._read(until) as snapshot:
                    return question(snapshot)
            except _InFlux:
                if tries >= LEAST_TRIES and time.monotonic() >= until:
                    raise
            time.sleep(_AGAIN_S)

    def read(self) -> contextlib.AbstractContextManager[JournalSnapshot]:
        """One moment of the journal, for several queries that agree. Unlike ask it does not repeat. Raises as ask."""
        return self._read(time.monotonic() + self._patience_s)

    def totals(self) -> tuple[Total, ...]:
        """All totals. Raises JournalError."""
        return self.ask(JournalSnapshot.totals)

    def step_totals(self) -> tuple[StepTotal, ...]:
        """All totals of steps. Raises JournalError."""
        return self.ask(JournalSnapshot.step_totals)

    def position(self) -> Position:
        """A token that changes with every change of the journal. Raises JournalError."""
        return self.ask(JournalSnapshot.position)

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
        """Events as JournalSnapshot.page, in pages, so that a slow consumer blocks no writer. Raises JournalError."""
        kinds = tuple(kinds)
        left = limit
        last_id: int | None = None
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self.ask(
                lambda snapshot, size=size, last_id=last_id: snapshot.page(  # type: ignore[misc]
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
            )
            for _, event in page:
                yield event
            if len(page) < size:
                return
            last_id = page[-1][0]
            left = None if left is None else left - size

    @contextlib.contextmanager
    def _read(self, until: float) -> Iterator[JournalSnapshot]:
        before: _Mark | None = None
        try:
            if not self._exists():
                raise JournalError(f"journal: {self.path}: there is none yet")
            if not os.access(self.path, os.R_OK):
                group = os.stat(self.path).st_gid
                raise JournalError(f"journal: {self.path}: only root and members of group {group} may read it")
            before = self._settled_mark()
            db, version = self._open_for_reading(until)
            try:
                yield JournalSnapshot(db, version)
            finally:
                db.close()
                if self._mark() != before:  # both a result and an error mean nothing then
                    raise _InFlux(f"journal: {self.path}: changed while it was read: try again")
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            if self._has_changed(before):  # under a reader that may not lock it
                raise _InFlux(f"journal: {self.path}: changed while it was read: try again") from error
            raise self._unusable(error) from error

    def _open_for_reading(self, until: float) -> tuple[sqlite3.Connection, int]:
        """A connection in a read transaction, and the schema.

        The last writer that closes the journal empties and removes the write-ahead log. SQLite would then make one,
        which a reader may not; without a log the file alone is the journal. While a writer opens or closes it there is
        a moment when SQLite finds neither ("attempt to write a readonly database"): then it is tried again.
        """
        while True:
            alone = not os.path.exists(self._log)
            db = self._connect("ro&immutable=1" if alone else "ro")
            try:
                trust_nothing(db, time.monotonic() + READING_S)
                db.execute("BEGIN")
                return db, self._version_of_tables(db)
            except sqlite3.OperationalError:
                db.close()
                if time.monotonic() >= until:
                    raise
                time.sleep(_AGAIN_S)
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

    def _mark(self) -> _Mark:
        """What identifies this state of the file and its log. The log's header changes when the log begins anew."""
        found = os.stat(self.path)
        try:
            with open(self._log, "rb") as log:
                header = log.read(_LOG_HEADER_BYTES)
        except FileNotFoundError:
            header = None
        return found.st_ino, found.st_size, found.st_mtime_ns, header

    def _settled_mark(self) -> _Mark:
        """The mark, once the file's time is old enough that a further change would show in it."""
        mark = self._mark()
        age_ns = time.time_ns() - mark[2]
        if 0 <= age_ns < _TICK_NS:
            time.sleep((_TICK_NS - age_ns) / 1e9)
            mark = self._mark()
        return mark

    def _has_changed(self, before: _Mark | None) -> bool:
        try:
            return before is not None and self._mark() != before
        except OSError:
            return True

    def _connect(self, mode: str) -> sqlite3.Connection:
        path = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        uri = f"file:{path}?mode={mode}"
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=self._busy_s)

    def _version(self, db: sqlite3.Connection) -> int:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version < 1:
            raise self._not_a_journal()
        if version > SCHEMA:
            raise NewerJournal(
                f"journal: {self.path}: written by a newer fence-halvm (schema {version}, this one knows {SCHEMA}): "
                f"upgrade this one, or move {self.path}* away"
            )
        return version

    def _version_of_tables(self, db: sqlite3.Connection) -> int:
        """The schema. Raises JournalError where a view has a table's name: it might compute for ever."""
        version = self._version(db)
        if not has_tables(db, version):
            raise self._not_a_journal()
        return version

    def _not_a_journal(self) -> JournalError:
        return JournalError(f"journal: {self.path}: not a journal: move {self.path}* away, or give another path")

    def _unusable(self, error: Exception) -> JournalError:
        if isinstance(error, PermissionError) and error.filename == self._log:
            # SQLite makes it as root's, and then gives it to the journal's group.
            like = f"give it the owner, group and mode of {self.path}"
            return _InFlux(f"journal: {self._log}: {error.strerror}: {like}")
        if isinstance(error, OSError):
            return JournalError(f"journal: {error.filename or self.path}: {error.strerror}")
        said = one_line(str(error))[:120]  # it may quote what it found
        if "interrupted" in str(error):
            return JournalError(f"journal: {self.path}: reading takes longer than {READING_S:g} s: ask for less")
        if isinstance(error, sqlite3.OperationalError) and "lock" in str(error):  # also "locking protocol"
            return _Locked(f"journal: {self.path}: locked by another process for {self._busy_s:g} s")
        if isinstance(error, sqlite3.OperationalError):
            return _InFlux(f"journal: {self.path}: {said}")
        if isinstance(error, sqlite3.ProgrammingError):
            return JournalError(f"journal: {self.path}: {said}")
        if "not a database" in str(error):
            return self._not_a_journal()
        return JournalError(f"journal: {self.path}: corrupt ({said}): move {self.path}* away, a new one is made then")
