# SPDX-License-Identifier: Apache-2.0
"""Runs a program that may hang in the kernel, as pvs(8) on lost storage, without ``subprocess``.

That module loads regular expressions, selectors and threads, which a fence that names a volume group would wait for.
"""

import fcntl
import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress

from fencer._signals import signal
from fencer._typing import NamedTuple

PATH = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")

_REAP_S = 0.1
"""How long a killed program may take to go. One that can die at all does so at once."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.05
_READ_BYTES = 32 * 1024


class Done(NamedTuple):
    """A program that has ended. returncode: negative for a signal. stdout, stderr: decoded as UTF-8."""

    returncode: int
    stdout: str
    stderr: str


def run_without_waiting(argv: Sequence[str], timeout_s: float) -> Done:
    """Runs a program that reads disks, with an environment of its own. Past timeout_s it is killed and left behind.

    A process in state D on lost storage does not die, so it is not waited for. It stays in our process group, so
    Pacemaker's kill reaches it.

    argv: begins with a name that is looked for in PATH. Raises TimeoutError, FileNotFoundError, OSError.
    """
    until_s = time.monotonic() + timeout_s
    pipes = [_pipe(), _pipe()]
    try:
        try:
            pid = _start(argv, *(write_end for _, write_end in pipes))
        finally:
            for _, write_end in pipes:
                os.close(write_end)
        try:
            out, err = _read([read_end for read_end, _ in pipes], until_s)
            return Done(_await_end(pid, until_s), out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        except BaseException:
            _abandon(pid)
            raise
    finally:
        for read_end, _ in pipes:
            os.close(read_end)


def _pipe() -> tuple[int, int]:
    """Read and write end, the latter above the standard streams: a caller may have closed these."""
    read_end, write_end = os.pipe()
    if write_end > 2:
        return read_end, write_end
    try:
        return read_end, fcntl.fcntl(write_end, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(write_end)


def _start(argv: Sequence[str], out: int, err: int) -> int:
    """Looks for the program in PATH. Returns its process id."""
    environment = {
        "PATH": ":".join(PATH),
        "LC_ALL": "C",
        # Descriptors of ours that LVM has no business to complain about.
        "LVM_SUPPRESS_FD_WARNINGS": "1",
    }
    if "LVM_SYSTEM_DIR" in os.environ:
        environment["LVM_SYSTEM_DIR"] = os.environ["LVM_SYSTEM_DIR"]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out, 1),
        (os.POSIX_SPAWN_DUP2, err, 2),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited()),
    ]
    problem: OSError | None = None
    for directory in PATH:
        try:
            return os.posix_spawn(
                f"{directory}/{argv[0]}", list(argv), environment, file_actions=actions,
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )  # fmt: skip
        except (FileNotFoundError, NotADirectoryError) as error:
            problem = problem or error
        except PermissionError as error:
            problem = error
    raise problem or FileNotFoundError(argv[0])


def _inherited() -> list[int]:
    """Descriptors beyond the standard streams that a caller has left open for its children: a program in state D would
    hold them. Ours are not passed on."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - pathlib is slow to load
        with suppress(OSError):  # the one of this list is closed by now
            if (descriptor := int(name)) > 2 and os.get_inheritable(descriptor):
                found.append(descriptor)
    return found


def _read(read_ends: list[int], until_s: float) -> list[bytes]:
    """What the program writes to each, until all are closed. Raises TimeoutError."""
    said = dict.fromkeys(read_ends, b"")
    poll = select.poll()
    for read_end in read_ends:
        poll.register(read_end, select.POLLIN)
    open_ends = len(read_ends)
    while open_ends:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        for read_end, _ in poll.poll(left_s * 1000):
            data = os.read(read_end, _READ_BYTES)
            said[read_end] += data
            if not data:
                poll.unregister(read_end)
                open_ends -= 1
    return list(said.values())


def _await_end(pid: int, until_s: float) -> int:
    """The exit status, negative for a signal. Raises TimeoutError. 0 where the kernel keeps none (SIGCHLD ignored)."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until_s:
            raise TimeoutError
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _abandon(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(TimeoutError):
        _await_end(pid, time.monotonic() + _REAP_S)
