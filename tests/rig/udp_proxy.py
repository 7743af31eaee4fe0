# SPDX-License-Identifier: Apache-2.0
"""A UDP proxy that loses, delays, doubles, spoils and counts what passes between a client and a BMC."""

import heapq
import itertools
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

Address = tuple[str, int]
RMCP_PLUS = 6  # byte 4 of a packet: RMCP+ framing
OPEN_SESSION_RESPONSE, RAKP_1, RAKP_2, RAKP_3, RAKP_4 = 0x11, 0x12, 0x13, 0x14, 0x15


class Way(Enum):
    """Which way a packet goes."""

    TO_BMC = "to BMC"
    TO_CLIENT = "to client"


@dataclass(frozen=True, slots=True)
class Passed:
    """How many packets arrived at the proxy, each way, lost ones included."""

    to_bmc: int
    to_client: int


Tamper = Callable[[Way, bytes], bytes | None]
"""Sees every packet on its way; returns what to send on instead, None to drop it."""


def payload_type(packet: bytes) -> int | None:
    """The RMCP+ payload type (IPMI 2.0 table 13-16) without its flags; None for a packet outside of RMCP+."""
    return packet[5] & 0x3F if len(packet) > 5 and packet[4] == RMCP_PLUS else None


class UdpProxy:
    """Context manager. Serves any number of clients from a thread; every knob may be turned at any time.

    target: address and port of the BMC. address: where to listen, on a free port, ``self.port``. drop: probability of
    losing a packet, each way, from a generator seeded with ``seed``. delay_s: added each way. duplicate: all is
    sent twice. blackhole: everything is lost. die_after: after that many packets of the client, everything is lost.
    tamper: see Tamper.
    """

    def __init__(
        self,
        target: Address,
        *,
        address: str = "127.0.0.1",
        drop: float = 0.0,
        delay_s: float = 0.0,
        duplicate: bool = False,
        blackhole: bool = False,
        die_after: int | None = None,
        tamper: Tamper | None = None,
        seed: int = 0,
    ) -> None:
        self.address = address
        self.port = 0
        self.drop = drop
        self.delay_s = delay_s
        self.duplicate = duplicate
        self.blackhole = blackhole
        self.die_after = die_after
        self.tamper = tamper
        self._target = target
        self._random = random.Random(seed)
        self._counts = {Way.TO_BMC: 0, Way.TO_CLIENT: 0}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._back: dict[tuple[object, ...], socket.socket] = {}  # one socket towards the BMC for each client
        self._late: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def __enter__(self) -> Self:
        self._front = self._open(self.address)
        self._front.bind((self.address, 0))
        self.port = self._front.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._front, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, name="udp-proxy", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._selector.close()
        for each in (self._front, *self._back.values()):
            each.close()

    @property
    def passed(self) -> Passed:
        with self._lock:
            return Passed(self._counts[Way.TO_BMC], self._counts[Way.TO_CLIENT])

    def reset_counts(self) -> None:
        with self._lock:
            self._counts = {Way.TO_BMC: 0, Way.TO_CLIENT: 0}

    @staticmethod
    def _open(address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        return opened

    def _serve(self) -> None:
        while not self._stopping.is_set():
            wait_s = 0.05
            if self._late:
                wait_s = min(wait_s, max(0.0, self._late[0][0] - time.monotonic()))
            for key, _ in self._selector.select(wait_s):
                self._receive(key.fileobj, key.data)  # type: ignore[arg-type]
            while self._late and self._late[0][0] <= time.monotonic():
                heapq.heappop(self._late)[2]()

    def _receive(self, source: socket.socket, client: tuple[object, ...] | None) -> None:
        """client: None for the front socket, else whom the source's packets belong to."""
        try:
            packet, sender = source.recvfrom(4096)
        except OSError:  # nothing left, or "connection refused" from a BMC that is down
            return
        if client is None:
            self._forward(Way.TO_BMC, packet, self._socket_of(sender), None)
        else:
            self._forward(Way.TO_CLIENT, packet, self._front, client)

    def _socket_of(self, client: tuple[object, ...]) -> socket.socket:
        if client not in self._back:
            back = self._open(self._target[0])
            back.connect(self._target)
            self._back[client] = back
            self._selector.register(back, selectors.EVENT_READ, client)
        return self._back[client]

    def _forward(self, way: Way, packet: bytes, out: socket.socket, to: tuple[object, ...] | None) -> None:
        with self._lock:
            self._counts[way] += 1
            dead = self.die_after is not None and self._counts[Way.TO_BMC] > self.die_after
        if dead or self.blackhole or (self.drop and self._random.random() < self.drop):
            return
        changed = self.tamper(way, packet) if self.tamper else packet
        if changed is None:
            return
        for _ in range(2 if self.duplicate else 1):
            at = time.monotonic() + self.delay_s
            heapq.heappush(self._late, (at, next(self._order), lambda: _send(out, changed, to)))


def _send(out: socket.socket, packet: bytes, to: tuple[object, ...] | None) -> None:
    try:
        if to is None:
            out.send(packet)
        else:
            out.sendto(packet, to)
    except OSError:
        pass  # a BMC that is down refuses; to the client that is silence
