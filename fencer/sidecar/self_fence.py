# SPDX-License-Identifier: Apache-2.0
"""Resets this machine at once: no sync, no unmount, no driver's shutdown; the watchdog stays armed.

reboot(2) calls every device's shutdown, and a disk's flushes its cache: on a lost disk that may wait for ever. sysrq
``b`` calls none (kernel/reboot.c, emergency_restart). reboot(2) is tried when sysrq fails.
"""

import contextlib
import ctypes
import os

_RB_AUTOBOOT = 0x01234567
_SYSRQ = "/proc/sysrq-trigger"
_KERNEL_LOG, _CONSOLE = "/dev/kmsg", "/dev/console"


class Reset:
    """Holds all descriptors and functions ready, so that the reset needs no disk."""

    def __init__(self, kernel_log: str = _KERNEL_LOG, console: str = _CONSOLE) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._reboot = self._libc.reboot
        self._sysrq = _open(_SYSRQ)
        self._kernel_log = _open(kernel_log)
        self._console = _open(console)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why parts of the reset could not be prepared, one sentence each."""
        return () if self._sysrq is not None else (f"{_SYSRQ} cannot be opened: reboot(2) is all there is",)

    def say(self, text: str) -> None:
        """Writes to the kernel's log, whose emergencies every console shows, else to the console. Does not wait."""
        line = f"halvm-watchdogd: {text[:700]}"
        if not _write(self._kernel_log, f"<0>{line}\n".encode()):
            _write(self._console, f"\r\n{line}\r\n".encode())

    def now(self) -> None:
        """Resets the machine. Returns only when that failed; then the watchdog resets it."""
        if self._sysrq is not None:
            with contextlib.suppress(OSError):
                os.write(self._sysrq, b"b")
        self._reboot(ctypes.c_int(_RB_AUTOBOOT))


class NoReset:
    """Resets nothing, as the configuration says."""

    def say(self, text: str) -> None:
        """Does nothing: the sentence is in the log already."""

    def now(self) -> None:
        """Does nothing."""


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
