"""pyghmi's RMCP+ session, taught to be quick on a lossy line, patient with a slow BMC and deaf to all others.

For one thread in an expendable child process: nothing here has a deadline, the parent kills the child. What differs
from pyghmi 1.6 (each private name used is listed in typings/ and checked by a test; docs/decisions/0013 says why):

- no I/O thread and no shared socket: datagrams come from a connected socket and are handled by the caller who waits;
- the login is flat. pyghmi sets the privilege from inside its packet handler; an answer lost there stalls it for good;
- no number is used twice (local session id, tag, request sequence), so that a late answer to an abandoned attempt can
  not be taken for a wrong answer to this one;
- a refusal that is not authenticated decides nothing while a better answer may still come, and the caller has to hear
  it again on a new socket (``LoginRefused``);
- in the session only packets that are authenticated and newer than all before are read. IPMI 1.5 packets are dropped.
"""

import hmac
import itertools
import os
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from pyghmi.ipmi.private.session import Session

from fencer._typing import Protocol
from fencer.errors import BmcRefused, BmcUnreachable
from fencer.model import BmcSettings, Privilege
from fencer.power import ipmi_codes as codes
from fencer.power.identity import objection

if TYPE_CHECKING:
    from hashlib import _Hash

_LONGEST_SLEEP_S = 0.5
_FIRST_PATIENCE_S, LONGEST_PATIENCE_S = 0.2, 2.0
_LONGEST_SILENCE_S = 0.75
"""Between two packets to a BMC that is silent: it is found soon after it has come back."""
_STEP_GROWTH = 1.25
_PROBE_GROWTH = 1.1
_RESTART_GROWTH = 1.1
_PRIVILEGE_TRIES = 4
_PRIVILEGE_PAUSE_S = 0.5
_PRIVILEGE_REPEATS_S = 8.0
"""How long a privilege has to be refused until that is believed: a BMC that starts refuses what it grants later."""
_NO_SLOT_PAUSE_S = 0.5
_NO_SLOT_TRIES = 5
_MALFORMED_TRIES = 5

_SHA1, _SHA256 = 1, 256  # pyghmi's words for cipher suites 3 and 17 (IPMI 2.0 table 22-20)
_HASHES_OF_CIPHER = {None: (_SHA256, _SHA1), 3: (_SHA1,), 17: (_SHA256,)}

APP_REQUEST = 6  # network function, IPMI 2.0 table 5-1
_GET_CHANNEL_AUTH_CAPABILITIES = 0x38
_SET_SESSION_PRIVILEGE, _CLOSE_SESSION = 0x3B, 0x3C

_RMCP_CLASS_IPMI = b"\xff\x07"
_SESSIONLESS, _RMCP_PLUS = 0x00, 0x06  # authentication types, IPMI 2.0 table 13-8
_IPMI_PAYLOAD, _SETUP_PAYLOADS = 0x00, (0x11, 0x13, 0x15)  # IPMI 2.0 table 13-16: Open Session Response, RAKP 2, RAKP 4
_RAKP_3 = 0x14
_INVALID_INTEGRITY_CHECK_VALUE = 0x0F  # IPMI 2.0 table 13-15
_SHORTEST_BYTES = 17  # a header and one byte; what is too short for its kind is told apart below
_SHORTEST_SESSIONLESS_BYTES = 22  # a completion code and nothing behind it
_TRIES_AT_1_5 = 8


class LoginRefused(Exception):
    """The BMC, or somebody in its name, refused the login: nothing of a login is authenticated before its end."""


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


class LoginSession(Session):
    """One RMCP+ session up to its privilege level; what is said in it is fencer.power.ipmi_session's.

    Timers. Every packet waits ``patience``: 0.2 s, or twice the slowest exactly measured answer where that is more,
    growing with each try. Open Session is always sent afresh; RAKP 1 and RAKP 3 are sent again once, then the login
    starts again from Open Session, because BMCs differ in what they do with a second RAKP. A refusal is kept for one
    patience more, in which a better answer to the same packet wins.
    """

    forbidsock: tuple[object, ...] = ()  # pyghmi's __new__ sets it

    def __new__(cls, *_: object) -> Self:
        """pyghmi looks for another session with the same BMC here; there is none."""
        return object.__new__(cls)

    def __init__(
        self,
        settings: BmcSettings,
        datagrams: Datagrams,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.guid = b""
        self._settings = settings
        self._datagrams = datagrams
        self._clock = clock
        self._sleep = sleep
        self._ready = False
        self._hashes = _HASHES_OF_CIPHER[settings.cipher]
        self._proposed: dict[int, tuple[int, int, Callable[..., _Hash], int]] = {}
        self._session_ids = itertools.count(int.from_bytes(os.urandom(3), "little"))
        self._base_patience_s = _FIRST_PATIENCE_S
        self._expires_at: float | None = None
        self._held: Callable[[], None] | None = None
        self._says_1_5_only = False
        self._no_slot_answers = 0
        self._malformed_answers = 0
        self._privilege_refused_at: float | None = None
        self._privilege_refusals = 0
        self._question = os.urandom(1)[0]
        self._questions: dict[int, float] = {}
        self._unanswered = 0
        self._newest_sequence: int | None = None
        self._asked_at: dict[int, float] = {}
        self._responses: list[dict[str, Any]] = []
        self._handle: Callable[[dict[str, Any]], None] = self._got_privilege
        self._begin_step()
        who = settings.username, settings.password.reveal
        kg = settings.kg.reveal if settings.kg else None
        super().__init__(
            settings.address, *who, settings.port, kg, onlogon=lambda _: None, privlevel=settings.privilege
        )

    def _assignsocket(self, server: object = None, forbiddensockets: object = ()) -> None:
        """pyghmi takes a socket that any host may send to. Ours are the datagrams that were handed in."""

    # What the adapter calls

    def await_login(self) -> None:
        """Blocks until the session is open and its privilege level set.

        Raises LoginRefused, and BmcRefused for what the BMC authenticated.
        """
        self._ask_outside()
        while not self._ready:
            self._turn()

    @property
    def suite(self) -> int:
        """The cipher suite that was agreed on."""
        return 17 if self.attemptedhash == _SHA256 else 3

    def close(self) -> None:
        """Sends Close Session once and does not wait for the answer."""
        self._tell_closed()
        self.logged = 0
        self._ready = False

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
        elif self.sessioncontext is None:
            self._ask_outside()
        elif self.sessioncontext == "OPENSESSION":
            if self._says_1_5_only and self._tries > _TRIES_AT_1_5:
                raise BmcUnreachable(
                    f"{self._settings}: login: the BMC says that it speaks IPMI 1.5 only, and does not answer RMCP+ "
                    "(IPMI 2.0), which is needed"
                )
            self._open_rmcpplus_request()
        elif self.sessioncontext == "ESTABLISHED" and self._tries <= _PRIVILEGE_TRIES:
            self._ask_privilege()
        elif self.sessioncontext != "ESTABLISHED" and self._tries == 2:
            self._sent_twice = True
            self.send_payload()
        else:
            self._restart()

    def _restart(self) -> None:
        """Logs in again from Open Session. What the BMC may hold of the abandoned attempt is closed if we can."""
        self._tell_closed()
        self._base_patience_s = min(self._base_patience_s * _RESTART_GROWTH, LONGEST_PATIENCE_S)
        self._initsession()
        self._open_rmcpplus_request()

    def _tell_closed(self) -> None:
        if self.sessioncontext == "ESTABLISHED" and self.logged:
            self._request(APP_REQUEST, _CLOSE_SESSION, struct.pack("<I", self.sessionid), retry=False)

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

    # Login, in the order of its packets

    def login(self) -> None:
        """pyghmi's constructor calls it. The first packet waits for ``await_login``."""
        self.logontries = 0
        self._initsession()

    def _initsession(self) -> None:
        super()._initsession()
        self.localsid = next(self._session_ids) << 6 & 0xFFFFFFFF  # pyghmi counts up from here, one per Open Session
        self.ipmiversion = 2.0
        self.request_entry.clear()
        self.pendingpayloads.clear()
        self._proposed.clear()
        self._newest_sequence = None
        self._unanswered = 0
        self._sent_twice = False
        self._begin_step()

    def _got_capabilities(self, data: bytearray) -> None:
        """Whatever it says, a session is tried: some BMCs answer this one wrongly and open sessions well."""
        if data[20] == 0 and len(data) > 24:
            self._says_1_5_only = not (data[22] & 0x80 and data[24] & 0x02)
        self._begin_step()
        self._open_rmcpplus_request()

    def _open_rmcpplus_request(self) -> None:
        """With two suites left, silence is met by proposing the other: some BMCs drop what they do not know."""
        self.attemptedhash = self._hashes[(self._tries - 1) % len(self._hashes)]
        self.rmcptag %= 250
        super()._open_rmcpplus_request()
        self._proposed[self.rmcptag] = (self.attemptedhash, self.localsid, self.currhashlib, self.currhashlen)

    def _got_rmcp_response(self, data: bytearray) -> None:
        """An agreement wins over a refusal, whichever comes first: anybody may have sent the refusal."""
        if self.sessioncontext != "OPENSESSION" or data[0] not in self._proposed:
            return
        tag, status = data[0], data[1]
        suite_hash, session_id, digest, digest_bytes = self._proposed[tag]
        if status == 0:
            if struct.unpack("<I", data[4:8])[0] != session_id or len(data) < 12:
                return
            self.rmcptag, self.localsid, self.attemptedhash = tag, session_id, suite_hash
            self.currhashlib, self.currhashlen = digest, digest_bytes
            self._hashes = (suite_hash,)
            self._begin_step()
            super()._got_rmcp_response(data)
        elif status in codes.RAKP_NO_SLOT:
            self._hold(lambda: self._wait_for_slot(status))
        elif left := tuple(each for each in self._hashes if each != suite_hash):
            self._hashes = left
            if tag == self.rmcptag:
                self._begin_step()
                self._open_rmcpplus_request()
        else:
            self._hold_refusal(
                status,
                "the BMC says that it speaks IPMI 1.5 only and refuses RMCP+ (IPMI 2.0), which is needed"
                if self._says_1_5_only
                else f"the BMC does not accept cipher suite {self._settings.cipher or '17 or 3'} "
                f"({codes.rakp_status_text(status)})",
            )

    def _got_rakp2(self, data: bytearray) -> None:
        if self.sessioncontext != "EXPECTINGRAKP2" or data[0] != self.rmcptag:
            return
        if data[1]:
            self._got_refusal(data[1])
            return
        if self.attemptedhash == _SHA256 and self._settings.cipher is None and len(data) == 60:
            self._hashes = (_SHA1,)  # it agreed to suite 17 and signs with SHA-1 all the same: it speaks suite 3
            self._restart()
            return
        if struct.unpack("<I", data[4:8])[0] != self.localsid:
            return
        if not self._is_signed(data):
            user = codes.shown_name(self._settings.username)
            self._hold(lambda: self._reject_bmc(LoginRefused(f"wrong password for user {user}")))
            return
        self.guid = bytes(data[24:40])
        if self._settings.known is not None and (against := objection(self._settings.known, self.guid)):
            raise BmcRefused(f"{self._settings}: login: {against[0]}", against[1])
        self._begin_step()
        super()._got_rakp2(data)

    def _is_signed(self, data: bytearray) -> bool:
        """Whether a RAKP 2 was made with the password (IPMI 2.0 §13.21). pyghmi gives up for good where it was not."""
        size = self.currhashlib().digest_size
        if len(data) < 40 + size:
            raise ValueError("RAKP 2 is too short")
        who = bytes((self.nameonly | self.privlevel, len(self.userid))) + self.userid
        ids = struct.pack("<II", self.localsid, self.pendingsessionid)
        signed = ids + self.randombytes + bytes(data[8:40]) + who
        expected = hmac.new(self.password, signed, self.currhashlib).digest()
        return hmac.compare_digest(expected, bytes(data[40 : 40 + size]))

    def _got_rakp4(self, data: bytearray) -> None:
        if self.sessioncontext != "EXPECTINGRAKP4" or data[0] != self.rmcptag:
            return
        if data[1]:
            self._got_refusal(data[1])
        else:
            super()._got_rakp4(data)

    def _got_refusal(self, status: int) -> None:
        user = codes.shown_name(self._settings.username)
        level = codes.level_name(self.privlevel)
        if status in codes.RAKP_STALE_SESSION_ID:
            return  # what was sent again met a session that is gone: the timer starts again
        if status in codes.RAKP_NO_SLOT:
            self._hold(lambda: self._wait_for_slot(status))
        elif status in codes.RAKP_NOT_WITH_THIS_PRIVILEGE and self._may_give_way():
            self.privlevel = Privilege.OPERATOR
            self._restart()
        elif status == 0x0D:
            self._hold_refusal(status, f"unknown user {user}, or not allowed in as {level}")
        elif status in codes.RAKP_NOT_WITH_THIS_PRIVILEGE:
            self._hold_refusal(status, f"privilege level {level} is not granted to user {user}")
        elif status == 0x0F:
            self._hold_refusal(status, f"wrong password for user {user}")
        else:
            self._hold_refusal(status, f"refused for user {user}: {codes.rakp_status_text(status)}")

    def _hold_refusal(self, status: int, reason: str) -> None:
        if status in codes.RAKP_FINAL:
            self._hold(lambda: self._refuse_login(LoginRefused(reason)))
        else:
            self._hold(lambda: self._refuse_login(BmcUnreachable(f"{self._settings}: login: {reason}")))

    def _refuse_login(self, error: Exception) -> None:
        """What was sent twice may have been refused for that: then once more from the beginning."""
        if not self._sent_twice:
            raise error
        self._restart()

    def _reject_bmc(self, error: Exception) -> None:
        """RAKP 2 was not made with our password. RAKP 3 tells the BMC so (IPMI 2.0 §13.22), or it keeps a session slot
        for this login until its own timer ends, 20 s and more: too few would be left for who knows the password.
        """
        refusal = struct.pack("<BBHI", self.rmcptag + 1, _INVALID_INTEGRITY_CHECK_VALUE, 0, self.pendingsessionid)
        self.lastpayload = None  # else pyghmi queues the new one behind it
        self.send_payload(refusal, _RAKP_3, retry=False)
        self._refuse_login(error)

    def _may_give_way(self) -> bool:
        return self.autopriv and self.privlevel == Privilege.ADMINISTRATOR

    def _wait_for_slot(self, status: int) -> None:
        self._no_slot_answers += 1
        if self._no_slot_answers >= _NO_SLOT_TRIES:
            raise BmcUnreachable(f"{self._settings}: login: the BMC lets nobody in: {codes.rakp_status_text(status)}")
        self._sleep(_NO_SLOT_PAUSE_S)
        self._restart()

    def onlogon(self, parameter: dict[str, Any]) -> None:
        """pyghmi reports here what it found wrong in a RAKP message: only RAKP 4 is left to it."""
        if "error" in parameter:
            self._hold(lambda: self._refuse_login(LoginRefused("wrong Kg (BMC key)")))

    def _req_priv_level(self) -> None:
        self.logged = 1
        self._begin_step()
        self._ask_privilege()

    def _ask_privilege(self) -> None:
        self._handle = self._got_privilege
        self._request(APP_REQUEST, _SET_SESSION_PRIVILEGE, bytes((self.privlevel,)))

    def _got_privilege(self, response: dict[str, Any]) -> None:
        """A BMC that starts refuses for some seconds, with one code or another: asked again, at times in a new session,
        since some take a user's privilege from the moment of the login."""
        code = response["code"]
        if code == 0:
            self._ready = True
            self._malformed_answers = 0
            self._expires_at = None
            return
        if code in codes.PRIVILEGE and self._may_give_way():
            self.privlevel = Privilege.OPERATOR
            self._req_priv_level()
            return
        self._privilege_refusals += 1
        level, user = codes.level_name(self.privlevel), codes.shown_name(self._settings.username)
        if code in codes.PRIVILEGE:
            self._privilege_refused_at = self._privilege_refused_at or self._clock()
            if self._clock() - self._privilege_refused_at >= _PRIVILEGE_REPEATS_S:
                raise BmcRefused(
                    f"{self._settings}: login: privilege level {level} is not granted to user {user} "
                    f"(completion code {code:#04x} for {_PRIVILEGE_REPEATS_S:g} s)"
                )
        elif self._privilege_refusals > _PRIVILEGE_TRIES:
            raise BmcUnreachable(
                f"{self._settings}: login: set session privilege level: refused with {codes.completion_code_text(code)}"
            )
        self._begin_step()
        self._hold(self._restart if self._privilege_refusals % 2 == 0 else self._ask_privilege, _PRIVILEGE_PAUSE_S)

    # Receiving

    def _ask_in_session(self) -> None:
        """The BMC is silent in the open session."""
        raise NotImplementedError

    def _heard_outside(self) -> None:
        """Beside the open session, a question outside of it was answered."""
        raise NotImplementedError

    def _take(self, sender: int, data: bytearray) -> None:
        """One packet. Nothing is believed of it, and nothing kept, before it is authenticated or matches a question."""
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
        """Anybody may have sent this: it counts once for each question, and at most has the BMC asked again."""
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
