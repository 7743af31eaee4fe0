"""The feeder's link to the process that may wait for a disk. It waits for nothing but the record of a self-fence."""

import select
import time
from _pickle import dumps, loads  # as in fencer.worker
from _socket import MSG_DONTWAIT, MSG_NOSIGNAL, socket

from fencer.sidecar.links import BUFFER_BYTES
from fencer.sidecar.messages import LINE_CHARS, ForScribe, Level, Line, Recorded

RECORD_S = 0.8
"""How long a self-fence waits at most for its reason to be on the disk: the node can write nothing shared meanwhile."""


class PublisherLink:
    """sock: the feeder's end, which does not block."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock

    def line(self, level: Level, text: str) -> None:
        """For the log."""
        self.send(Line(level, text[:LINE_CHARS]))

    def send(self, message: ForScribe) -> None:
        """As forward."""
        self.forward(dumps(message))

    def forward(self, data: bytes) -> None:
        """A scribe that is behind or gone misses it: nothing waits for paper."""
        try:
            self._sock.send(data, MSG_DONTWAIT | MSG_NOSIGNAL)
        except OSError:
            return

    def is_recorded(self) -> bool:
        """Whether it said that a record is written."""
        try:
            data = self._sock.recv(BUFFER_BYTES)
        except OSError:
            return False
        return bool(data) and isinstance(loads(data), Recorded)

    def await_record(self) -> None:
        """For RECORD_S at most."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        until_s = time.monotonic() + RECORD_S
        while (left_s := until_s - time.monotonic()) > 0 and poll.poll(left_s * 1000):
            if self.is_recorded():
                return
