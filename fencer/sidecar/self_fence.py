"""Resets this machine, hard and at once: no sync, no unmount, no driver asked, the watchdog left ticking.

reboot(2) calls every device's shutdown, and a disk's flushes its cache: on a lost disk that waits for the very thing
that was lost. sysrq ``b`` asks nobody (kernel/reboot.c, emergency_restart). reboot(2) is what is left when it fails.
"""

import contextlib
import ctypes
import os

_RB_AUTOBOOT = 0x01234567
_SYSRQ = "/proc/sysrq-trigger"
_KERNEL_LOG, _CONSOLE = "/dev/kmsg", "/dev/console"


class Reset:
    """All descriptors and functions ready, so that the moment itself needs nothing that could be gone."""

    def __init__(self, kernel_log: str = _KERNEL_LOG, console: str = _CONSOLE) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._reboot = self._libc.reboot
        self._sysrq = _open(_SYSRQ)
        self._kernel_log = _open(kernel_log)
        self._console = _open(console)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not as it should be."""
        return () if self._sysrq is not None else (f"{_SYSRQ} cannot be opened: reboot(2) is all there is",)

    def say(self, text: str) -> None:
        """To the kernel's log, whose emergencies every console shows; to the console where there is no kernel log.
        As far as they take it without waiting."""
        line = f"halvm-watchdogd: {text[:700]}"
        if not _write(self._kernel_log, f"<0>{line}\n".encode()):
            _write(self._console, f"\r\n{line}\r\n".encode())

    def now(self) -> None:
        """Returns only when the machine could not be reset; the watchdog has to do it then."""
        if self._sysrq is not None:
            with contextlib.suppress(OSError):
                os.write(self._sysrq, b"b")
        self._reboot(ctypes.c_int(_RB_AUTOBOOT))


class NoReset:
    """Where the configuration says that this program resets nothing."""

    def say(self, text: str) -> None:
        """The log is told."""

    def now(self) -> None:
        """Nothing."""


def _write(fd: int | None, line: bytes) -> bool:
    if fd is None:
        return False
    try:
        return os.write(fd, line) > 0
    except OSError:
        return False


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
