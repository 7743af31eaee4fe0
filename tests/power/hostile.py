# SPDX-License-Identifier: Apache-2.0
"""A whole fence against a FakeBmc on a fake clock: attempt after attempt, as fencer.agent.run does."""

from collections.abc import Callable
from dataclasses import dataclass

from fencer.agent.run import RETRY_PAUSE_S
from fencer.model import BmcSettings, PowerState, Secret
from fencer.observations import ChassisObserved, Observation, PowerDone, PowerFailed
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.procedure import PowerAim, PowerGoal, PowerTiming, run
from tests.power.fake_bmc import PASSWORD, USER, BoundedClock, Deadline, FakeBmc

OFF, ON = ChassisObserved(PowerState.OFF), ChassisObserved(PowerState.ON)
SETTINGS = BmcSettings("bmc", 623, USER, Secret(PASSWORD))


@dataclass(frozen=True)
class Fenced:
    """The end of a fence. outcome: done, final (refused for good) or late (the deadline passed)."""

    outcome: str
    took_s: float
    attempts: int
    seen: tuple[Observation, ...]
    false_off: bool

    @property
    def reasons(self) -> list[str]:
        return [each.reason for each in self.seen if isinstance(each, PowerFailed)]


def fence(
    bmc: FakeBmc, aim: PowerAim = PowerAim.OFF, settings: BmcSettings = SETTINGS, timing: PowerTiming | None = None
) -> Fenced:
    """Fences until it is done, refused for good, or the clock's deadline has passed."""
    clock = bmc.clock
    assert isinstance(clock, BoundedClock)
    seen: list[Observation] = []
    false_off = False

    def emit(what: Observation) -> None:
        nonlocal false_off
        seen.append(what)
        false_off = false_off or (what == OFF and type(what) is ChassisObserved and not bmc.off_at_s)

    attempts, outcome = 0, "late"
    try:
        while True:
            attempts += 1
            proven = any(type(each) is ChassisObserved and each == OFF for each in seen)
            power = IpmiChassisPower(settings, bmc.line, clock, clock.sleep)
            goal = PowerGoal(aim, off_proven=proven)
            run(power, goal, emit, lambda _wait_s: True, timing or PowerTiming(), clock.sleep, clock)
            last = seen[-1]
            if isinstance(last, PowerDone) or not isinstance(last, PowerFailed):
                outcome = "done"
                break
            if last.final:
                outcome = "final"
                break
            clock.sleep(RETRY_PAUSE_S)
    except Deadline:
        pass
    return Fenced(outcome, clock(), attempts, tuple(seen), false_off)


def during(clock: BoundedClock, seconds: float) -> Callable[[], bool]:
    """True from its first call on, for so long; 0: once."""
    began: list[float] = []

    def now() -> bool:
        began.append(clock())
        return len(began) == 1 or clock() - began[0] < seconds

    return now
