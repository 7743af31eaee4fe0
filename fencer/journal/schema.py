# SPDX-License-Identifier: Apache-2.0
"""The journal's tables, the migrations of older schemas, and the settings of a connection."""

import _sqlite3 as sqlite3
import contextlib
import os
import time
from collections.abc import Iterator

from fencer._typing import Final

SCHEMA: Final = 3
_LONGEST_BYTES: Final = 4 << 20
_STEPS_BETWEEN: Final = 20_000
"""Instructions of SQLite's machine between two looks at the clock: some 2 ms."""

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

# Which sides failed. What an older fence-halvm has recorded does not tell.
_VERSION_3: Final = ("""ALTER TABLE events ADD COLUMN failed TEXT NOT NULL DEFAULT ''""",)


def prepare(db: sqlite3.Connection) -> None:
    """Sets up a connection for writing."""
    db.execute("PRAGMA synchronous = FULL")
    # A short log is soon read by the next process that opens it, and by readers that may not share its index.
    db.execute("PRAGMA wal_autocheckpoint = 250")
    db.execute("PRAGMA journal_size_limit = 4194304")


def trust_nothing(db: sqlite3.Connection, until: float) -> None:
    """Sets up a connection for reading a file that another program may have made. until: monotonic; a query that still
    runs then is interrupted."""
    db.execute("PRAGMA trusted_schema = OFF")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_BYTES)
    db.text_factory = _text
    db.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN)


def has_tables(db: sqlite3.Connection, version: int) -> bool:
    """Whether what is read are tables, without columns that compute something."""
    names = ("identity", "events", "totals") + (("step_totals",) if version >= 2 else ())
    for name in names:
        found = db.execute("SELECT type, sql FROM sqlite_schema WHERE name = ?", (name,)).fetchall()
        if len(found) != 1 or found[0][0] != "table" or not isinstance(found[0][1], str):
            return False
        if "generated" in found[0][1].lower() or " as (" in found[0][1].lower() or "virtual" in found[0][1].lower():
            return False
    return True


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction: all that is executed within, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Migrates any older schema to ours; 0: an empty file."""
    if version < 1:
        for statement in _VERSION_1:
            db.execute(statement)
        db.execute("INSERT INTO identity VALUES (?)", (os.urandom(8).hex(),))
    for since, statements in ((2, _VERSION_2), (3, _VERSION_3)):
        for statement in statements if version < since else ():
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA}")
