# SPDX-License-Identifier: Apache-2.0
"""Replaces small files atomically: a reader sees either the old content or the new content, complete."""

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, content: bytes, mode: int, *, durable: bool) -> None:
    """Replaces the file at path by content. Creates the directory (0755) if needed. Raises OSError.

    mode: permissions of the file. durable: fsync the file and its directory, so that the content survives a reset.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = _new_file(temporary)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = _new_file(temporary)
    except FileExistsError:
        temporary.unlink()
        descriptor = _new_file(temporary)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        _sync_directory(path.parent)


def _new_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
