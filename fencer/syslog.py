"""The system log, as far as it can be told without waiting.

syslog(3) waits for as long as the log daemon does not read: its socket queues few lines, of all programs together. A
daemon that hangs with the disk it writes to must not hold a fence, so a line that is not taken at once is dropped.
"""

import contextlib
import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket  # as in fencer.worker
from enum import IntEnum

NAME = "fence_halvm"
SOCKET = "/dev/log"
FACILITY_DAEMON = 3
"""RFC 3164 4.1.1."""


class Severity(IntEnum):
    """RFC 3164 4.1.1."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    DEBUG = 7


class SystemLog:
    """Opens a socket for each line: no child inherits one, and a daemon that was started again is found."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path

    def write(self, severity: Severity, text: str) -> None:
        """One line, as syslog(3) words it. Never raises: what nobody takes is lost here."""
        at = time.strftime("%b %e %H:%M:%S")  # in English: nobody calls setlocale
        line = f"<{FACILITY_DAEMON << 3 | severity}>{at} {NAME}[{os.getpid()}]: {text}"
        with (
            contextlib.suppress(OSError),
            contextlib.closing(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)) as sock,
        ):
            sock.sendto(line.encode(errors="backslashreplace"), self._path)
