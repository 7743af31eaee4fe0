"""pyghmi's RMCP+ session, taught to be quick on a lossy line and patient with a slow BMC.

For one thread in an expendable child process: nothing here has a deadline, the parent kills the child. What differs
from pyghmi 1.6 (each private name used is listed in typings/ and checked by a test):

- no I/O thread: whoever waits, receives. pyghmi's thread loses wakeups and stalls a login by 0.5 to 1 s;
- the login is flat. pyghmi sets the privilege from inside its packet handler; an answer lost there stalls it for good;
- no number is used twice (local session id, tag, request sequence), so that a late answer to an abandoned attempt can
  not be taken for a wrong answer to this one; a refusal is believed only when nothing of the attempt was sent twice;
- a refusal is an exception, raised where it is received.
"""

import itertools
import os
import select
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from pyghmi.ipmi.private import session as pyghmi_session
from pyghmi.ipmi.private.session import Session

from fencer.errors import BmcRefused, BmcUnreachable
from fencer.model import BmcSettings, Privilege
from fencer.power import ipmi_codes as codes

_LONGEST_SLEEP_S = 0.5
_FIRST_PATIENCE_S, _LONGEST_PATIENCE_S = 0.2, 2.0
_STEP_GROWTH = 1.25
_PROBE_GROWTH = 1.1
_RESEND_GROWTH = 1.3
_RESTART_GROWTH = 1.1
_PRIVILEGE_TRIES = 4
_NO_SLOT_PAUSE_S = 0.5
_NO_SLOT_TRIES = 5
_MALFORMED_TRIES = 5
_SESSION_LOST_ANSWERS = 3

_SHA1, _SHA256 = 1, 256  # pyghmi's words for cipher suites 3 and 17 (IPMI 2.0 table 22-20)
_HASHES_OF_CIPHER = {None: (_SHA256, _SHA1), 3: (_SHA1,), 17: (_SHA256,)}

_APP_REQUEST, _APP_RESPONSE = 6, 7
_GET_DEVICE_ID, _SEND_MESSAGE = 0x01, 0x34
_GET_CHANNEL_AUTH_CAPABILITIES = 0x38
_SET_SESSION_PRIVILEGE, _CLOSE_SESSION = 0x3B, 0x3C

_SESSIONLESS_ANSWER_BYTES = 30


def _receive_here(timeout: float, myaddr: object = None, evq: object = None) -> None:  # noqa: ARG001 pyghmi's signature
    """Stands in for pyghmi's ``_io_wait``: waits for a packet in this thread and queues it. Unit: seconds."""
    select.select(pyghmi_session.iosockets, (), (), max(0.0, min(timeout, _LONGEST_SLEEP_S)))
    pyghmi_session._io_graball(pyghmi_session.iosockets, {})


def do_without_thread() -> None:
    """Makes pyghmi receive in the thread that waits. To be called before the first session of a process."""
    pyghmi_session.iothread = object()
    pyghmi_session.iothreadready = True
    pyghmi_session._io_wait = _receive_here
    pyghmi_session._monotonic_time = time.monotonic  # os.times() ticks 10 ms, for which each expired timer would spin


class PatientSession(Session):
    """One RMCP+ session. Made by its constructor up to the first packet; ``await_login`` does the rest.

    Timers. Every packet waits ``patience``: 0.2 s, or twice the slowest exactly measured answer where that is more,
    growing with each try, at most 2 s. *Login*: Open Session is always sent afresh; RAKP 1 and RAKP 3 are sent again
    once, then the login starts again from Open Session, because BMCs differ in what they do with a second RAKP.

    *In the session* a chassis command is not simply repeated: a BMC that takes 15 s to answer would queue every copy
    and switch off again and again, 15 s each. Nor may we wait long: every third packet may be lost. So silence is met
    with Get Device ID, which costs a BMC nothing. BMCs answer in order: when that is answered and the command is not,
    the command or its answer was lost, and only then it is sent again. A slow BMC sees one chassis command, a lossy
    line costs one more round trip. A BMC that has forgotten the session (reset, slot taken) answers sessionless
    questions only: three such answers without one in the session are BmcUnreachable.
    """

    sockaddr: tuple[Any, ...] | None = None

    def __new__(cls, settings: BmcSettings) -> "PatientSession":
        who = settings.username, settings.password.reveal
        return super().__new__(cls, settings.address, *who, settings.port, settings.kg.reveal if settings.kg else None)

    def __init__(self, settings: BmcSettings) -> None:
        """Raises socket.gaierror when the address does not resolve."""
        self._settings = settings
        self._ready = False
        self._hashes = _HASHES_OF_CIPHER[settings.cipher]
        self._session_ids = itertools.count(int.from_bytes(os.urandom(3), "little"))
        self._base_patience_s = _FIRST_PATIENCE_S
        self._no_slot_answers = 0
        self._malformed_answers = 0
        self._generation = 0
        self._sessionless_answers = 0
        self._asked_at: dict[int, float] = {}
        self._bridge: dict[str, int] | None = None
        self._command: tuple[int, int, bytes] = (0, 0, b"")
        self._resends = 0
        self._answers: list[dict[str, Any]] = []
        self._responses: list[dict[str, Any]] = []
        self._handle: Callable[[dict[str, Any]], None] = self._got_channel_auth_cap
        self._begin_step()
        kg = settings.kg.reveal if settings.kg else None
        who = settings.username, settings.password.reveal
        super().__init__(
            settings.address, *who, settings.port, kg, onlogon=lambda _: None, privlevel=settings.privilege
        )

    # What the adapter calls

    def await_login(self) -> None:
        """Blocks until the session is open and its privilege level set."""
        while not self._ready:
            Session.wait_for_rsp(_LONGEST_SLEEP_S)

    def transact(self, netfn: int, command: int, data: bytes, bridge_address: int | None) -> tuple[int, bytes]:
        """Sends one request and blocks until it is answered: completion code and data (IPMI 2.0 §5.2)."""
        self._command = (netfn, command, data)
        self._bridge = None if bridge_address is None else {"addr": bridge_address, "channel": 0}
        self._answers.clear()
        self._resends = 0
        self._sessionless_answers = 0
        self._generation = (self._generation + 1) & 0x3F
        self.request_entry.clear()  # so that late answers to what was asked before are dropped
        self._handle = self._got_answer
        self._begin_step()
        self._request(*self._command, self._bridge)
        while not self._answers:
            Session.wait_for_rsp(_LONGEST_SLEEP_S)
        answer = self._answers.pop()
        return answer["code"], bytes(answer["data"])

    def close(self) -> None:
        """Sends Close Session once, does not wait for the answer, and forgets the session locally."""
        self._tell_closed()
        self.logged = 0
        Session.waiting_sessions.pop(self, None)
        Session.initting_sessions.clear()
        self._ready = False
        if not self.broken:
            self.logout(sessionok=False)

    # Sending and timers

    def _request(
        self, netfn: int, command: int, data: bytes = b"", bridge: dict[str, int] | None = None, retry: bool = True
    ) -> None:
        self.seqlun = (self.seqlun + 1) & 0x3F
        self._asked_at[self.seqlun] = time.monotonic()
        self.lastpayload = None  # else pyghmi queues the new one behind it
        self.ipmicallback = self._responses.append
        self._send_ipmi_net_payload(netfn, command, data, bridge_request=bridge, retry=retry)

    def _begin_step(self) -> None:
        self._tries = 1
        self._patience_s = self._base_patience_s

    def _xmit_packet(self, retry: bool = True, delay_xmit: float | None = None, timeout: float | None = None) -> None:
        super()._xmit_packet(retry, delay_xmit, self._patience_s if timeout is None else timeout)

    def _timedout(self) -> None:
        self._tries += 1
        growth = _PROBE_GROWTH if self._ready else _STEP_GROWTH
        self._patience_s = min(self._patience_s * growth, _LONGEST_PATIENCE_S)
        if self._ready:
            if self._tries % 3 == 0 and self.sockaddr is not None:
                pyghmi_session._io_sendto(self.socket, _sessionless_question(self._generation), self.sockaddr)
            self._request(_APP_REQUEST, _GET_DEVICE_ID)
        elif self.sessioncontext is None:
            self._get_channel_auth_cap()
        elif self.sessioncontext == "OPENSESSION":
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
        self._base_patience_s = min(self._base_patience_s * _RESTART_GROWTH, _LONGEST_PATIENCE_S)
        self._initsession()
        self._open_rmcpplus_request()

    def _tell_closed(self) -> None:
        if self.sessioncontext == "ESTABLISHED" and self.logged:
            self._request(_APP_REQUEST, _CLOSE_SESSION, struct.pack("<I", self.sessionid), retry=False)

    # Login, in the order of its packets

    def _initsession(self) -> None:
        answering_address = self.sockaddr
        super()._initsession()
        self.sockaddr = answering_address  # resolving again could block for seconds
        self.localsid = next(self._session_ids) << 6 & 0xFFFFFFFF  # pyghmi counts up from here, one per Open Session
        self.ipmiversion = 2.0
        self.request_entry.clear()
        self.pendingpayloads.clear()
        self._sent_twice = False
        self._begin_step()

    def _get_channel_auth_cap(self) -> None:
        self.authtype = 0
        self.ipmiversion = 1.5  # the framing of what is outside of a session
        self._handle = self._got_channel_auth_cap
        self._request(_APP_REQUEST, _GET_CHANNEL_AUTH_CAPABILITIES, bytes((0x8E, self.privlevel)))

    def _got_channel_auth_cap(self, response: dict[str, Any]) -> None:
        """An error is no reason to stop: some BMCs answer this one wrongly and open sessions well."""
        data = response["data"]
        if response["code"] == 0 and len(data) > 3 and not (data[1] & 0x80 and data[3] & 0x02):
            raise BmcRefused(f"{self._settings}: login: the BMC speaks IPMI 1.5 only, RMCP+ (IPMI 2.0) is needed")
        self.ipmiversion = 2.0
        self._begin_step()
        self._open_rmcpplus_request()

    def _open_rmcpplus_request(self) -> None:
        """With two suites left, silence is met by proposing the other: some BMCs drop what they do not know."""
        self.attemptedhash = self._hashes[(self._tries - 1) % len(self._hashes)]
        self.rmcptag %= 250
        super()._open_rmcpplus_request()

    def _got_rmcp_response(self, data: bytearray) -> None:
        if self.sessioncontext != "OPENSESSION" or data[0] != self.rmcptag:
            return
        status = data[1]
        if status == 0:
            self._hashes = (self.attemptedhash,)
            self._begin_step()
            super()._got_rmcp_response(data)
        elif status in codes.RAKP_NO_SLOT:
            self._wait_for_slot(status)
        else:
            self._hashes = tuple(each for each in self._hashes if each != self.attemptedhash)
            if not self._hashes:
                raise BmcRefused(
                    f"{self._settings}: login: the BMC does not accept cipher suite "
                    f"{self._settings.cipher or '17 or 3'} ({codes.rakp_status_text(status)})"
                )
            self._begin_step()
            self._open_rmcpplus_request()

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
        self._begin_step()
        super()._got_rakp2(data)

    def _got_rakp4(self, data: bytearray) -> None:
        if self.sessioncontext != "EXPECTINGRAKP4" or data[0] != self.rmcptag:
            return
        if data[1]:
            self._got_refusal(data[1])
            return
        self._begin_step()
        super()._got_rakp4(data)

    def _got_refusal(self, status: int) -> None:
        user = codes.shown_name(self._settings.username)
        level = codes.level_name(self.privlevel)
        if status in codes.RAKP_STALE_SESSION_ID:
            return  # what was sent again met a session that is gone: the timer starts again
        if status in codes.RAKP_NO_SLOT:
            self._wait_for_slot(status)
        elif (
            status in codes.RAKP_NOT_WITH_THIS_PRIVILEGE and self.autopriv and self.privlevel == Privilege.ADMINISTRATOR
        ):
            self.privlevel = Privilege.OPERATOR
            self._restart()
        elif self._sent_twice:
            time.sleep(self._patience_s)
            self._restart()
        elif status == 0x0D:
            raise BmcRefused(f"{self._settings}: login: unknown user {user}, or not allowed in as {level}")
        elif status in codes.RAKP_NOT_WITH_THIS_PRIVILEGE:
            raise BmcRefused(f"{self._settings}: login: privilege level {level} is not granted to user {user}")
        elif status == 0x0F:
            raise BmcRefused(f"{self._settings}: login: wrong password for user {user}")
        else:
            raise BmcRefused(f"{self._settings}: login: refused for user {user}: {codes.rakp_status_text(status)}")

    def _may_give_way(self) -> bool:
        return self.autopriv and self.privlevel == Privilege.ADMINISTRATOR

    def _wait_for_slot(self, status: int) -> None:
        self._no_slot_answers += 1
        if self._no_slot_answers >= _NO_SLOT_TRIES:
            raise BmcUnreachable(f"{self._settings}: login: the BMC lets nobody in: {codes.rakp_status_text(status)}")
        time.sleep(_NO_SLOT_PAUSE_S)
        self._restart()

    def onlogon(self, parameter: dict[str, Any]) -> None:
        """pyghmi reports here what it found wrong in a RAKP message; the state tells which."""
        if "error" not in parameter:
            return
        if self._sent_twice:
            time.sleep(self._patience_s)
            self._restart()
        elif self.sessioncontext == "EXPECTINGRAKP4":
            raise BmcRefused(f"{self._settings}: login: wrong Kg (BMC key)")
        elif self.sessioncontext == "FAILED":
            raise BmcRefused(
                f"{self._settings}: login: wrong password for user {codes.shown_name(self._settings.username)}"
            )
        else:
            raise BmcUnreachable(f"{self._settings}: login: {parameter['error']}")

    def _req_priv_level(self) -> None:
        self.logged = 1
        self._begin_step()
        self._ask_privilege()

    def _ask_privilege(self) -> None:
        self._handle = self._got_privilege
        self._request(_APP_REQUEST, _SET_SESSION_PRIVILEGE, bytes((self.privlevel,)))

    def _got_privilege(self, response: dict[str, Any]) -> None:
        code = response["code"]
        if code == 0:
            self._ready = True
            self.logging = False
        elif self._may_give_way():
            self.privlevel = Privilege.OPERATOR
            self._req_priv_level()
        else:
            raise BmcRefused(
                f"{self._settings}: login: privilege level {codes.level_name(self.privlevel)} is not granted "
                f"to user {codes.shown_name(self._settings.username)} (completion code {code:#04x})"
            )

    # Receiving

    def _got_answer(self, response: dict[str, Any]) -> None:
        netfn, command, _ = self._command
        self._sessionless_answers = 0
        if (response["netfn"], response["command"]) in ((netfn + 1, command), (_APP_RESPONSE, _SEND_MESSAGE)):
            self._answers.append(response)
            self.request_entry.clear()
            return
        # Of many late answers to Get Device ID only the first has the command repeated.
        self.request_entry[:] = [
            (netfn, number, command)
            for netfn, number, command in self.request_entry
            if (netfn, command) != (_APP_RESPONSE, _GET_DEVICE_ID)
        ]
        # Spaced wider each time, for a BMC that answers Get Device ID at once and still works on the command.
        self._resends += 1
        self._patience_s = min(self._base_patience_s * _RESEND_GROWTH**self._resends, _LONGEST_PATIENCE_S)
        self._request(*self._command, self._bridge)

    def _parse_ipmi_payload(self, payload: bytearray) -> int | None:
        asked_at = self._asked_at.pop(payload[4] >> 2, None) if len(payload) >= 7 else None
        if asked_at is not None and not self._ready:
            # The sequence number tells which copy is answered, so this is no guess even on a lossy line.
            twice_s = 2 * (time.monotonic() - asked_at)
            self._base_patience_s = max(self._base_patience_s, min(twice_s, _LONGEST_PATIENCE_S))
        result = super()._parse_ipmi_payload(payload)
        while self._responses:  # not from within pyghmi: when its callback sends, it forgets what was sent
            self._handle(self._responses.pop())
        return result

    def _handle_ipmi_packet(
        self, data: bytearray, sockaddr: tuple[Any, ...] | None = None, qent: Sequence[Any] | None = None
    ) -> int | None:
        if self._ready and len(data) > 4 and data[4] == 0:
            if self._answers or len(data) < _SESSIONLESS_ANSWER_BYTES or data[18] >> 2 != self._generation:
                return None  # late: asked while an earlier command was slow
            self._sessionless_answers += 1
            if self._sessionless_answers >= _SESSION_LOST_ANSWERS:
                raise BmcUnreachable(f"{self._settings}: the BMC has dropped the session")
            return None
        try:
            return super()._handle_ipmi_packet(data, sockaddr=sockaddr, qent=qent)
        except (IndexError, ValueError, struct.error) as error:
            self._malformed_answers += 1
            if self._malformed_answers >= _MALFORMED_TRIES:
                raise BmcUnreachable(f"{self._settings}: the BMC's answers do not decode") from error
            # pyghmi may have stopped the timer before it tripped.
            Session.waiting_sessions.setdefault(self, {"ipmisession": self, "timeout": 0.0})
            return None


def _sessionless_question(number: int) -> bytes:
    """Get Channel Authentication Capabilities outside of any session (IPMI 2.0 §13.6, §22.13)."""
    body = bytes((0x81, number << 2, _GET_CHANNEL_AUTH_CAPABILITIES, 0x8E, Privilege.ADMINISTRATOR))
    checksum = -sum(body) & 0xFF
    return bytes.fromhex("0600ff07 00 00000000 00000000 09 2018c8") + body + bytes((checksum,))
