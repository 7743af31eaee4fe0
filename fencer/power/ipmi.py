"""Chassis power by IPMI over LAN (RMCP+), on pyghmi's session.

pyghmi is imported in ``open``, thus only in the expendable child that talks to a BMC.
"""

import contextlib
import time
from typing import TYPE_CHECKING

from fencer.errors import BmcRefused, BmcUnreachable, UsageError
from fencer.model import BmcSettings
from fencer.power.chassis import ChassisCommand, PowerState
from fencer.power.ipmi_codes import PASSING, STATE_DEPENDENT, completion_code_text

if TYPE_CHECKING:
    from fencer.power.ipmi_session import PatientSession

_CHASSIS = 0x00  # network function, IPMI 2.0 table 5-1
_GET_CHASSIS_STATUS = 0x01
_CHASSIS_CONTROL = 0x02

_MAX_USERNAME_BYTES = 16  # IPMI 2.0 §13.20, RAKP message 1
_MAX_PASSWORD_BYTES = 20  # IPMI 2.0 §22.30
_MAX_KG_BYTES = 20  # IPMI 2.0 §22.25

_BUSY_TRIES = 5
_BUSY_PAUSE_S = 0.25


class IpmiChassisPower:
    """One session with one BMC (``ChassisPower``).

    For an expendable child process: no method has a deadline of its own, silence is met with patience until the
    parent kills the child, and pyghmi's module state is changed for good. The constructor raises UsageError for
    credentials that IPMI can not carry.
    """

    def __init__(self, settings: BmcSettings) -> None:
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
        self._session: PatientSession | None = None

    def open(self) -> None:
        """Logs in (IPMI 2.0 §13.15 to §13.22): five round trips, six where suite 17 was proposed and refused."""
        from fencer.power.ipmi_session import PatientSession, do_without_thread  # costs 40 ms

        do_without_thread()
        try:
            self._session = PatientSession(self._settings)
            self._session.await_login()
        except (BmcRefused, BmcUnreachable):
            self.close()
            raise
        except OSError as error:  # socket.gaierror is one
            raise BmcUnreachable(f"{self._settings}: {error.strerror or error}") from error
        except Exception as error:
            raise self._unforeseen("login", error) from error

    def state(self) -> PowerState:
        """Get Chassis Status, IPMI 2.0 §28.2."""
        data = self._transact("get chassis status", _GET_CHASSIS_STATUS, b"")
        if len(data) < 3:
            raise BmcUnreachable(f"{self._settings}: get chassis status: the answer does not decode")
        return PowerState.ON if data[0] & 1 else PowerState.OFF

    def control(self, command: ChassisCommand) -> None:
        """Chassis Control, IPMI 2.0 §28.3."""
        self._transact(f"chassis power {command.name.lower()}", _CHASSIS_CONTROL, bytes((command,)))

    def close(self) -> None:
        """Sends Close Session (IPMI 2.0 §22.19) and goes; the datagram is the kernel's when this returns."""
        session, self._session = self._session, None
        if session is None:
            return
        with contextlib.suppress(Exception):  # a courtesy that must not hide what happened before
            session.close()

    def _transact(self, operation: str, command: int, data: bytes) -> bytes:
        if self._session is None:
            raise BmcUnreachable(f"{self._settings}: {operation}: no session")
        for attempt in range(_BUSY_TRIES):
            if attempt:
                time.sleep(_BUSY_PAUSE_S)
            try:
                code, answer = self._session.transact(_CHASSIS, command, data, self._settings.bridge_address)
            except (BmcRefused, BmcUnreachable):
                raise
            except Exception as error:
                raise self._unforeseen(operation, error) from error
            if code == 0:
                return answer
            if code not in PASSING and code != STATE_DEPENDENT:
                break
        where = "" if self._settings.bridge_address is None else f" (bridged to {self._settings.bridge_address:#04x})"
        reason = f"{self._settings}: {operation}{where}: refused with {completion_code_text(code)}"
        if code in PASSING:
            raise BmcUnreachable(reason)
        raise BmcRefused(reason)

    def _unforeseen(self, operation: str, error: Exception) -> BmcUnreachable:
        """pyghmi's errors may have no text at all, or quote their arguments: only the kind is told on."""
        return BmcUnreachable(f"{self._settings}: {operation}: failed unexpectedly ({type(error).__name__})")
