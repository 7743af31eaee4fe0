# SPDX-License-Identifier: Apache-2.0
"""A BMC in memory that speaks RMCP+ (cipher suites 3 and 17) on a fake clock, and is told where to misbehave.

It has no sockets, so a fence of 30 s takes some milliseconds. Written from IPMI 2.0 §13 (framing, RAKP), §20 and §22
(commands), §28 (chassis).
"""

import hashlib
import heapq
import hmac
import itertools
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.power.fake_chassis import FakeClock

USER = PASSWORD = b"ADMIN"
_LINE_S = 0.001  # one way
_APART_S = 0.0005  # two packets that are sent in one go


class Deadline(BaseException):
    """The time of a test is over. No Exception: it stands for a parent's SIGKILL."""


class BoundedClock(FakeClock):
    """Time that ends at the deadline."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__()
        self.deadline_s = deadline_s

    def sleep(self, seconds: float) -> None:
        self.now_s = min(self.now_s + seconds, self.deadline_s)
        if self.now_s >= self.deadline_s:
            raise Deadline


class Step(Enum):
    """What a packet to the BMC asks for."""

    CAPABILITIES = auto()
    OPEN_SESSION = auto()
    RAKP_1 = auto()
    RAKP_3 = auto()
    PRIVILEGE = auto()
    STATUS = auto()  # before an off or on was taken
    CONTROL = auto()
    STATUS_AFTER = auto()
    DEVICE_ID = auto()
    CLOSE = auto()


SETUP_STEPS = (Step.OPEN_SESSION, Step.RAKP_1, Step.RAKP_3)
IPMI_STEPS = (Step.CAPABILITIES, Step.PRIVILEGE, Step.STATUS, Step.CONTROL, Step.STATUS_AFTER, Step.DEVICE_ID)


class Silent(Enum):
    """Instead of a code: no answer. AFTER: what was asked is done all the same."""

    BEFORE = auto()
    AFTER = auto()


Answer = int | Silent | None
"""A completion code or RMCP+ status code, silence, or None: as usual."""


@dataclass
class _OpenSession:
    client_id: bytes
    suite: int
    user: bytes = b""
    role: int = 0
    client_random: bytes = b""
    random: bytes = b""
    authentication_key: bytes = b""
    encryption_key: bytes = b""
    established: bool = False
    sent: int = 0
    newest: int = 0

    @property
    def digest(self) -> Callable[..., "hashlib._Hash"]:
        return hashlib.sha1 if self.suite == 3 else hashlib.sha256

    @property
    def integrity_bytes(self) -> int:
        return 12 if self.suite == 3 else 16


class FakeBmc:
    """Obeys at once, unless ``misbehave`` says otherwise: called with each step, it returns what to answer instead.

    says_off: called for each status; True: it says off whatever the chassis is. starting: the device available bit.
    is_away: from the network: no packet arrives. on_message: returns what is sealed in place of an answer in the
    session. on_packet: sees each packet to the client before it is sent, and returns what is sent in its place.
    asked: each step, in order, with its time; commands: the Chassis Control requests that were executed.
    """

    def __init__(self, clock: FakeClock, *, suites: tuple[int, ...] = (3, 17), powered: bool = True) -> None:
        self.clock = clock
        self.suites = suites
        self.powered = powered
        self.guid = bytes(range(16))
        self.capabilities = bytes((0, 1, 0x80, 0x04, 0x02, 0, 0, 0, 0))
        self.misbehave: Callable[[Step], Answer] = lambda _step: None
        self.says_off: Callable[[], bool] = lambda: False
        self.starting: Callable[[], bool] = lambda: False
        self.is_away: Callable[[], bool] = lambda: False
        self.on_message: Callable[[bytes], bytes] = lambda message: message
        self.on_packet: Callable[[bytes], list[bytes]] = lambda packet: [packet]
        self.asked: list[tuple[float, Step]] = []
        self.commands: list[int] = []
        self.off_at_s: list[float] = [] if powered else [0.0]
        self._sessions: dict[bytes, _OpenSession] = {}
        self._order = itertools.count()

    def forget_sessions(self) -> None:
        self._sessions.clear()

    @property
    def slots_taken(self) -> int:
        """Sessions that are open, or whose login began."""
        return len(self._sessions)

    def line(self, _settings: object) -> "FakeLine":
        """A socket of its own towards this BMC."""
        return FakeLine(self)

    def take(self, packet: bytes) -> list[bytes]:
        """What it answers."""
        if self.is_away():
            return []
        if packet[4] == 0:
            return self._capabilities(packet)
        kind, body = packet[5] & 0x3F, packet[16:]
        match kind:
            case 0x10:
                return self._open(body)
            case 0x12:
                return self._rakp_1(body)
            case 0x14:
                return self._rakp_3(body)
            case 0x00:
                return self._request(packet)
            case _:
                return []

    def _step(self, step: Step) -> Answer:
        self.asked.append((self.clock(), step))
        return self.misbehave(step)

    def _capabilities(self, packet: bytes) -> list[bytes]:
        answer = self._step(Step.CAPABILITIES)
        if isinstance(answer, Silent):
            return []
        data = bytes((answer,)) if answer else self.capabilities
        message = _message(packet[14:], data)
        return [bytes.fromhex("0600ff07 00 00000000 00000000") + bytes((len(message),)) + message]

    def _open(self, body: bytes) -> list[bytes]:
        answer, tag, client_id = self._step(Step.OPEN_SESSION), body[0], body[4:8]
        suite = {(1, 1): 3, (3, 4): 17}[body[12], body[20]]
        if answer is None and suite not in self.suites:
            answer = 0x11
        if isinstance(answer, Silent):
            return []
        if answer:
            return [_setup(0x11, bytes((tag, answer, 0, 0)) + client_id)]
        session_id = os.urandom(4)
        self._sessions[session_id] = _OpenSession(client_id, suite)
        return [_setup(0x11, bytes((tag, 0, 4, 0)) + client_id + session_id + body[8:32])]

    def _rakp_1(self, body: bytes) -> list[bytes]:
        answer, tag, session = self._step(Step.RAKP_1), body[0], self._sessions.get(body[4:8])
        if isinstance(answer, Silent):
            return []
        if session is None:
            return [_setup(0x13, bytes((tag, 0x02, 0, 0)) + bytes(4))]
        session.client_random, session.role, session.user = body[8:24], body[24], body[28 : 28 + body[27]]
        if answer is None and session.user != USER:
            answer = 0x0D
        if answer:
            return [_setup(0x13, bytes((tag, answer, 0, 0)) + session.client_id)]
        session.random = os.urandom(16)
        who = bytes((session.role, len(session.user))) + session.user
        signed = session.client_id + body[4:8] + session.client_random + session.random + self.guid + who
        mac = hmac.new(PASSWORD, signed, session.digest).digest()
        return [_setup(0x13, bytes((tag, 0, 0, 0)) + session.client_id + session.random + self.guid + mac)]

    def _rakp_3(self, body: bytes) -> list[bytes]:
        answer, tag, session = self._step(Step.RAKP_3), body[0], self._sessions.get(body[4:8])
        if isinstance(answer, Silent):
            return []
        if session is None:
            return [_setup(0x15, bytes((tag, 0x02, 0, 0)) + bytes(4))]
        if body[1]:
            self._sessions.pop(body[4:8])  # the client refuses us, IPMI 2.0 §13.22
            return []
        who = bytes((session.role, len(session.user))) + session.user
        signed = hmac.new(PASSWORD, session.random + session.client_id + who, session.digest).digest()
        if answer is None and body[8:] != signed:
            answer = 0x0F
        if answer:
            return [_setup(0x15, bytes((tag, answer, 0, 0)) + session.client_id)]
        key = hmac.new(PASSWORD, session.client_random + session.random + who, session.digest).digest()
        session.authentication_key = hmac.new(key, b"\1" * 20, session.digest).digest()
        session.encryption_key = hmac.new(key, b"\2" * 20, session.digest).digest()[:16]
        session.established = True
        mac = hmac.new(key, session.client_random + body[4:8] + self.guid, session.digest).digest()
        return [_setup(0x15, bytes((tag, 0, 0, 0)) + session.client_id + mac[: session.integrity_bytes])]

    def _request(self, packet: bytes) -> list[bytes]:
        session = self._sessions.get(packet[6:10])
        if session is None or not session.established:
            return []
        number = struct.unpack("<I", packet[10:14])[0]
        if not session.newest < number <= session.newest + 8:  # the narrower of the two windows that BMCs have
            return []
        session.newest = number
        encrypted = packet[16 : 16 + struct.unpack("<H", packet[14:16])[0]]
        cipher = Cipher(algorithms.AES(session.encryption_key), modes.CBC(encrypted[:16])).decryptor()
        request = cipher.update(encrypted[16:]) + cipher.finalize()
        request = request[: -1 - request[-1]]
        data = self._execute(request[1] >> 2, request[5], request[6:-1], packet[6:10])
        return [] if data is None else [_sealed(session, self.on_message(_message(request, data)))]

    def _execute(self, netfn: int, command: int, data: bytes, session_id: bytes) -> bytes | None:
        step = {
            (6, 0x3B): Step.PRIVILEGE,
            (6, 0x3C): Step.CLOSE,
            (6, 0x01): Step.DEVICE_ID,
            (0, 0x01): Step.STATUS_AFTER if self.commands else Step.STATUS,
            (0, 0x02): Step.CONTROL,
        }[netfn, command]
        answer = self._step(step)
        if session_id not in self._sessions:
            return None  # it forgot the session just now
        if answer is Silent.BEFORE:
            return None
        if answer is not None and not isinstance(answer, Silent):
            return bytes((answer,))
        result = b"\0"
        match step:
            case Step.PRIVILEGE:
                result += data[:1]
            case Step.CLOSE:
                self._sessions.pop(session_id)
            case Step.DEVICE_ID:
                result += bytes((0x20, 1, 0x80 if self.starting() else 0x02, 0x40, 2)) + bytes(10)
            case Step.STATUS | Step.STATUS_AFTER:
                result += bytes((0x60 | (self.powered and not self.says_off()), 0x10, 0x40, 0))
            case Step.CONTROL:
                self.commands.append(data[0])
                self.powered = data[0] != 0
                if not self.powered:
                    self.off_at_s.append(self.clock())
        return None if answer is Silent.AFTER else result


class FakeLine:
    """``Datagrams`` to a FakeBmc: what it answers arrives a little later, as time passes."""

    def __init__(self, bmc: FakeBmc) -> None:
        self._bmc = bmc
        self._coming: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()

    def send(self, packet: bytes) -> None:
        at_s = self._bmc.clock() + 2 * _LINE_S
        for answer in self._bmc.take(packet):
            for each in self._bmc.on_packet(answer):
                heapq.heappush(self._coming, (at_s, next(self._order), each))
                at_s += _APART_S

    def receive(self, timeout_s: float) -> list[tuple[int, bytes]]:
        clock = self._bmc.clock
        if not self._coming or self._coming[0][0] > clock() + timeout_s:
            clock.sleep(max(timeout_s, 1e-6))
            return []
        clock.sleep(max(0.0, self._coming[0][0] - clock()))
        received = []
        while self._coming and self._coming[0][0] <= clock():
            received.append((0, heapq.heappop(self._coming)[2]))
        return received

    def keep(self, sender: int) -> None:
        assert sender == 0

    def close(self) -> None:
        self._coming.clear()


def _message(request: bytes, data: bytes) -> bytes:
    """The answer to an IPMI message (IPMI 2.0 figure 13-4)."""
    head = bytes((request[3], ((request[1] >> 2) | 1) << 2))
    body = bytes((request[0], request[4], request[5])) + data
    return head + _checksum(head) + body + _checksum(body)


def _checksum(data: bytes) -> bytes:
    return bytes((-sum(data) & 0xFF,))


def _setup(kind: int, payload: bytes) -> bytes:
    return bytes.fromhex("0600ff07 06") + bytes((kind,)) + bytes(8) + struct.pack("<H", len(payload)) + payload


def _sealed(session: _OpenSession, message: bytes) -> bytes:
    """An encrypted and authenticated packet (IPMI 2.0 table 13-8, §13.29)."""
    pad = -(len(message) + 1) % 16
    vector = os.urandom(16)
    cipher = Cipher(algorithms.AES(session.encryption_key), modes.CBC(vector)).encryptor()
    payload = vector + cipher.update(message + bytes(range(1, pad + 1)) + bytes((pad,))) + cipher.finalize()
    session.sent += 1
    body = bytes((6, 0xC0)) + session.client_id + struct.pack("<IH", session.sent, len(payload)) + payload
    pad = -(len(body) + 2) % 4
    body += b"\xff" * pad + bytes((pad, 7))
    mac = hmac.new(session.authentication_key, body, session.digest).digest()
    return bytes.fromhex("0600ff07") + body + mac[: session.integrity_bytes]
