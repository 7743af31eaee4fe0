# SPDX-License-Identifier: Apache-2.0
"""Drives a watchdog by Linux's ioctls, and reads sysfs without opening it (opening may arm it).

Source: linux/watchdog.h, Documentation/watchdog/watchdog-api.rst, Documentation/ABI/testing/sysfs-class-watchdog.
"""

import contextlib
import errno
import fcntl
import os
import struct

from fencer.errors import WatchdogError, WatchdogNotYet
from fencer.sidecar.watchdog_device import (
    AUTO,
    LEGACY_DEVICE,
    Candidate,
    Support,
    by_number,
    is_software,
    rank,
    timeout_after_stop,
    why_not_timeout,
    why_not_within,
)

_CLASS = "/sys/class/watchdog"
_LEGACY_CLASS = "/sys/class/misc/watchdog"
_IPMI = "/sys/module/ipmi_watchdog"
_SOFTDOG = "/sys/module/softdog"

_GETSUPPORT = 0x80285700
_GETBOOTSTATUS = 0x80045702
_KEEPALIVE = 0x80045705
_SETTIMEOUT = 0xC0045706
_GETTIMEOUT = 0x80045707

_CARDRESET = 0x0020
_MAGICCLOSE = 0x0100
_ALARMONLY = 0x0400
_CAN_SET_TIMEOUT = 0x0080

_INT = struct.Struct("i")
_INFO = struct.Struct("II32s")  # options, firmware version, identity

_YES, _NO = ("1", "Y"), ("0", "N")


def candidates(directory: str = _CLASS) -> tuple[Candidate, ...]:
    """All devices of the kernel's watchdog core. Nothing is opened but sysfs.

    A kernel without CONFIG_WATCHDOG_SYSFS lists them without attributes: what is missing is unknown.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return ()
    return tuple(_candidate(f"{directory}/{name}", f"/dev/{name}") for name in names)


def _candidate(entry: str, device: str) -> Candidate:
    return Candidate(
        device,
        _attribute(f"{entry}/identity"),
        _yes_or_no(_attribute(f"{entry}/nowayout")),
        bool(_number(_attribute(f"{entry}/bootstatus")) & _CARDRESET),
        _attribute(f"{entry}/dev"),
        _is_physical(entry),
        _number(_attribute(f"{entry}/min_timeout")),
        _number(_attribute(f"{entry}/max_timeout")),
        _number(_attribute(f"{entry}/timeout")),
        _is_settable(_attribute(f"{entry}/options")),
    )


def _is_settable(options: str) -> bool | None:
    return bool(_number(options) & _CAN_SET_TIMEOUT) if options else None


def _is_physical(entry: str) -> bool | None:
    """A device with a parent is hardware. One without may be, as some old drivers name none: only where softdog is not
    loaded it must be."""
    if os.path.exists(f"{entry}/device"):
        return True
    return None if os.path.exists(_SOFTDOG) or not os.path.islink(entry) else True


def legacy() -> bool | Candidate:
    """Whether there is a /dev/watchdog; as a Candidate where it belongs to a driver outside the kernel's core.

    The core takes the old name for its device 0. Where there is no device 0, another driver has it (drivers/watchdog/
    watchdog_core.c registers from 1 then).
    """
    if not os.path.exists(LEGACY_DEVICE):
        return False
    if os.path.exists(f"{_CLASS}/watchdog0") or not os.path.exists(_LEGACY_CLASS):
        return True
    if not os.path.exists(_IPMI):
        return Candidate(LEGACY_DEVICE, "", None, False, physical=True)
    nowayout = _yes_or_no(_attribute(f"{_IPMI}/parameters/nowayout"))
    return Candidate(LEGACY_DEVICE, "IPMI", nowayout, False, physical=True)


def ranked(configured: str) -> tuple[Candidate, ...]:
    """The devices to try, best first, with what sysfs says of them. Empty: there is none."""
    known = candidates()
    found = rank(configured, known, legacy())
    if configured == AUTO or found[0] in known:
        return found
    return (by_number(configured, _device_number(configured), known) or found[0],)


def _device_number(path: str) -> str:
    try:
        number = os.stat(path).st_rdev
    except OSError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}"


def is_there(device: str) -> bool:
    """Whether there is such a device file."""
    return os.path.exists(device)


def no_device(configured: str) -> str:
    """The sentence for a missing device."""
    if configured == AUTO:
        return "watchdog: this machine has no watchdog device: load the driver of its hardware watchdog, or softdog"
    return f"watchdog: there is no {configured}: load its driver, or give another device"


def open_best(configured: str, timeout_s: int, shutdown_timeout_s: int = 0) -> "LinuxWatchdog":
    """Opens the best device that can be had and takes the timeout, or the configured one. From here on it ticks.

    Raises WatchdogNotYet when none is there, or all are in use; WatchdogError when none does what is asked.
    """
    complaints: list[WatchdogError] = []
    for candidate in ranked(configured):
        if reason := why_not_within(candidate, timeout_s):
            complaints.append(WatchdogError(reason))
            continue
        try:
            watchdog = LinuxWatchdog(candidate, timeout_s, shutdown_timeout_s)
        except WatchdogError as error:
            complaints.append(error)
            continue
        reason = why_not_timeout(candidate.device, timeout_s, watchdog.support.timeout_s)
        if reason and watchdog.support.nowayout is False:
            watchdog.disarm()
            complaints.append(WatchdogError(reason))
            continue
        # What may not be disarmed any more is fed, whatever its timeout: the bound that is published is the real one.
        told = (*map(str, complaints), *((reason,) if reason else ()))
        watchdog.support = watchdog.support._replace(complaints=told)
        return watchdog
    if not complaints:
        raise WatchdogNotYet(no_device(configured))
    text = "; ".join(map(str, complaints))
    later = [error for error in complaints if isinstance(error, WatchdogNotYet)]
    if later:
        raise WatchdogNotYet(text, restart=any(error.restart for error in later))
    raise WatchdogError(text)


class LinuxWatchdog:
    """An open, armed device. Its descriptor is closed by ``disarm`` alone, or by the kernel when the process ends."""

    armed = True

    def __init__(self, candidate: Candidate, timeout_s: int, shutdown_timeout_s: int = 0) -> None:
        """Opens, identifies, sets the timeout and reads it back: from here on it ticks.

        A device that cannot take the timeout keeps its own; the caller judges what was read back. shutdown_timeout_s:
        what an orderly stop leaves to a device that may not be disarmed, 0 to leave it as it is. Raises WatchdogNotYet
        when another process has it or it is not there, WatchdogError when it is no watchdog, or one that only alarms.
        """
        self._path = candidate.device
        self._shutdown_timeout_s = shutdown_timeout_s
        self._longest_s = candidate.max_s
        self._nowayout = candidate.nowayout
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _why_not_open(self._path, error) from error
        try:
            options, _, identity = _INFO.unpack(fcntl.ioctl(self._descriptor, _GETSUPPORT, bytes(_INFO.size)))
            if options & _ALARMONLY:
                raise WatchdogError(f"{self._path}: this device only alarms and resets nothing: name another one")
            actual_s = self._set_timeout(timeout_s)
            status = self._boot_status()
        except OSError as error:
            self.disarm()
            if error.errno in _FOR_NOW:
                raise _not_now(self._path, error) from error
            raise WatchdogError(f"{self._path}: {error.strerror}: name a watchdog device") from error
        except WatchdogError:
            self.disarm()
            raise
        told = identity.rstrip(b"\0").decode("ascii", "replace") or candidate.identity
        self.support = Support(
            self._path,
            told,
            float(actual_s),
            self._nowayout,
            candidate.reset_last_boot or bool(status & _CARDRESET),
            is_software(told, candidate.physical),
            float(timeout_s),
        )

    def keepalive(self) -> None:
        try:
            fcntl.ioctl(self._descriptor, _KEEPALIVE, 0)
        except OSError as error:
            raise WatchdogError(f"{self._path}: keepalive: {error.strerror}") from error

    def disarm(self) -> bool | None:
        """Magic close. A device without it is stopped by any close. One that cannot or may not be disarmed gets the
        shutdown timeout first, so that the rest of an orderly shutdown has time."""
        try:
            if self._nowayout is not False:
                self._give_time()
            os.write(self._descriptor, b"V")
            os.close(self._descriptor)
        except OSError:
            return False
        return None if self._nowayout is None else not self._nowayout

    def _give_time(self) -> None:
        if not (hasattr(self, "support") and self._shutdown_timeout_s):
            return
        with contextlib.suppress(OSError):
            left_s = timeout_after_stop(self._shutdown_timeout_s, self._longest_s, int(self.support.timeout_s))
            actual_s = self._set_timeout(left_s)
            fcntl.ioctl(self._descriptor, _KEEPALIVE, 0)
            self.support = self.support._replace(timeout_s=float(actual_s))

    def _set_timeout(self, timeout_s: int) -> int:
        """What it has then."""
        with contextlib.suppress(OSError):  # not asked whether it can: ipmi_watchdog says no, and does
            self._ioctl(_SETTIMEOUT, timeout_s)
        return self._ioctl(_GETTIMEOUT, 0)

    def _ioctl(self, request: int, value: int) -> int:
        answer: int = _INT.unpack(fcntl.ioctl(self._descriptor, request, _INT.pack(value)))[0]
        return answer

    def _boot_status(self) -> int:
        try:
            return self._ioctl(_GETBOOTSTATUS, 0)
        except OSError:  # not every driver knows
            return 0


def _why_not_open(path: str, error: OSError) -> WatchdogError:
    match error.errno:
        case errno.EBUSY:
            from fencer.sidecar.watchdog_holders import who_has  # only where it is needed

            return WatchdogNotYet(f"{path}: {who_has(path)}")
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return WatchdogNotYet(f"{path}: there is no such watchdog: load its driver, or name another device")
        case errno.EPERM if os.geteuid() == 0:
            # systemd has closed it to this service: its driver was loaded after the start (DeviceAllow).
            return WatchdogNotYet(f"{path}: {error.strerror}: its driver came after this service", restart=True)
        case number if number in _FOR_NOW:
            return _not_now(path, error)
        case _:
            return WatchdogError(f"{path}: {error.strerror}: run as root, or name another device")


_FOR_NOW = frozenset(
    (errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR)
)
"""Errors that say nothing of the configuration: the hardware (a BMC behind ipmi_watchdog) or this machine may do better
later. A sidecar that ended for one would not be started again."""


def _not_now(path: str, error: OSError) -> WatchdogNotYet:
    return WatchdogNotYet(f"{path}: {error.strerror}: it is tried again; if it stays so, name another device")


def _attribute(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _yes_or_no(text: str) -> bool | None:
    return True if text in _YES else False if text in _NO else None


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return 0
