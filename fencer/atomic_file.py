# SPDX-License-Identifier: Apache-2.0
"""Replaces small files atomically: a reader sees either the old content or the new content, complete."""

import contextlib
import os


def replace_file(path: str | os.PathLike[str], content: bytes, mode: int, *, durable: bool) -> None:
    """Replaces the file at path by content. Creates the directory (0755) if needed. Raises OSError.

    mode: permissions of the file. durable: fsync the file and its directory, so that the content survives a reset.
    """
    directory, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    try:
        descriptor = _new_file(temporary)
    except FileNotFoundError:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        descriptor = _new_file(temporary)
    except FileExistsError:
        os.unlink(temporary)
        descriptor = _new_file(temporary)
    try:
        try:
            os.fchmod(descriptor, mode)
            _write_all(descriptor, content)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_directory(directory)


def sync_directory(directory: str) -> None:
    """Makes the names in a directory survive a reset. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    """write(2) may write a part, as before a full disk says so."""
    while content:
        content = content[os.write(descriptor, content) :]


def _new_file(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
