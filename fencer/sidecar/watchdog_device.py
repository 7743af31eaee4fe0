# SPDX-License-Identifier: Apache-2.0
"""The protocol of a watchdog device, and the choice among several.

Once armed it resets the machine unless it is fed in time. Nothing disarms it but an orderly stop; closing the device in
any other way feeds it once more (Linux watchdog_release), so a node that fences itself stops feeding and keeps it open.
"""

from collections.abc import Iterable

from fencer._typing import NamedTuple, Protocol
from fencer.errors import WatchdogError

AUTO = "auto"
NONE = "none"
LEGACY_DEVICE = "/dev/watchdog"
"""The old name: of the first device of the kernel's watchdog core, or of a driver outside it (ipmi_watchdog, 6.x)."""

_LEGACY_OWNER = "/dev/watchdog0"
_LEGACY_NUMBER = "10:130"  # linux/miscdevice.h, WATCHDOG_MINOR
_SOFTWARE = "software watchdog"

SOFTWARE_MEANS = (
    "this is softdog, counted by software in the kernel: a node whose kernel is stuck is not reset; "
    "no ground for self_fence_bound"
)


class Support(NamedTuple):
    """What an open device reports. timeout_s: as read back. asked_s: as asked, 0 when nothing was.

    nowayout, software: None when it is not known. reset_last_boot: it caused this boot (WDIOF_CARDRESET).
    complaints: what is not as it should be though it is armed: other devices passed over, another timeout than asked.
    """

    device: str
    identity: str
    timeout_s: float
    nowayout: bool | None
    reset_last_boot: bool
    software: bool | None = None
    asked_s: float = 0.0
    complaints: tuple[str, ...] = ()


class Watchdog(Protocol):
    """An armed watchdog."""

    @property
    def support(self) -> Support:
        """What the device reports. It does not change while the device is armed."""

    @property
    def armed(self) -> bool:
        """Whether this machine is reset when the device is not fed."""

    def keepalive(self) -> None:
        """Feeds it. Raises WatchdogError when the device did not take it."""

    def disarm(self) -> bool | None:
        """The orderly stop. False when the device goes on ticking (nowayout); None when that cannot be told."""


class Candidate(NamedTuple):
    """A device that could be armed, as far as sysfs tells. number: ``250:0``, "" when unknown.

    nowayout: None when unknown. physical: it belongs to a piece of hardware; None when unknown.
    min_s, max_s: the timeouts that it takes, 0 when unknown or unlimited. timeout_s: set now, 0 when unknown.
    settable: whether it takes another timeout (WDIOF_SETTIMEOUT); None when unknown.
    """

    device: str
    identity: str
    nowayout: bool | None
    reset_last_boot: bool
    number: str = ""
    physical: bool | None = None
    min_s: int = 0
    max_s: int = 0
    timeout_s: int = 0
    settable: bool | None = None

    @property
    def software(self) -> bool | None:
        """Whether it counts in the kernel, so that a stuck kernel is not reset by it. None when nothing tells."""
        return is_software(self.identity, self.physical)


def is_software(identity: str, physical: bool | None) -> bool | None:
    """By its identity; where it has none, only hardware is known for what it is."""
    if identity:
        return _SOFTWARE in identity.lower()
    return False if physical else None


def rank(configured: str, candidates: Iterable[Candidate], legacy: bool | Candidate) -> tuple[Candidate, ...]:
    """The devices to try, best first: the configured one; for ``auto`` hardware, then unknown ones, then softdog.

    legacy: whether there is a /dev/watchdog; or that device, where it is known to be outside the kernel's core. For
    ``auto`` a software watchdog is only named where there is no other: it never stands in for hardware that is busy.
    """
    known = tuple(candidates)
    outside = legacy if isinstance(legacy, Candidate) else None
    if configured != AUTO:
        return (_configured(configured, known, outside),)
    if outside is not None:
        known = (*known, outside)
    elif legacy and not known:
        known = (Candidate(LEGACY_DEVICE, "", nowayout=None, reset_last_boot=False),)
    merit = {False: 0, None: 1, True: 2}
    ranked = sorted(known, key=lambda each: (merit[each.software], len(each.device), each.device))
    better = tuple(each for each in ranked if not each.software)
    return better or tuple(ranked)


def choose(configured: str, candidates: Iterable[Candidate], legacy: bool | Candidate) -> Candidate:
    """The device to try first, as ``rank`` has them. Raises WatchdogError when there is none."""
    ranked = rank(configured, candidates, legacy)
    if not ranked:
        raise WatchdogError(
            "watchdog: this machine has no watchdog device: load the driver of its hardware watchdog, or softdog"
        )
    return ranked[0]


def _configured(device: str, known: tuple[Candidate, ...], outside: Candidate | None) -> Candidate:
    for candidate in known:
        if candidate.device == device:
            return candidate
    if device == LEGACY_DEVICE:
        if outside is not None:
            return outside
        for candidate in known:
            if candidate.device == _LEGACY_OWNER:  # the core gives the old name to its first device
                return candidate._replace(device=device)
    return Candidate(device, "", nowayout=None, reset_last_boot=False)


def by_number(device: str, number: str, known: Iterable[Candidate]) -> Candidate | None:
    """What sysfs knows of a device file that goes by another name (a link, a node of its own); None when nothing.

    number: of the device file, ``major:minor``.
    """
    for candidate in known:
        alias = number == _LEGACY_NUMBER and candidate.device == _LEGACY_OWNER
        if number and (candidate.number == number or alias):
            return candidate._replace(device=device)
    return None


def timeout_after_stop(asked_s: int, longest_s: int, now_s: int) -> int:
    """The timeout to set at an orderly stop on a device that cannot be disarmed: never less than before.

    longest_s: 0 when it is not known.
    """
    return max(min(asked_s, longest_s or asked_s), now_s)


def why_not_timeout(device: str, asked_s: int, actual_s: float) -> str:
    """Why a device is refused that has another timeout than it was asked for; "" when it has that one.

    The bound that the operator gave as self_fence_bound rests on the configured timeout.
    """
    if actual_s == asked_s:
        return ""
    return (
        f"watchdog_timeout_s: {device} was asked for {asked_s} s and has {actual_s:g} s: "
        f"give watchdog_timeout_s = {actual_s:g} (and a self_fence_bound that fits), or another device"
    )


def why_not_within(candidate: Candidate, asked_s: int) -> str:
    """Why a device cannot take a timeout, as far as sysfs tells before it is opened; "" when it may."""
    low, high = candidate.min_s, candidate.max_s
    fixed_s = candidate.timeout_s if candidate.settable is False else 0
    if fixed_s and asked_s != fixed_s:
        takes, good_s = f"has {fixed_s} s and takes no other", fixed_s
    elif low and asked_s < low:
        takes, good_s = f"takes {_range(low, high)}, not {asked_s} s", low
    elif high and asked_s > high:
        takes, good_s = f"takes {_range(low, high)}, not {asked_s} s", high
    else:
        return ""
    return (
        f"watchdog_timeout_s: {candidate.device} ({candidate.identity}) {takes}: "
        f"give watchdog_timeout_s = {good_s} (and a self_fence_bound that fits), or another device"
    )


def _range(low_s: int, high_s: int) -> str:
    return f"{low_s} to {high_s} s" if high_s else f"{low_s} s or more"


class NoWatchdog:
    """``watchdog = "none"``: for trying things out. Nothing resets this machine."""

    armed = False
    support = Support("", "none", 0.0, nowayout=False, reset_last_boot=False)

    def keepalive(self) -> None:
        """Does nothing: there is no device."""

    def disarm(self) -> bool:
        return True
