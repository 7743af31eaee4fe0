"""A watchdog device: what the feeding loop asks of it, and which one of several to take.

Once armed it resets the machine unless it is fed in time. Nothing disarms it but an orderly stop; closing the device in
any other way feeds it once more (Linux watchdog_release), so whoever fences itself stops feeding and keeps it open.
"""

from collections.abc import Iterable

from fencer.errors import WatchdogError
from fencer.light_typing import NamedTuple, Protocol

AUTO = "auto"
NONE = "none"
LEGACY_DEVICE = "/dev/watchdog"
"""Where drivers outside the kernel's watchdog core are, and nowhere in sysfs (ipmi_watchdog up to 6.x)."""

_SOFTWARE = "software watchdog"


class Support(NamedTuple):
    """What a device says of itself. timeout_s: as read back. reset_last_boot: it caused this boot (WDIOF_CARDRESET)."""

    device: str
    identity: str
    timeout_s: float
    nowayout: bool
    reset_last_boot: bool


class Watchdog(Protocol):
    """An armed watchdog."""

    @property
    def support(self) -> Support:
        """Fixed from when it was armed."""

    @property
    def armed(self) -> bool:
        """True when silence resets this machine."""

    def keepalive(self) -> None:
        """Feeds it. Raises WatchdogError when the device did not take it."""

    def disarm(self) -> bool:
        """The orderly stop. False when the device goes on ticking (nowayout)."""


class Candidate(NamedTuple):
    """A device in /sys/class/watchdog."""

    device: str
    identity: str
    nowayout: bool
    reset_last_boot: bool

    @property
    def software(self) -> bool:
        """It counts in the kernel, so a kernel that is stuck is not reset by it."""
        return _SOFTWARE in self.identity.lower()


def choose(configured: str, candidates: Iterable[Candidate], legacy_exists: bool) -> Candidate:
    """The device to arm: the configured one, or for ``auto`` the first hardware one, else a software one.

    Raises WatchdogError, which says what to do, when there is none.
    """
    known = tuple(candidates)
    if configured == AUTO:
        for candidate in sorted(known, key=lambda each: (each.software, len(each.device), each.device)):
            return candidate
        if legacy_exists:
            return Candidate(LEGACY_DEVICE, "", nowayout=False, reset_last_boot=False)
        raise WatchdogError(
            "watchdog: this machine has no watchdog device: load the driver of its hardware watchdog, or softdog"
        )
    for candidate in known:
        if candidate.device == configured:
            return candidate
    return Candidate(configured, "", nowayout=False, reset_last_boot=False)


class NoWatchdog:
    """``watchdog = "none"``: for trying things out. Nothing resets this machine."""

    armed = False
    support = Support("", "none", 0.0, nowayout=False, reset_last_boot=False)

    def keepalive(self) -> None:
        """Nobody is waiting for it."""

    def disarm(self) -> bool:
        return True
