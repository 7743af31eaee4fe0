# SPDX-License-Identifier: Apache-2.0
"""Each packet with a command that takes power away needs a go of its own (docs/decisions/0003-one-arbiter.md)."""

import math
from collections.abc import Callable

import pytest

from fencer.errors import NotAllowed
from fencer.model import ChassisCommand, Method, PowerState
from fencer.observations import ChassisCommanded, ChassisObserved, ChassisUnanswered, Observation, PowerDone
from fencer.power.chassis import ChassisPower
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.procedure import PowerAim, PowerGoal, PowerTiming, run
from tests.power.fake_bmc import BoundedClock, FakeBmc, Silent, Step
from tests.power.fake_chassis import FakeChassisPower, FakeClock
from tests.power.hostile import SETTINGS

OFF, ON = ChassisObserved(PowerState.OFF), ChassisObserved(PowerState.ON)
OFF_COMMAND, CYCLE_COMMAND, ON_COMMAND = ChassisCommand.OFF, ChassisCommand.CYCLE, ChassisCommand.ON
GOALS = [PowerGoal(PowerAim.OFF), PowerGoal(PowerAim.REBOOT), PowerGoal(PowerAim.REBOOT, Method.CYCLE)]


class Gate:
    """Says no between the times of shut, having waited as long as it may.

    asked, waits: when, and for how long, the first go left out."""

    def __init__(self, clock: FakeClock, shut: tuple[float, float] = (0.0, 0.0)) -> None:
        self._clock, self._shut = clock, shut
        self.asked: list[float] = []
        self.waits: list[float] = []

    def __call__(self, wait_s: float) -> bool:
        if wait_s == math.inf:
            return True
        self.asked.append(self._clock())
        self.waits.append(wait_s)
        begins, ends = self._shut
        if begins <= self._clock() < ends:
            self._clock.sleep(min(wait_s, ends - self._clock()))
        return not begins <= self._clock() < ends


def play(chassis: ChassisPower, gate: Gate, clock: FakeClock, goal: PowerGoal = GOALS[0]) -> list[Observation]:
    seen: list[Observation] = []
    run(chassis, goal, seen.append, gate, PowerTiming(), clock.sleep, clock)
    return seen


class Timed(FakeChassisPower):
    """Notes when a command is taken."""

    def __init__(self, clock: FakeClock, **how: object) -> None:
        super().__init__(clock, **how)  # type: ignore[arg-type]
        self.at_s: list[float] = []

    def control(self, command: ChassisCommand, may_send: Callable[[], bool]) -> None:
        super().control(command, may_send)
        self.at_s.append(self._clock())


@pytest.mark.parametrize("goal", GOALS)
def test_each_command_that_takes_power_away_asks_and_on_does_not(goal: PowerGoal) -> None:
    clock = FakeClock()
    gate = Gate(clock)
    chassis = FakeChassisPower(clock, loses={OFF_COMMAND: 1, CYCLE_COMMAND: 1, ON_COMMAND: 1})
    assert PowerDone() in play(chassis, gate, clock, goal)
    assert len(gate.asked) == len([each for each in chassis.commands if each is not ON_COMMAND])
    assert len(gate.asked) >= 2


@pytest.mark.parametrize("goal", GOALS)
def test_no_command_is_sent_while_it_may_not_be(goal: PowerGoal) -> None:
    clock = FakeClock()
    chassis = Timed(clock, loses={OFF_COMMAND: 1, CYCLE_COMMAND: 1})
    assert PowerDone() in play(chassis, Gate(clock, (0.05, 33.0)), clock, goal)
    assert not [at_s for at_s in chassis.at_s if 0.05 <= at_s < 33.0]
    assert len(chassis.at_s) >= 2


def test_the_first_command_waits_too_and_an_off_of_nobody_s_doing_is_no_end() -> None:
    """The BMC was slow to say the state. The chassis goes off by itself, as a watchdog's power cycle does."""
    clock = FakeClock()
    chassis = Timed(clock)
    chassis._schedule += [(2.0, PowerState.OFF), (3.5, PowerState.ON)]
    seen = play(chassis, Gate(clock, (0.0, 8.0)), clock)
    assert chassis.at_s == [8.0]
    assert seen.index(OFF) > seen.index(ChassisCommanded(OFF_COMMAND))


def test_a_go_is_waited_for_ever_longer_and_the_session_kept() -> None:
    """Each second wait is that for the command itself. Between two of them the state is read, at most 11 s later."""
    clock = FakeClock()
    gate = Gate(clock, (0.0, 40.0))
    seen = play(Timed(clock), gate, clock)
    assert gate.waits == [1, 1, 1, 2, 1, 4, 1, 8, 1, 10, 1, 10, 1]
    assert not any(isinstance(what, ChassisUnanswered) for what in seen), "no copy was sent"


def test_a_command_without_an_answer_is_told_once() -> None:
    class Deaf(FakeChassisPower):
        def control(self, command: ChassisCommand, may_send: Callable[[], bool]) -> None:
            if clock() < 20.0:
                may_send()
                clock.sleep(3.0)
                raise NotAllowed("bmc: not now")
            super().control(command, may_send)

    clock = FakeClock()
    seen = play(Deaf(clock), Gate(clock, (0.5, 20.0)), clock)
    assert [what for what in seen if isinstance(what, ChassisUnanswered)] == [ChassisUnanswered(OFF_COMMAND)]
    assert PowerDone() in seen


def test_the_chassis_is_watched_while_no_go_comes() -> None:
    """It obeys late, and the arbiter does not answer any more: the first command, which was allowed, did it."""
    clock = FakeClock()
    seen = play(Timed(clock, lag_s=14.0), Gate(clock, (0.05, 1e6)), clock)
    assert PowerDone() in seen
    assert clock() < 30.0


def test_the_off_phase_of_a_cycle_is_seen_while_no_go_comes() -> None:
    class Deaf(FakeChassisPower):
        def control(self, command: ChassisCommand, may_send: Callable[[], bool]) -> None:
            super().control(command, may_send)
            if command is CYCLE_COMMAND:
                may_send()
                raise NotAllowed("bmc: not now")

        def state(self) -> PowerState:
            """Off is seen once: the first time after the command."""
            super().state()
            return PowerState.OFF if self.asked[-2:] == [CYCLE_COMMAND, "state"] else PowerState.ON

    clock = FakeClock()
    chassis = Deaf(clock)
    gate = Gate(clock)
    seen = play(chassis, gate, clock, GOALS[2])
    assert chassis.commands == [CYCLE_COMMAND]
    assert seen[2:] == [ChassisUnanswered(CYCLE_COMMAND), OFF, ON, PowerDone()]


@pytest.mark.parametrize("silent", list(Silent))
def test_a_command_that_got_no_answer_is_sent_again_by_a_new_go_only(silent: Silent) -> None:
    """On the line: the session repeats what was lost, seconds after the look that let the first copy go."""
    clock = BoundedClock(60.0)
    bmc = FakeBmc(clock)
    copies: list[float] = []

    def lose(step: Step) -> Silent | None:
        if step is not Step.CONTROL:
            return None
        copies.append(clock())
        return silent if len(copies) == 1 else None

    bmc.misbehave = lose
    gate = Gate(clock, (0.05, 9.0))
    seen = play(IpmiChassisPower(SETTINGS, bmc.line, clock, clock.sleep), gate, clock)
    assert PowerDone() in seen
    assert ChassisUnanswered(OFF_COMMAND) in seen
    if silent is Silent.AFTER:
        assert len(copies) == 1
        assert clock() < 5.0
    else:
        assert [at_s >= 9.0 for at_s in copies] == [False, True]


@pytest.mark.parametrize("code", [0xC0, 0xD4])
def test_nor_is_one_that_was_refused_for_the_moment(code: int) -> None:
    """Node busy; and insufficient privilege, as BMCs say that start."""
    clock = BoundedClock(60.0)
    bmc = FakeBmc(clock)
    copies: list[float] = []

    def refuse(step: Step) -> int | None:
        if step is not Step.CONTROL:
            return None
        copies.append(clock())
        return code if len(copies) == 1 else None

    bmc.misbehave = refuse
    assert PowerDone() in play(
        IpmiChassisPower(SETTINGS, bmc.line, clock, clock.sleep), Gate(clock, (0.05, 9.0)), clock
    )
    assert [at_s >= 9.0 for at_s in copies] == [False, True]


def test_where_it_may_go_a_lost_copy_costs_no_packet_more() -> None:
    def steps(gate_of: Callable[[FakeClock], Gate]) -> list[Step]:
        clock = BoundedClock(60.0)
        bmc = FakeBmc(clock)
        lost: list[Step] = []

        def lose(step: Step) -> Silent | None:
            if step is Step.CONTROL and not lost:
                lost.append(step)
                return Silent.BEFORE
            return None

        bmc.misbehave = lose
        assert PowerDone() in play(IpmiChassisPower(SETTINGS, bmc.line, clock, clock.sleep), gate_of(clock), clock)
        return [step for _, step in bmc.asked]

    assert steps(Gate).count(Step.CONTROL) == 2
    assert steps(Gate).count(Step.DEVICE_ID) == 1
