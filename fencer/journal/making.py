# SPDX-License-Identifier: Apache-2.0
"""Makes a journal's file, and sets who may read it."""

import _sqlite3 as sqlite3
import contextlib
import os
import stat

from fencer._typing import Final
from fencer.journal.schema import migrate, prepare, transaction

_MODE: Final = 0o640


def create(path: str) -> None:
    """Makes a journal whole under another name, then links it, so that no reader sees half of it. One maker wins."""
    directory = os.path.dirname(path)
    temporary = f"{directory}/.journal.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE))
        _give_to(temporary, os.lstat(temporary), os.stat(directory).st_gid)
        db = sqlite3.connect(temporary, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            prepare(db)
            with transaction(db):
                migrate(db, 0)
        finally:
            db.close()
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        for name in (temporary, f"{temporary}-wal", f"{temporary}-shm", f"{temporary}-journal"):
            with contextlib.suppress(OSError):
                os.unlink(name)


def restrict(path: str) -> None:
    """Sets modes and group of a journal's files: only root and the group of its directory may read them.

    Any user who can read them could lock them, and keep the writers out. SQLite makes log and index as the file is.
    """
    group = os.stat(os.path.dirname(path)).st_gid
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(name)
            if stat.S_ISREG(found.st_mode):
                _give_to(name, found, group)


def _give_to(path: str, found: os.stat_result, group: int) -> None:
    if found.st_gid != group:
        with contextlib.suppress(PermissionError):  # a user's own journal in a group's directory
            os.chown(path, -1, group)
    if stat.S_IMODE(found.st_mode) != _MODE:  # independent of the umask
        os.chmod(path, _MODE)
