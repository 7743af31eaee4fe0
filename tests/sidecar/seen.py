# SPDX-License-Identifier: Apache-2.0
"""Reports and a policy for tests, without the repetition."""

from fencer.model import ReservationKey, ReservationType
from fencer.sidecar.policy import Policy
from fencer.sidecar.reports import (
    Alive,
    ListedLun,
    ListedPath,
    LunSeen,
    LunsListed,
    PathRegistered,
    PathSeen,
    Report,
    StillWell,
)
from fencer.sidecar.settings import PolicySettings, Requirement, SidecarTiming, TargetReset
from fencer.state.snapshot import RegistrationState

A, B = ReservationKey(0xA), ReservationKey(0xB)
WERO = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
TIMING = SidecarTiming(grace_s=10.0)
GRACE_S, SETTLE_S = TIMING.grace_s, TIMING.settle_s
TICK_S = TIMING.decide_interval_s


def listed(
    at_s: float,
    luns: dict[str, tuple[str, ...]],
    *,
    first: bool = False,
    address: str = "0:0:0:0",
    serial: int = 0,
) -> LunsListed:
    found = (ListedLun(lun, lun, tuple(ListedPath(path, address) for path in luns[lun])) for lun in luns)
    return LunsListed(at_s, tuple(found), first, serial=serial)


def lun_seen(lun: str, at_s: float, registration: RegistrationState = RegistrationState.REGISTERED) -> LunSeen:
    keys = (A, B) if registration in (RegistrationState.REGISTERED, RegistrationState.UNPROTECTED) else ()
    return LunSeen(lun, at_s, registration, 2, keys, A if keys else None, WERO if keys else None, (1,) * len(keys))


def healthy(at_s: float, luns: dict[str, tuple[str, ...]]) -> list[Report]:
    """Everything is seen, and well."""
    seen: list[Report] = [Alive(at_s), listed(at_s, luns)]
    for lun, paths in luns.items():
        seen += [PathSeen(lun, path, at_s, True, "", 0.001) for path in paths]
        seen += [PathRegistered(lun, path, at_s) for path in paths]
        seen.append(lun_seen(lun, at_s))
    return seen


class Expander:
    """Puts back what a StillWell stands for."""

    def __init__(self) -> None:
        self._read: dict[str, LunSeen] = {}

    def expand(self, reports: list[Report]) -> list[Report]:
        expanded: list[Report] = []
        for report in reports:
            match report:
                case StillWell(paths, luns, registered):
                    expanded += [PathRegistered(lun, path, 0.0) for lun, path in registered]
                    expanded += [PathSeen(lun, path, at_s, True, "", took_s) for lun, path, at_s, took_s in paths]
                    expanded += [self._read[lun]._replace(at_s=at_s, generation=number) for lun, at_s, number in luns]
                case LunSeen():
                    self._read[report.lun] = report
                    expanded.append(report)
                case _:
                    expanded.append(report)
        return expanded


class Bench:
    """A policy that was armed by a healthy look at luns, and a clock."""

    def __init__(
        self,
        luns: dict[str, tuple[str, ...]] | None = None,
        *,
        timing: SidecarTiming = TIMING,
        require: Requirement = Requirement.ALL,
        on_target_reset: TargetReset = TargetReset.RE_REGISTER,
        healthy_at_first: bool = True,
        resumed: bool = False,
    ) -> None:
        self.luns = {"L": ("sda", "sdb")} if luns is None else luns
        self.timing = timing
        self.now = 100.0
        self.policy = Policy(PolicySettings(timing, require, on_target_reset), self.now, resumed=resumed)
        if healthy_at_first:
            self.take(*healthy(self.now, self.luns))
            self.decision = self.policy.decide(self.now)

    def take(self, *reports: Report) -> None:
        for report in reports:
            self.policy.take(report)

    def see(self, path: str, ok: bool, reason: str = "EIO: Input/output error", lun: str = "L") -> None:
        self.take(PathSeen(lun, path, self.now, ok, "" if ok else reason, 0.001))

    def register(self, path: str, lun: str = "L") -> None:
        self.take(PathRegistered(lun, path, self.now))

    def go(self, seconds: float, *, paths: tuple[str, ...] = ("sda", "sdb"), lun: str = "L", read: bool = True) -> None:
        """Time passes; these paths answer their probes, the registrations are read, and decisions are made."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + self.timing.decide_interval_s)
            self.take(Alive(self.now))
            for path in paths:
                self.see(path, True, lun=lun)
            if read:
                self.take(lun_seen(lun, self.now))
            self.decision = self.policy.decide(self.now)
