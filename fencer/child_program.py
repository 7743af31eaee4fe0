# SPDX-License-Identifier: Apache-2.0
"""Runs a program that may hang in the kernel, as pvs(8) on lost storage, without ``subprocess``.

That module loads regular expressions, selectors and threads, which a fence that names a volume group would wait for.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from fencer._signals import signal
from fencer._typing import NamedTuple
from fencer.readable import readable
from fencer.shortage import start_despite_shortage

PATH = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")

_REAP_S = 0.1
"""How long a killed program may take to go. One that can die at all does so at once."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.05
_READ_BYTES = 32 * 1024
_DESCRIPTORS_MOST = 1024
"""How many are looked at where they cannot be listed."""


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
    ChildProcessError: how the program ended is not known, since SIGCHLD is ignored.
    """
    until_s = time.monotonic() + timeout_s
    pid, read_ends = start_despite_shortage(lambda: _start(argv), until_s)
    try:
        out, err = _read(read_ends, until_s)
        return Done(_await_end(pid, until_s), out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
    except BaseException:
        _abandon(pid)
        raise
    finally:
        _close(read_ends)


def _start(argv: Sequence[str]) -> tuple[int, list[int]]:
    """Starts the program. Returns its process id, and descriptors that read what it writes."""
    read_ends: list[int] = []
    write_ends: list[int] = []
    try:
        for _ in ("stdout", "stderr"):
            read_end, write_end = os.pipe()
            read_ends.append(read_end)
            write_ends.append(write_end)
            if write_end <= 2:  # a caller may have closed the standard streams
                write_ends.append(fcntl.fcntl(write_end, fcntl.F_DUPFD_CLOEXEC, 3))
                os.close(write_ends.pop(-2))
        return _spawn(argv, *write_ends), read_ends
    except BaseException:
        _close(read_ends)
        raise
    finally:
        _close(write_ends)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _spawn(argv: Sequence[str], out: int, err: int) -> int:
    """Looks for the program in PATH. Returns its process id."""
    environment = {
        "PATH": ":".join(PATH),
        "LC_ALL": "C",
        # Descriptors of ours that LVM has no business to complain about.
        "LVM_SUPPRESS_FD_WARNINGS": "1",
    }
    if "LVM_SYSTEM_DIR" in os.environ:
        environment["LVM_SYSTEM_DIR"] = os.environ["LVM_SYSTEM_DIR"]
    _keep_descriptors()
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out, 1),
        (os.POSIX_SPAWN_DUP2, err, 2),
    )
    problem: OSError | None = None
    for directory in PATH:
        try:
            return os.posix_spawn(
                f"{directory}/{argv[0]}", list(argv), environment, file_actions=actions,
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )  # fmt: skip
        except OSError as error:
            if problem is None or isinstance(problem, (FileNotFoundError, NotADirectoryError)):
                problem = error
    raise problem or FileNotFoundError(argv[0])


def _keep_descriptors() -> None:
    """Marks what a caller has left open for its children, beyond the standard streams, as ours alone (close-on-exec): a
    program in state D would hold it.

    Not by a file action: posix_spawn(3) refuses one for a descriptor above RLIMIT_NOFILE, which may be lower now.
    """
    found: Iterable[int]
    try:
        found = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - pathlib is slow to load
    except OSError:  # /proc is not mounted: no reason to refuse a fence
        found = range(_DESCRIPTORS_MOST)
    for descriptor in found:
        with suppress(OSError):  # the one of that list is closed by now
            if descriptor > 2 and os.get_inheritable(descriptor):
                os.set_inheritable(descriptor, False)


def _read(read_ends: list[int], until_s: float) -> list[bytes]:
    """What the program writes to each, until all are closed. Raises TimeoutError."""
    said = dict.fromkeys(read_ends, b"")
    open_ends = list(read_ends)
    while open_ends:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        for read_end in readable(open_ends, left_s):
            data = os.read(read_end, _READ_BYTES)
            said[read_end] += data
            if not data:
                open_ends.remove(read_end)
    return list(said.values())


def _await_end(pid: int, until_s: float) -> int:
    """The exit status, negative for a signal. Raises TimeoutError, and ChildProcessError where the kernel kept none."""
    pause_s = _FIRST_PAUSE_S
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until_s:
            raise TimeoutError
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _abandon(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(TimeoutError, ChildProcessError):
        _await_end(pid, time.monotonic() + _REAP_S)
