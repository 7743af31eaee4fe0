# SPDX-License-Identifier: Apache-2.0
"""Chassis power by IPMI over LAN (RMCP+), on pyghmi's session.

pyghmi is imported in ``open``, thus only in the expendable child that talks to a BMC.
"""

import contextlib
import time
from collections.abc import Callable

from fencer._typing import TYPE_CHECKING
from fencer.errors import BmcRefused, BmcUnreachable, CommandRefused, PowerError, UsageError
from fencer.model import BmcSettings, ChassisCommand, PowerState, Privilege
from fencer.observations import BmcIdentified, BmcNotReached
from fencer.power import ipmi_codes as codes
from fencer.power.chassis import always
from fencer.power.identity import tells_apart

if TYPE_CHECKING:
    from fencer.power.ipmi_packets import Datagrams
    from fencer.power.ipmi_session import PatientSession
    from fencer.power.udp import Address

_CHASSIS, _APP = 0x00, 0x06  # network functions, IPMI 2.0 table 5-1
_GET_CHASSIS_STATUS = 0x01
_CHASSIS_CONTROL = 0x02
_GET_DEVICE_ID = 0x01

_MAX_USERNAME_BYTES = 16  # IPMI 2.0 §13.20, RAKP message 1
_MAX_PASSWORD_BYTES = 20  # IPMI 2.0 §22.30
_MAX_KG_BYTES = 20  # IPMI 2.0 §22.25

_FIRST_SUITE = 17  # is proposed first
_BUSY_TRIES = 5
_BUSY_PAUSE_S = 0.25
_PRIVILEGE_REPEATS_S = 8.0
"""How long a command has to be refused for want of privilege until that is believed: a BMC that starts refuses, too."""
_PRIVILEGE_PAUSE_S = 0.5
_REFUSED_PAUSE_S = 0.2


class IpmiChassisPower:
    """One session with one BMC (``ChassisPower``).

    For an expendable child process: no method has a deadline of its own, silence is met with patience until the
    parent kills the child. The constructor raises UsageError for credentials that IPMI can not carry.
    """

    def __init__(
        self,
        settings: BmcSettings,
        connect: "Callable[[BmcSettings], Datagrams] | None" = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[BmcIdentified | BmcNotReached], None] = lambda _: None,
    ) -> None:
        """connect: makes what carries the packets of one login; None: a new UDP socket.

        tell: who has let us in, or why packets do not reach it, each reason once.
        """
        for option, value, limit in (
            ("username", settings.username, _MAX_USERNAME_BYTES),
            ("password", settings.password.reveal, _MAX_PASSWORD_BYTES),
            ("Kg", settings.kg.reveal if settings.kg else b"", _MAX_KG_BYTES),
        ):
            if len(value) > limit:
                raise UsageError(f"{settings}: {option}: {len(value)} bytes given, IPMI 2.0 allows at most {limit}")
        if settings.cipher not in (None, 3, 17):
            raise UsageError(f"{settings}: cipher: suite {settings.cipher} is not supported: give 3 or 17")
        self._settings = settings
        self._connect = connect or self._new_socket
        self._clock = clock
        self._sleep = sleep
        self._tell = tell
        self._guid = b""
        self._told: set[str] = set()
        self._addresses: tuple[Address, ...] = ()
        self._datagrams: Datagrams | None = None
        self._session: PatientSession | None = None

    @property
    def name(self) -> str:
        """The BMC as messages name it."""
        return str(self._settings)

    def open(self) -> None:
        """Logs in (IPMI 2.0 §13.15 to §13.22): five round trips, six where suite 17 was proposed and refused.

        Nothing of a login is authenticated before its end, so a refusal is believed when the same one comes again on
        a new socket.
        """
        from fencer.power.ipmi_login import LoginRefused  # costs 40 ms

        refusal = ""
        while True:
            try:
                self._log_in()
            except LoginRefused as refused:
                self.close()
                if str(refused) == refusal:
                    raise BmcRefused(f"{self._settings}: login: {refused}") from refused
                refusal = str(refused)
                self._sleep(_REFUSED_PAUSE_S)
            except (BmcRefused, BmcUnreachable):
                self.close()
                raise
            except OSError as error:
                self.close()
                raise BmcUnreachable(f"{self._settings}: {error.strerror or error}") from error
            except Exception as error:  # pyghmi may raise any; it ends as a failure, never as a state
                self.close()
                raise self._unforeseen("login", error) from error
            else:
                return

    def _log_in(self) -> None:
        from fencer.power.ipmi_session import PatientSession

        self._datagrams = self._connect(self._settings)
        self._session = PatientSession(self._settings, self._datagrams, self._clock, self._sleep)
        self._session.await_login()
        self._guid = self._session.guid
        fell_back = self._settings.cipher is None and self._session.suite != _FIRST_SUITE
        self._tell(BmcIdentified(self._guid, self._session.suite, fell_back))

    def _new_socket(self, settings: BmcSettings) -> "Datagrams":
        import _socket as socket  # as in fencer.power.udp

        from fencer.power.udp import BmcDatagrams, resolve

        if not self._addresses:
            try:
                self._addresses = resolve(settings.address, settings.port)
            except socket.gaierror as error:
                if error.errno == socket.EAI_NONAME:
                    raise BmcRefused(f"{settings}: there is no host of this name", "correct ip=") from error
                raise
        return BmcDatagrams(self._addresses, self._failed)

    def _failed(self, error: OSError) -> None:
        from fencer.power.udp import reason_of

        reason = reason_of(error, self._settings.port)
        if reason and reason not in self._told:
            self._told.add(reason)
            self._tell(BmcNotReached(reason))

    def state(self) -> PowerState:
        """Get Chassis Status, IPMI 2.0 §28.2."""
        data = self._transact("get chassis status", _CHASSIS, _GET_CHASSIS_STATUS, b"")
        if len(data) < 3:
            raise BmcUnreachable(f"{self._settings}: get chassis status: the answer does not decode")
        return PowerState.ON if data[0] & 1 else PowerState.OFF

    def control(self, command: ChassisCommand, may_send: Callable[[], bool]) -> None:
        """Chassis Control, IPMI 2.0 §28.3."""
        operation = f"chassis power {command.name.lower()}"
        self._transact(operation, _CHASSIS, _CHASSIS_CONTROL, bytes((command,)), may_send)

    def starting(self) -> bool:
        """The device available bit of Get Device ID, IPMI 2.0 §20.1: set while the controller initialises itself."""
        data = self._transact("get device id", _APP, _GET_DEVICE_ID, b"")
        if len(data) < 3:
            raise BmcUnreachable(f"{self._settings}: get device id: the answer does not decode")
        return bool(data[2] & 0x80)

    def has_identity(self) -> bool:
        """Whether its GUID tells it from other BMCs (fencer.power.identity)."""
        return tells_apart(self._guid)

    def close(self) -> None:
        """Sends Close Session (IPMI 2.0 §22.19) and does not wait for the answer."""
        session, self._session = self._session, None
        datagrams, self._datagrams = self._datagrams, None
        with contextlib.suppress(Exception):  # a courtesy that must not hide what happened before
            if session is not None:
                session.close()
        if datagrams is not None:
            datagrams.close()

    def _transact(
        self, operation: str, netfn: int, command: int, data: bytes, may_send: Callable[[], bool] = always
    ) -> bytes:
        """One request, asked again while the BMC is busy.

        Raises CommandRefused, or BmcRefused for want of privilege.
        """
        privilege_refused_at: float | None = None
        tries = 0
        while True:
            code, answer = self._ask(operation, netfn, command, data, may_send)
            if code == 0:
                return answer
            where = (
                "" if self._settings.bridge_address is None else f" (bridged to {self._settings.bridge_address:#04x})"
            )
            reason = f"{self._settings}: {operation}{where}: refused with {codes.completion_code_text(code)}"
            if code == codes.INSUFFICIENT_PRIVILEGE:
                privilege_refused_at = privilege_refused_at or self._clock()
                asked_for = self._settings.privilege or Privilege.ADMINISTRATOR
                repeated = self._clock() - privilege_refused_at >= _PRIVILEGE_REPEATS_S
                if repeated or asked_for < Privilege.OPERATOR:  # who asks for less is refused for good
                    raise BmcRefused(reason)
                self._sleep(_PRIVILEGE_PAUSE_S)
                continue
            tries += 1
            if code in codes.UNSUPPORTED or tries >= _BUSY_TRIES:
                raise CommandRefused(reason)
            self._sleep(_BUSY_PAUSE_S)

    def _ask(
        self, operation: str, netfn: int, command: int, data: bytes, may_send: Callable[[], bool]
    ) -> tuple[int, bytes]:
        if self._session is None:
            raise BmcUnreachable(f"{self._settings}: {operation}: no session")
        try:
            return self._session.transact(netfn, command, data, self._settings.bridge_address, may_send)
        except PowerError:
            raise
        except Exception as error:  # as in open
            raise self._unforeseen(operation, error) from error

    def _unforeseen(self, operation: str, error: Exception) -> BmcUnreachable:
        """The error for an unexpected one of pyghmi. It names its class: its text may quote arguments, or be empty."""
        return BmcUnreachable(f"{self._settings}: {operation}: failed unexpectedly ({type(error).__name__})")
