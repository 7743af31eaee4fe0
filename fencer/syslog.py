# SPDX-License-Identifier: Apache-2.0
"""Writes to the system log without waiting.

syslog(3) waits as long as the log daemon does not read: its socket queues only a few lines of all programs together.
A log daemon that hangs on its disk must not delay a fence. So a line that cannot be sent at once is dropped.
"""

import contextlib
import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket  # as in fencer.worker

from fencer._enum import IntEnum

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
    """Sends lines to the log daemon.

    It opens a socket for each line. So no child inherits the socket, and a restarted daemon gets the next line.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path

    def write(self, severity: Severity, text: str) -> None:
        """Sends one line in the format of syslog(3). Never raises: a line that is not accepted is dropped."""
        at = time.strftime("%b %e %H:%M:%S")  # in English, because the program does not call setlocale
        line = f"<{FACILITY_DAEMON << 3 | severity}>{at} {NAME}[{os.getpid()}]: {text}"
        with (
            contextlib.suppress(OSError),
            contextlib.closing(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)) as sock,
        ):
            sock.sendto(line.encode(errors="backslashreplace"), self._path)
