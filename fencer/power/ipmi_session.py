# SPDX-License-Identifier: Apache-2.0
"""Sends requests in an open RMCP+ session, one at a time, to a BMC that may be slow or gone."""

import time
from collections.abc import Callable

from fencer._typing import Any
from fencer.errors import BmcUnreachable, NotAllowed
from fencer.model import BmcSettings
from fencer.power.chassis import always
from fencer.power.ipmi_login import LoginSession
from fencer.power.ipmi_packets import APP_REQUEST, LONGEST_PATIENCE_S, Datagrams

_RESEND_GROWTH = 1.3
_MOST_UNANSWERED = 5
_SESSION_LOST_ANSWERS = 3
_OUTSIDE_PATIENCE_S = 0.25

_APP_RESPONSE = 7
_GET_DEVICE_ID, _SEND_MESSAGE = 0x01, 0x34


class PatientSession(LoginSession):
    """One RMCP+ session. ``await_login`` sends the first packet.

    A chassis command is not simply repeated: a BMC that takes 15 s to answer would queue every copy and switch off
    again and again, 15 s each. Nor may we wait long: every third packet may be lost. So silence is met with Get Device
    ID, which costs a BMC nothing. BMCs answer in order: when that is answered and the command is not, the command or
    its answer was lost, and only then it is sent again. A slow BMC sees one chassis command, a lossy line costs one
    more round trip.

    A BMC that is gone from the network for a while keeps its session, but takes no packet whose sequence number is 8
    (IPMI 2.0 §6.12.13) or 16 ahead of the last that it saw. So five packets at most go unanswered in the session; then
    it is only asked for its channel authentication capabilities, outside of the session. Each answer to that is
    followed by one more packet in the session. When three of those stay unanswered, the BMC has forgotten the session
    (reset, slot taken), which is BmcUnreachable.
    """

    def __init__(
        self,
        settings: BmcSettings,
        datagrams: Datagrams,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._command: tuple[int, int, bytes] = (0, 0, b"")
        self._bridge: dict[str, int] | None = None
        self._answers: list[dict[str, Any]] = []
        self._may_send: Callable[[], bool] = always
        self._resends = 0
        self._outside_answers = 0
        super().__init__(settings, datagrams, clock, sleep)

    def transact(
        self,
        netfn: int,
        command: int,
        data: bytes,
        bridge_address: int | None,
        may_send: Callable[[], bool] = always,
    ) -> tuple[int, bytes]:
        """Sends one request and blocks until it is answered: completion code and data (IPMI 2.0 §5.2).

        may_send: asked directly before it is sent, each time. Raises NotAllowed where it says no.
        """
        self._may_send = may_send
        self._command = (netfn, command, data)
        self._bridge = None if bridge_address is None else {"addr": bridge_address, "channel": 0}
        self._answers.clear()
        self._resends = 0
        self._outside_answers = 0
        self._questions.clear()
        self.request_entry.clear()  # so that late answers to what was asked before are dropped
        self._handle = self._got_answer
        self._begin_step()
        self._send_command()
        while not self._answers:
            self._turn()
        self._expires_at = None
        answer = self._answers.pop()
        return answer["code"], bytes(answer["data"])

    def _ask_in_session(self) -> None:
        """The BMC is silent in the session."""
        if self._tries >= 3 or self._unanswered >= _MOST_UNANSWERED:
            self._ask_outside()
        if self._unanswered < _MOST_UNANSWERED:
            self._request(APP_REQUEST, _GET_DEVICE_ID)

    def _heard_outside(self) -> None:
        """The BMC is there again, or still: does it know the session?"""
        if self._answers or self._tries < 3:
            return  # late: asked while it was slow
        if self._outside_answers >= _SESSION_LOST_ANSWERS:
            raise BmcUnreachable(f"{self._settings}: the BMC has dropped the session")
        self._outside_answers += 1
        self._request(APP_REQUEST, _GET_DEVICE_ID)
        self._patience_s = max(self._base_patience_s, _OUTSIDE_PATIENCE_S * self._outside_answers)
        self._wait(self._patience_s)

    def _got_answer(self, response: dict[str, Any]) -> None:
        netfn, command, _ = self._command
        self._outside_answers = 0
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
        self._tries = 1
        self._patience_s = min(self._base_patience_s * _RESEND_GROWTH**self._resends, LONGEST_PATIENCE_S)
        self._send_command()

    def _send_command(self) -> None:
        if not self._may_send():
            raise NotAllowed(f"{self._settings}: a command may not be sent now")
        self._request(*self._command, self._bridge)
