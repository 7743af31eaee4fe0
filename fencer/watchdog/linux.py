"""The watchdog by Linux's ioctls, and what sysfs knows of it without opening it (opening may arm it).

Source: linux/watchdog.h, Documentation/watchdog/watchdog-api.rst.
"""

import contextlib
import errno
import fcntl
import os
import struct

from fencer.errors import WatchdogError
from fencer.watchdog.device import LEGACY_DEVICE, Candidate, Support

_CLASS = "/sys/class/watchdog"

_GETSUPPORT = 0x80285700
_GETBOOTSTATUS = 0x80045702
_KEEPALIVE = 0x80045705
_SETTIMEOUT = 0xC0045706
_GETTIMEOUT = 0x80045707

_CARDRESET = 0x0020
_MAGICCLOSE = 0x0100
_ALARMONLY = 0x0400

_INT = struct.Struct("i")
_INFO = struct.Struct("II32s")  # options, firmware version, identity


def candidates(directory: str = _CLASS) -> tuple[Candidate, ...]:
    """All devices of the kernel's watchdog core. Nothing is opened but sysfs."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return ()
    return tuple(
        Candidate(
            f"/dev/{name}",
            _attribute(f"{directory}/{name}/identity"),
            _attribute(f"{directory}/{name}/nowayout") == "1",
            bool(_number(_attribute(f"{directory}/{name}/bootstatus")) & _CARDRESET),
        )
        for name in names
    )


def legacy_exists() -> bool:
    """Whether there is a /dev/watchdog."""
    return os.path.exists(LEGACY_DEVICE)


class LinuxWatchdog:
    """An open, armed device. Its descriptor is closed by ``disarm`` alone, or by the kernel when the process ends."""

    armed = True

    def __init__(self, candidate: Candidate, timeout_s: int) -> None:
        """Opens, identifies, sets the timeout and reads it back: from here on it ticks.

        A device that cannot take the timeout keeps its own; the caller judges what was read back. Raises WatchdogError
        when another process has it, or when it is no watchdog, or one that only alarms.
        """
        self._path = candidate.device
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise WatchdogError(_why_not_open(self._path, error)) from error
        try:
            options, _, identity = _INFO.unpack(fcntl.ioctl(self._descriptor, _GETSUPPORT, bytes(_INFO.size)))
            if options & _ALARMONLY:
                raise WatchdogError(f"{self._path}: this device only alarms and resets nothing: name another one")
            self._magic_close = bool(options & _MAGICCLOSE)
            with contextlib.suppress(OSError):  # not asked whether it can: ipmi_watchdog says no, and does
                self._ioctl(_SETTIMEOUT, timeout_s)
            actual_s = self._ioctl(_GETTIMEOUT, 0)
            status = self._boot_status()
        except OSError as error:
            self.disarm()
            raise WatchdogError(f"{self._path}: {error.strerror}: name a watchdog device") from error
        except WatchdogError:
            self.disarm()
            raise
        self.support = Support(
            self._path,
            identity.rstrip(b"\0").decode("ascii", "replace") or candidate.identity,
            float(actual_s),
            candidate.nowayout,
            candidate.reset_last_boot or bool(status & _CARDRESET),
        )

    def keepalive(self) -> None:
        try:
            fcntl.ioctl(self._descriptor, _KEEPALIVE, 0)
        except OSError as error:
            raise WatchdogError(f"{self._path}: keepalive: {error.strerror}") from error

    def disarm(self) -> bool:
        """Magic close. A device without it is stopped by any close."""
        try:
            os.write(self._descriptor, b"V")
            os.close(self._descriptor)
        except OSError:
            return False
        return not (hasattr(self, "support") and self.support.nowayout)

    def _ioctl(self, request: int, value: int) -> int:
        answer: int = _INT.unpack(fcntl.ioctl(self._descriptor, request, _INT.pack(value)))[0]
        return answer

    def _boot_status(self) -> int:
        try:
            return self._ioctl(_GETBOOTSTATUS, 0)
        except OSError:  # not every driver knows
            return 0


def _why_not_open(path: str, error: OSError) -> str:
    match error.errno:
        case errno.EBUSY:
            return (
                f"{path}: another process has it: stop sbd, watchdog(8), or systemd's own use "
                "(RuntimeWatchdogSec in system.conf), or name another device"
            )
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return f"{path}: there is no such watchdog: load its driver, or name another device"
        case _:
            return f"{path}: {error.strerror}: run as root, or name another device"


def _attribute(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return 0
