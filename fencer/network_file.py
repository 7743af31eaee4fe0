# SPDX-License-Identifier: Apache-2.0
"""Bounds the wait for a file that may lie on a network file system, whose server may be gone.

Such a file may hang in open(2), read(2) and even stat(2), and a process that hangs there may not even die by SIGKILL
(FUSE). So what is done with it is done in an expendable child process. A file on a local file system is used directly:
a child for each would cost a fence more than the files do. Whether it is local tells the kernel's list of mounts, which
never hangs.
"""

import errno
import os
import time
from _pickle import dumps, loads  # as in fencer.worker
from collections.abc import Callable, Mapping
from contextlib import suppress

from fencer._signals import signal
from fencer._typing import TypeVar
from fencer.readable import readable

T = TypeVar("T")

FILE_S = 2.0
"""Timeout of one use of a file."""

_LOCAL = frozenset(
    (
        "bcachefs", "btrfs", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "proc", "ramfs",
        "reiserfs", "rootfs", "squashfs", "sysfs", "tmpfs", "vfat", "xfs", "zfs",
    )
)  # fmt: skip
"""File systems that no other machine has a part in. An unknown one may hang."""

_MOUNTS = "/proc/self/mountinfo"
_LINKS_MOST = 40
_CHUNK_BYTES = 1 << 16


def in_time(work: Callable[[], T], path: str, within_s: float = FILE_S) -> T:
    """Runs work, which uses the file path, and returns its result. Raises what work raises.

    Where path may hang, work runs in a child: it can change nothing in this process, and its result is pickled. Raises
    TimeoutError, which is an OSError, where it has not ended in time. Then the child is left behind.
    """
    return _in_child(work, path, within_s) if may_hang(path) else work()


def may_hang(path: str) -> bool:
    """Whether path, or a symbolic link on the way to it, is on a file system that is not known to be local.

    Touches local file systems only. False where the list of mounts cannot be read.
    """
    try:
        mounts = _mounts()
    except OSError:
        return False
    here, names, links = "/", os.path.abspath(path).split("/"), 0
    while names:
        name = names.pop(0)
        if name == "..":
            here = os.path.dirname(here)
        elif name not in ("", "."):
            here = f"{here.rstrip('/')}/{name}"
        if mounts.get(here, "ext4") not in _LOCAL:
            return True
        try:
            target = os.readlink(here)
        except (OSError, ValueError):  # no link, or not there
            continue
        if (links := links + 1) > _LINKS_MOST:
            return False  # and open(2) says so
        here = "/" if target.startswith("/") else os.path.dirname(here)
        names = target.split("/") + names
    return False


def _mounts() -> Mapping[str, str]:
    """Mount points and the type of the file system that is seen there (proc(5), /proc/PID/mountinfo)."""
    with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read().splitlines()
    found = {}
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.partition(" ")[0]
        if len(fields) > 4:
            found[_unescaped(fields[4])] = kind.partition(".")[0]
    return found


def _unescaped(text: str) -> str:
    for number in (0o40, 0o11, 0o12, 0o134):
        text = text.replace(f"\\{number:03o}", chr(number))
    return text


def _in_child(work: Callable[[], T], path: str, within_s: float) -> T:
    until = time.monotonic() + within_s
    result, ending = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(result)
        os.close(ending)
        raise
    if not pid:
        try:
            stand_apart(ending)
            _send_result(work, ending)
        finally:
            os._exit(0)
    os.close(ending)
    data: bytes | None = None
    try:
        data = _read(result, until)
    finally:
        os.close(result)
        with suppress(ProcessLookupError, ChildProcessError):  # no zombie is left where our caller ignores SIGCHLD
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG if data is None else 0)  # one that has closed its end does not hang
    if data is None:
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {within_s:g} s", path)
    if not data:
        raise OSError(errno.EIO, "the process that was to use it ended without a word", path)
    value, raised = loads(data)
    if raised is not None:
        raise raised
    returned: T = value
    return returned


def stand_apart(keep: int) -> None:
    """For a child that may be left behind: closes all descriptors that its parent's caller and other children wait for.

    keep: the one descriptor that stays open; -1 for none.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    most = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, max(3, keep))
    os.closerange(max(3, keep + 1), most)


def _send_result(work: Callable[[], object], ending: int) -> None:
    try:
        data = dumps((work(), None))
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        data = dumps((None, error))
    with open(ending, "wb") as file:
        file.write(data)


def _read(descriptor: int, until: float) -> bytes | None:
    """Reads descriptor to its end; None where the end did not come in time."""
    data = b""
    while readable([descriptor], max(0.0, until - time.monotonic())):
        if not (chunk := os.read(descriptor, _CHUNK_BYTES)):
            return data
        data += chunk
    return None
