# SPDX-License-Identifier: Apache-2.0
"""A log daemon of a test's own, and a /dev in which it is the machine's."""

import contextlib
import select
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.rig import require_program

PATIENCE_S = 50

_OWN_DEV = """
import os, stat, subprocess, sys
log, *words = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/dev"], check=True)
os.mknod("/dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
os.symlink(log, "/dev/log")
os.execv(words[0], words)
"""


class LogDaemon:
    """Listens, and reads only when it is told to."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "log")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def line(self) -> bytes:
        """The next one; waits for it."""
        select.select([self._socket], [], [], PATIENCE_S)
        return self._socket.recv(65536)

    def lines(self) -> list[bytes]:
        """All that have come."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(65536))
        return found

    def fill(self) -> None:
        """Other programs' lines, until one more would wait. A socket each: one alone is limited by its own buffer."""
        with contextlib.suppress(BlockingIOError):
            while True:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
                    program.sendto(b"<14>another program's", socket.MSG_DONTWAIT, self.path)

    def of_the_machine(self, *words: str) -> tuple[str, ...]:
        """A command that runs another one, for which this is the machine's log daemon. Only root can."""
        return (require_program("unshare", "util-linux"), "--mount", sys.executable, "-c", _OWN_DEV, self.path, *words)
