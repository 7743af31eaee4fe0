# SPDX-License-Identifier: Apache-2.0
"""Runs a program on a terminal of its own."""

import contextlib
import fcntl
import os
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

NONE: Mapping[str, str] = MappingProxyType({})


class Seen(NamedTuple):
    """What was written to the terminal. quiet_s: the longest time in which nothing was written, or was left to wait."""

    text: str
    quiet_s: float
    took_s: float
    status: int


def on_terminal(
    command: Sequence[str],
    stdin: str | None = None,
    columns: int = 0,
    environ: Mapping[str, str] = NONE,
    *,
    stdout_too: bool = True,
) -> Seen:
    """stderr is the terminal, and stdout unless told otherwise. columns: its width; 0: it does not tell."""
    leader, terminal = os.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        began = last = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=terminal if stdout_too else subprocess.DEVNULL,
            stderr=terminal,
            env={"TERM": "xterm", **{name: value for name, value in os.environ.items() if name != "TERM"}, **environ},
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write((stdin or "").encode())
            process.stdin.close()
        os.close(terminal)
        terminal = -1
        said, quiet_s = b"", 0.0
        with contextlib.suppress(OSError):  # EIO: the other side has been closed
            while chunk := os.read(leader, 4096):
                said += chunk
                quiet_s, last = max(quiet_s, time.monotonic() - last), time.monotonic()
        status = process.wait(timeout=60)
        ended = time.monotonic()
        text = said.decode().replace("\r\n", "\n")
        return Seen(text, max(quiet_s, ended - last), ended - began, status)
    finally:
        os.close(leader)
        if terminal >= 0:
            os.close(terminal)


def never_quiet_for(bound_s: float, run: Callable[[], Seen], tries: int = 3) -> Seen:
    """Returns what was seen of the first run that was never quiet for so long.

    On a busy machine each process may get no processor for seconds. So the bound grows with the time that a bare Python
    takes there to start, which is some hundredths of a second on one that is idle.
    """
    for _ in range(tries):
        bare_s = _bare_start_s()
        seen = run()
        allowed_s = bound_s + STARTS * max(bare_s, _bare_start_s())
        if seen.quiet_s < allowed_s:
            return seen
    raise AssertionError(f"quiet for {seen.quiet_s:.1f} s, and {allowed_s:.1f} s are allowed here: {seen.text!r}")


STARTS = 20
"""So many starts of a bare Python a process may be kept waiting."""


def _bare_start_s() -> float:
    return on_terminal([sys.executable, "-S", "-c", ""]).took_s
