# SPDX-License-Identifier: Apache-2.0
"""Sends the state to systemd by sd_notify(3): one datagram to $NOTIFY_SOCKET, without waiting."""

import contextlib
import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket  # as in fencer.worker

READY_VARIABLE = "HALVM_WATCHDOGD_READY"


class ServiceManager:
    """The service manager. Sends nothing without $NOTIFY_SOCKET (in the foreground).

    waits_for_arming: ready only when armed (``HALVM_WATCHDOGD_READY=armed``, for services that must not run unguarded).
    """

    def __init__(self, address: str | None = None) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        self._wants_life = "WATCHDOG_USEC" in os.environ
        self.waits_for_arming = os.environ.get(READY_VARIABLE) == "armed"
        self._socket: socket | None = None
        if address.startswith(("/", "@")):
            self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
            try:
                self._socket.connect("\0" + address[1:] if address[0] == "@" else address)
            except OSError:
                self._socket.close()
                self._socket = None

    def tell(self, *assignments: str) -> None:
        """``READY=1``, ``STATUS=…``, ``STOPPING=1``. A stuck service manager does not block."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send("\n".join(assignments).encode())

    def alive(self) -> None:
        """``WATCHDOG=1``, where the unit has WatchdogSec."""
        if self._wants_life:
            self.tell("WATCHDOG=1")
