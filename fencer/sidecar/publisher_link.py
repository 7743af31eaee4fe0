# SPDX-License-Identifier: Apache-2.0
"""The feeder's link to the publisher. It waits for nothing but the record of a self-fence."""

import contextlib
import time
from _pickle import dumps, loads  # as in fencer.worker
from _socket import MSG_DONTWAIT, MSG_NOSIGNAL, socket

from fencer.readable import readable
from fencer.sidecar.links import BUFFER_BYTES
from fencer.sidecar.messages import LINE_CHARS, Level, Line, Recorded, ToPublisher

RECORD_S = 0.8
"""How long a self-fence waits at most for its reason to be on the disk: the node can write nothing shared meanwhile."""


class PublisherLink:
    """The feeder's end of the link to the publisher.

    sock: the feeder's end, which does not block.
    """

    def __init__(self, sock: socket) -> None:
        self._sock = sock
        self._waiting: list[bytes] = []

    def line(self, level: Level, text: str) -> None:
        """Sends a line for the log."""
        self.send(Line(level, text[:LINE_CHARS]))

    def send(self, message: ToPublisher) -> None:
        """Sends a message, as forward."""
        self.forward(dumps(message))

    def forward(self, data: bytes) -> None:
        """Sends it with the next flush()."""
        self._waiting.append(data)

    def flush(self) -> None:
        """Sends all, at one wake-up of the publisher, without waiting. One that is behind or gone misses it."""
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            with contextlib.suppress(OSError):
                self._sock.send(data, MSG_DONTWAIT | MSG_NOSIGNAL)

    def is_recorded(self) -> bool:
        """Whether it has reported that a record is written."""
        try:
            data = self._sock.recv(BUFFER_BYTES)
        except OSError:
            return False
        return bool(data) and isinstance(loads(data), Recorded)

    def await_record(self) -> None:
        """Sends all, and waits for the record, RECORD_S at most."""
        self.flush()
        until_s = time.monotonic() + RECORD_S
        while (left_s := until_s - time.monotonic()) > 0 and readable([self._sock], left_s):
            if self.is_recorded():
                return
