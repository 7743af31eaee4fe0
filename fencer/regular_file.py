"""The one rule for opening a file that somebody else may have put there.

Only a regular file is opened, never one that a stranger's symbolic link points to, and nothing is waited for: a FIFO
has no reader or writer, a device may start at the open (a watchdog does). What is read is bounded. A name is looked at
before it is opened, and again once it is open, since it may have changed in between.

Symbolic links: a configuration file may be one that root or this user has made (many tools manage /etc so); what we
write, and what only we write, never is.
"""

import os
import stat

from fencer.errors import UsageError

CONFIGURATION_BYTES = 1 << 20
"""Of a configuration file at most. cluster.conf and corosync.conf of the largest cluster take a tenth of it."""


def read_regular_file(path: str, most_bytes: int = CONFIGURATION_BYTES, *, link: bool = False) -> bytes:
    """The whole content. link: the name may be a symbolic link of root's or of this user's.

    Raises OSError, and ValueError for what is no regular file, is longer than most_bytes, or is not a name at all.
    """
    descriptor = _open(path, os.O_RDONLY, link=link)
    with open(descriptor, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"longer than {most_bytes} bytes")
    return content


def open_for_append(path: str) -> int:
    """A descriptor that writes at the end; the file is made (0600) where there is none.

    Raises OSError, and ValueError for what is no regular file or has a second name: that may be a file of root's, put
    here by who may write to the directory.
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
    """Whether only root and this user can move away or replace what is in it. Raises OSError."""
    found = os.stat(directory)
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022


def require_private_directory(subject: str, path: str) -> None:
    """A directory that is not there will be made by us.

    Raises UsageError where others may write to it; subject: what its sentence begins with.
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
