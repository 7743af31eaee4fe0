# SPDX-License-Identifier: Apache-2.0
"""The login of an RMCP+ session, step by step (IPMI 2.0 §13.15 to §13.24).

What differs from pyghmi 1.6, beside fencer.power.ipmi_packets (docs/decisions/0013 says why):

- the login is flat. pyghmi sets the privilege from inside its packet handler; an answer lost there stalls it for good;
- no number is used twice (local session id, tag, request sequence), so that a late answer to an abandoned attempt can
  not be taken for a wrong answer to this one;
- a refusal that is not authenticated decides nothing while a better answer may still come, and the caller has to hear
  it again on a new socket (``LoginRefused``).
"""

import hmac
import itertools
import os
import struct
import time
from collections.abc import Callable

from fencer._typing import TYPE_CHECKING, Any
from fencer.errors import BmcRefused, BmcUnreachable
from fencer.model import BmcSettings, Privilege
from fencer.power import ipmi_codes as codes
from fencer.power.identity import objection
from fencer.power.ipmi_packets import APP_REQUEST, LONGEST_PATIENCE_S, Datagrams, PacketSession

if TYPE_CHECKING:
    from hashlib import _Hash

_RESTART_GROWTH = 1.1
_PRIVILEGE_TRIES = 4
_PRIVILEGE_PAUSE_S = 0.5
_PRIVILEGE_REPEATS_S = 8.0
"""How long a privilege has to be refused until that is believed: a BMC that starts refuses what it grants later."""
_NO_SLOT_PAUSE_S = 0.5
_NO_SLOT_TRIES = 5

_SHA1, _SHA256 = 1, 256  # pyghmi's words for cipher suites 3 and 17 (IPMI 2.0 table 22-20)
_HASHES_OF_CIPHER = {None: (_SHA256, _SHA1), 3: (_SHA1,), 17: (_SHA256,)}

_SET_SESSION_PRIVILEGE, _CLOSE_SESSION = 0x3B, 0x3C

_RAKP_3 = 0x14  # payload type, IPMI 2.0 table 13-16
_INVALID_INTEGRITY_CHECK_VALUE = 0x0F  # IPMI 2.0 table 13-15
_TRIES_AT_1_5 = 8


class LoginRefused(Exception):
    """The login was refused, by the BMC or by a forged packet: a login is authenticated only at its end."""


class LoginSession(PacketSession):
    """One RMCP+ session up to its privilege level. fencer.power.ipmi_session sends the requests in it.

    Open Session is always sent afresh; RAKP 1 and RAKP 3 are sent again once, then the login starts again from Open
    Session, because BMCs differ in what they do with a second RAKP.
    """

    def __init__(
        self,
        settings: BmcSettings,
        datagrams: Datagrams,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.guid = b""
        self._hashes = _HASHES_OF_CIPHER[settings.cipher]
        self._proposed: dict[int, tuple[int, int, Callable[..., _Hash], int]] = {}
        self._session_ids = itertools.count(int.from_bytes(os.urandom(3), "little"))
        self._says_1_5_only = False
        self._no_slot_answers = 0
        self._privilege_refused_at: float | None = None
        self._privilege_refusals = 0
        super().__init__(settings, datagrams, self._got_privilege, clock, sleep)

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

    # A silent BMC

    def _ask_again(self) -> None:
        if self.sessioncontext is None:
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

    # Login, in the order of its packets

    def login(self) -> None:
        """pyghmi's constructor calls it. The first packet waits for ``await_login``."""
        self.logontries = 0
        self._initsession()

    def _initsession(self) -> None:
        super()._initsession()
        self.localsid = next(self._session_ids) << 6 & 0xFFFFFFFF  # pyghmi counts up from here, one per Open Session
        self._proposed.clear()
        self._sent_twice = False

    def _got_capabilities(self, data: bytearray) -> None:
        """Tries a session, whatever the answer was: some BMCs answer wrongly and open sessions well."""
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
        """An agreement wins over a refusal, whichever comes first: the refusal may be forged."""
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
            raise BmcUnreachable(
                f"{self._settings}: login: the BMC refuses all logins: {codes.rakp_status_text(status)}"
            )
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
