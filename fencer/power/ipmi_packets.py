# SPDX-License-Identifier: Apache-2.0
"""Packets of RMCP+ to one BMC and back, on pyghmi's session: which of them count, and how long each is waited for.

For one thread in an expendable child process: nothing here has a deadline, the parent kills the child. What differs
from pyghmi 1.6 (each private name used is listed in typings/ and checked by a test; docs/decisions/0013 says why):

- no I/O thread and no shared socket: datagrams come from a connected socket and are handled by the caller who waits;
- in the session only packets that are authenticated and newer than all before are read. IPMI 1.5 packets are dropped.
"""

import os
import struct
import time
from collections.abc import Callable

from fencer._typing import Any, Protocol, Self
from fencer.errors import BmcUnreachable
from fencer.model import BmcSettings, Privilege
from fencer.power.pyghmi_session import Session

_LONGEST_SLEEP_S = 0.5
_FIRST_PATIENCE_S, LONGEST_PATIENCE_S = 0.2, 2.0
_LONGEST_SILENCE_S = 0.75
"""Between two packets to a BMC that is silent: it is found soon after it has come back."""
_STEP_GROWTH = 1.25
_PROBE_GROWTH = 1.1
_MALFORMED_TRIES = 5

APP_REQUEST = 6  # network function, IPMI 2.0 table 5-1
_GET_CHANNEL_AUTH_CAPABILITIES = 0x38

_RMCP_CLASS_IPMI = b"\xff\x07"
_SESSIONLESS, _RMCP_PLUS = 0x00, 0x06  # authentication types, IPMI 2.0 table 13-8
_IPMI_PAYLOAD, _SETUP_PAYLOADS = 0x00, (0x11, 0x13, 0x15)  # IPMI 2.0 table 13-16: Open Session Response, RAKP 2, RAKP 4
_SHORTEST_BYTES = 17  # a header and one byte; each kind of packet has its own check below
_SHORTEST_SESSIONLESS_BYTES = 22  # a completion code and nothing behind it


class Datagrams(Protocol):
    """What carries packets to one BMC and back (fencer.power.udp). Loses packets, never raises."""

    def send(self, packet: bytes) -> None:
        """Sends one packet."""

    def receive(self, timeout_s: float) -> list[tuple[int, bytes]]:
        """Waits for packets, each with the number of its sender. An empty list: none came in time."""

    def keep(self, sender: int) -> None:
        """From now on only this sender counts."""

    def close(self) -> None:
        """Frees what it holds."""


class PacketSession(Session):
    """Sends, waits and receives for one RMCP+ session. ipmi_login and ipmi_session decide what is sent.

    Every packet waits ``patience``: 0.2 s, or twice the slowest exactly measured answer where that is more, growing
    with each try. A refusal is kept for one patience more, in which a better answer to the same packet wins.
    """

    forbidsock: tuple[object, ...] = ()  # pyghmi's __new__ sets it

    def __new__(cls, *_: object) -> Self:
        """pyghmi looks for another session with the same BMC here; there is none."""
        return object.__new__(cls)

    def __init__(
        self,
        settings: BmcSettings,
        datagrams: Datagrams,
        handle: Callable[[dict[str, Any]], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """handle: takes the first response in the session. pyghmi's constructor calls ``login``."""
        self._settings = settings
        self._datagrams = datagrams
        self._clock = clock
        self._sleep = sleep
        self._ready = False
        self._base_patience_s = _FIRST_PATIENCE_S
        self._expires_at: float | None = None
        self._held: Callable[[], None] | None = None
        self._malformed_answers = 0
        self._question = os.urandom(1)[0]
        self._questions: dict[int, float] = {}
        self._unanswered = 0
        self._newest_sequence: int | None = None
        self._asked_at: dict[int, float] = {}
        self._responses: list[dict[str, Any]] = []
        self._handle = handle
        self._begin_step()
        who = settings.username, settings.password.reveal
        kg = settings.kg.reveal if settings.kg else None
        super().__init__(
            settings.address, *who, settings.port, kg, onlogon=lambda _: None, privlevel=settings.privilege
        )

    def _initsession(self) -> None:
        super()._initsession()
        # pyghmi 1.5.34 goes on comparing with the numbers of the session before: it would drop the next one's packets.
        self.__dict__.pop("remseqnumber", None)
        self.ipmiversion = 2.0
        self.request_entry.clear()
        self.pendingpayloads.clear()
        self._newest_sequence = None
        self._unanswered = 0
        self._begin_step()

    def _assignsocket(self, server: object = None, forbiddensockets: object = ()) -> None:
        """pyghmi takes a socket that any host may send to. Ours are the datagrams that were handed in."""

    # What subclasses send

    def _ask_again(self) -> None:
        """The BMC is silent, and its session is not open yet."""
        raise NotImplementedError

    def _ask_in_session(self) -> None:
        """The BMC is silent in the open session."""
        raise NotImplementedError

    def _heard_outside(self) -> None:
        """Beside the open session, a question outside of it was answered."""
        raise NotImplementedError

    def _got_capabilities(self, data: bytearray) -> None:
        """The answer to Get Channel Authentication Capabilities, a whole packet."""
        raise NotImplementedError

    # Turns and timers

    def _turn(self) -> None:
        now = self._clock()
        until = now + _LONGEST_SLEEP_S if self._expires_at is None else self._expires_at
        for sender, packet in self._datagrams.receive(max(0.0, min(until - now, _LONGEST_SLEEP_S))):
            self._take(sender, bytearray(packet))
        if self._expires_at is not None and self._clock() >= self._expires_at:
            self._expires_at = None
            self._timedout()

    def _wait(self, seconds: float) -> None:
        self._expires_at = self._clock() + seconds

    def _begin_step(self) -> None:
        self._tries = 1
        self._patience_s = self._base_patience_s
        self._held = None

    def _hold(self, then: Callable[[], None], wait_s: float | None = None) -> None:
        """Does ``then`` when nothing better has come by the end of one patience."""
        if self._held is None:
            self._wait(self._base_patience_s if wait_s is None else wait_s)
        self._held = then

    def _hold_error(self, error: Exception) -> None:
        def fail() -> None:
            raise error

        self._hold(fail)

    def _timedout(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held()
            return
        self._tries += 1
        longest_s = max(_LONGEST_SILENCE_S, self._base_patience_s)
        self._patience_s = min(self._patience_s * (_PROBE_GROWTH if self._ready else _STEP_GROWTH), longest_s)
        if self._ready:
            self._ask_in_session()
        else:
            self._ask_again()

    # Sending

    def _request(
        self, netfn: int, command: int, data: bytes = b"", bridge: dict[str, int] | None = None, retry: bool = True
    ) -> None:
        self.seqlun = (self.seqlun + 1) & 0x3F
        self._asked_at[self.seqlun] = self._clock()
        self._unanswered += 1
        self.lastpayload = None  # else pyghmi queues the new one behind it
        self.ipmicallback = self._responses.append
        self._send_ipmi_net_payload(netfn, command, data, bridge_request=bridge, retry=retry)

    def _xmit_packet(
        self,
        retry: bool = True,
        delay_xmit: float | None = None,  # noqa: ARG002 pyghmi's signature
        timeout: float | None = None,  # noqa: ARG002
    ) -> None:
        """pyghmi has made ``netpacket``."""
        if self.sequencenumber:
            self.sequencenumber += 1
        self._datagrams.send(bytes(self.netpacket))
        if retry:
            self._wait(self._patience_s)

    def _ask_outside(self) -> None:
        """Get Channel Authentication Capabilities, outside of any session."""
        self._question = (self._question + 1) & 0x3F
        self._questions[self._question] = self._clock()
        self._datagrams.send(_sessionless_question(self._question))
        self._wait(self._patience_s)

    # Receiving

    def _take(self, sender: int, data: bytearray) -> None:
        """Takes one packet. Nothing of it is used before it is authenticated or matches a question."""
        if len(data) < _SHORTEST_BYTES or data[0] != 6 or data[2:4] != _RMCP_CLASS_IPMI:
            return
        if data[4] == _SESSIONLESS:
            self._take_outside(sender, data)
            return
        if data[4] != _RMCP_PLUS:
            return  # a packet of IPMI 1.5
        kind, open_now = data[5] & 0x3F, self.sessioncontext == "ESTABLISHED"
        if kind != _IPMI_PAYLOAD if open_now else kind not in _SETUP_PAYLOADS:
            return
        if not open_now:
            self._datagrams.keep(sender)
        try:
            self._handle_ipmi2_packet(data)
        except (IndexError, ValueError, struct.error):
            self._malformed_answers += 1
            if self._malformed_answers >= _MALFORMED_TRIES:
                self._hold_error(BmcUnreachable(f"{self._settings}: the BMC's answers do not decode"))

    def _take_outside(self, sender: int, data: bytearray) -> None:
        """Takes a packet outside of a session. It is not authenticated, so it counts once for each question.

        At most it has the BMC asked again.
        """
        if len(data) < _SHORTEST_SESSIONLESS_BYTES or data[19] != _GET_CHANNEL_AUTH_CAPABILITIES:
            return
        asked_at = self._questions.pop(data[18] >> 2, None)
        if asked_at is None:
            return
        if self._ready:
            self._heard_outside()
        elif self.sessioncontext is None:
            self._datagrams.keep(sender)
            self._measure(asked_at)
            self._got_capabilities(data)

    def _parse_ipmi_payload(self, payload: bytearray) -> int | None:
        """pyghmi has authenticated and decrypted it, and dropped what is older than the newest, but no copy of that."""
        if self._newest_sequence is not None and self.remseqnumber <= self._newest_sequence:
            return None
        self._newest_sequence = self.remseqnumber
        self._unanswered = 0
        asked_at = self._asked_at.pop(payload[4] >> 2, None) if len(payload) >= 7 else None
        if asked_at is not None and not self._ready:
            # The sequence number tells which copy is answered, so this is no guess even on a lossy line.
            self._measure(asked_at)
        result = super()._parse_ipmi_payload(payload)
        while self._responses:  # not from within pyghmi: when its callback sends, it forgets what was sent
            self._handle(self._responses.pop())
        return result

    def _measure(self, asked_at: float) -> None:
        twice_s = 2 * (self._clock() - asked_at)
        self._base_patience_s = max(self._base_patience_s, min(twice_s, LONGEST_PATIENCE_S))


def _sessionless_question(number: int) -> bytes:
    """Get Channel Authentication Capabilities outside of any session (IPMI 2.0 §13.6, §22.13)."""
    body = bytes((0x81, number << 2, _GET_CHANNEL_AUTH_CAPABILITIES, 0x8E, Privilege.ADMINISTRATOR))
    checksum = -sum(body) & 0xFF
    return bytes.fromhex("0600ff07 00 00000000 00000000 09 2018c8") + body + bytes((checksum,))
