# SPDX-License-Identifier: Apache-2.0
"""Runs the command of option password_script and returns the password it prints.

As in fence-agents' library, the command runs by ``sh -c``: a script without ``#!``, a pipeline, ``~`` and arguments
work. Where a password was printed, the exit status is ignored: many scripts end with a test that fails. No message
shows the command, since it may contain a secret.
"""

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress

from fencer._signals import signal
from fencer.errors import UsageError
from fencer.network_file import in_time
from fencer.readable import readable

OUTPUT_BYTES = 4096
"""Longest output that is read. A password has at most 20 bytes (IPMI 2.0 22.30)."""

_SHELL = "/bin/sh"
_REMEDY = "give a command that prints the password"
_LOOK_AGAIN_S = 0.05
_CLOSED_S = 0.005
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
"""Exit statuses of a shell (POSIX.1-2017, 2.8.2)."""


def ask(script: str, patience_s: float, meanwhile: Callable[[float], None] = lambda _left_s: None) -> bytes:
    """Returns the output, without white space at its end. Raises UsageError.

    meanwhile: called again and again with the seconds that are left.
    After patience_s the command is killed with its process group. It is not waited for: a process in state D does not
    die.
    """
    if not script.strip():
        raise UsageError(f"password_script: empty: {_REMEDY}")
    if "\0" in script:
        raise UsageError(f"password_script: contains a NUL byte: {_REMEDY}")
    read_end, write_end = os.pipe()
    try:
        pid = _start(script, write_end)
    except OSError as error:
        os.close(read_end)
        raise UsageError(f"password_script: {_SHELL}: {error.strerror}: {_REMEDY}") from error
    finally:
        os.close(write_end)
    try:
        output, status = _read(pid, read_end, time.monotonic() + patience_s, meanwhile)
    finally:
        os.close(read_end)
    if len(output) > OUTPUT_BYTES:
        raise UsageError(f"password_script: it prints more than {OUTPUT_BYTES} bytes: {_REMEDY}")
    if status is None:
        raise UsageError(f"password_script: no answer within {patience_s:g} s: {_REMEDY}")
    password = output.rstrip()
    if status and not password:
        raise UsageError(f"password_script: {_reason(status)}: {_REMEDY}")
    return password


def doubt(script: str) -> str | None:
    """A warning where others than root may change the program, or None. Checks only a program named by its path."""
    words = script.split()
    if not words or not words[0].startswith("/"):
        return None
    try:
        found = in_time(lambda: os.stat(words[0]), words[0])
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode) or (found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022):
        return None
    return "password_script: others than root may change the program: let root own it, and chmod go-w"


def _start(script: str, output: int) -> int:
    """Starts the shell by posix_spawn. Where the program is on a file system that hangs, only the shell hangs."""
    return os.posix_spawn(
        _SHELL,
        ("sh", "-c", script),
        os.environ,
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ),
        setpgroup=0,
        setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM),
    )


def _read(pid: int, read_end: int, until: float, meanwhile: Callable[[float], None]) -> tuple[bytes, int | None]:
    """Returns the output and the exit status; None where the command did not end in time. Kills the process group."""
    os.set_blocking(read_end, False)
    output, status = b"", None
    while status is None and len(output) <= OUTPUT_BYTES and (left_s := until - time.monotonic()) > 0:
        meanwhile(left_s)
        if readable([read_end], min(_LOOK_AGAIN_S, left_s)):
            data = os.read(read_end, OUTPUT_BYTES)
            output += data
            if not data:  # the command has closed its output and still runs
                time.sleep(min(_CLOSED_S, left_s))
        status = _status(pid)
    if status is not None:  # a child of the command may keep the pipe open: read only what is there now
        with suppress(BlockingIOError):
            while len(output) <= OUTPUT_BYTES and (data := os.read(read_end, OUTPUT_BYTES)):
                output += data
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return output, status


def _status(pid: int) -> int | None:
    """The exit status, negative for a signal; None while the command runs.

    The process stays a zombie, so that its process group id is not reused.
    """
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _reason(status: int) -> str:
    if status < 0:
        return f"ended by signal {-status}, and printed nothing"
    if status in (_NOT_EXECUTABLE, _NOT_FOUND):
        return "no such command" if status == _NOT_FOUND else "permission denied"
    return f"exit status {status}, and printed nothing"
