# SPDX-License-Identifier: Apache-2.0
"""Opens files that another user may have put there: regular files only, without waiting, with a bounded size.

A FIFO would wait for its other end, and a device may start when it is opened (a watchdog does). So the file is checked
before it is opened, and again once it is open, because it may have been replaced in between.

A regular file may hang, too: where it may, it is waited for FILE_S at most (fencer.network_file).

Symbolic links: a configuration file may be a link that root or this user has made, since many tools manage /etc that
way. A file that this project writes is never a link.
"""

import os
import stat

from fencer.errors import UsageError
from fencer.network_file import in_time

CONFIGURATION_BYTES = 1 << 20
"""Largest size of a configuration file. The cluster.conf of the largest cluster has a tenth of it."""


def read_regular_file(path: str, most_bytes: int = CONFIGURATION_BYTES, *, link: bool = False) -> bytes:
    """Returns the whole content of a file. link: path may be a symbolic link that root or this user owns.

    Raises OSError. Raises ValueError where path is no regular file, no valid name, or longer than most_bytes.
    """

    def read() -> bytes:
        with open(_open(path, os.O_RDONLY, link=link), "rb") as file:
            return file.read(most_bytes + 1)

    content = in_time(read, path)
    if len(content) > most_bytes:
        raise ValueError(f"longer than {most_bytes} bytes")
    return content


def open_for_append(path: str) -> int:
    """Returns a descriptor that appends to the file. Creates the file (0600) if it does not exist.

    Raises OSError. Raises ValueError where path is no regular file or has a second name: a user who may write to the
    directory could have linked a file of root's there.
    """
    try:
        descriptor = _open(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600)
    if os.fstat(descriptor).st_nlink > 1:
        os.close(descriptor)
        raise ValueError("has another name, too")
    return descriptor


def is_private(directory: str) -> bool:
    """Whether only root and this user can rename or replace the files in directory. Raises OSError."""
    found = in_time(lambda: os.stat(directory), directory)
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022


def require_private_directory(subject: str, path: str) -> None:
    """Raises UsageError where other users may write to the directory. subject: how the message begins.

    A directory that does not exist is accepted: this project creates it.
    """
    try:
        private = is_private(path)
    except OSError:
        return
    if not private:
        raise UsageError(
            f"{subject}: {path}: others than root may write to it: give a directory that only root may write to"
        )


def _open(path: str, flags: int, *, link: bool = False) -> int:
    found = os.lstat(path)
    follow = stat.S_ISLNK(found.st_mode) and link and found.st_uid in (0, os.geteuid())
    if follow:
        found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a regular file")
    nofollow = 0 if follow else os.O_NOFOLLOW
    descriptor = os.open(path, flags | nofollow | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("not a regular file")
    return descriptor
