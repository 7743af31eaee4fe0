# SPDX-License-Identifier: Apache-2.0
"""When a power procedure commands again, how long it waits, and what it says when the time is over."""

from collections.abc import Callable

import pytest

from fencer.model import ChassisCommand, PowerState
from fencer.observations import ChassisObserved, Observation, PowerFailed
from fencer.power.procedure import PowerAim, PowerGoal, PowerTiming
from tests.power.fake_chassis import FakeChassisPower, FakeClock
from tests.power.test_procedure import CYCLE, NOT_TAKEN, Bench

OFF, REBOOT = PowerGoal(PowerAim.OFF), PowerGoal(PowerAim.REBOOT)


class Timed(FakeChassisPower):
    """Notes when each command came. Each question takes a while, as with a real BMC."""

    takes_s = 0.0

    def __init__(self, clock: FakeClock, **knobs: object) -> None:
        super().__init__(clock, **knobs)  # type: ignore[arg-type]
        self.times: list[tuple[ChassisCommand, float]] = []

    def control(self, command: ChassisCommand, may_send: Callable[[], bool]) -> None:
        self.times.append((command, self._clock()))
        super().control(command, may_send)

    def state(self) -> PowerState:
        self._clock.sleep(self.takes_s)
        return super().state()

    def at(self, command: ChassisCommand) -> list[float]:
        return [at_s for each, at_s in self.times if each is command]


class SlowBmc(Timed):
    takes_s = 0.3


def bench(kind: type[Timed] = Timed, **knobs: object) -> tuple[Bench, Timed]:
    made = Bench()
    chassis = kind(made.clock, **knobs)
    made.chassis = chassis
    return made, chassis


def reason(seen: tuple[Observation, ...]) -> str:
    assert isinstance(seen[-1], PowerFailed)
    return seen[-1].reason


def test_off_is_noticed_soon() -> None:
    made, _ = bench(lag_s=0.1)
    assert made.run(OFF).done
    assert made.clock() <= 0.2


def test_off_is_commanded_again_at_half_time() -> None:
    made, chassis = bench(loses={ChassisCommand.OFF: 1})
    assert made.run(OFF, timing=PowerTiming(power_timeout_s=15.0)).done
    assert chassis.at(ChassisCommand.OFF) == [0.0, pytest.approx(7.5)]


@pytest.mark.parametrize(("tries", "commands"), [(0, 2), (1, 2), (2, 4), (3, 6)])
def test_on_is_commanded_twice_for_each_try_and_the_time_is_told(tries: int, commands: int) -> None:
    made, chassis = bench(ignores=[ChassisCommand.ON])
    seen = made.run(REBOOT, timing=PowerTiming(power_timeout_s=15.0, on_tries=tries))
    assert len(chassis.at(ChassisCommand.ON)) == commands
    assert reason(seen) == f"bmc: chassis power is still off {7.5 * commands:g} s after power on"


def test_on_is_commanded_at_half_time_where_a_power_cycle_leaves_the_chassis_off() -> None:
    made, chassis = bench(cycle_off_s=1e6)
    assert made.run(CYCLE, timing=PowerTiming(power_timeout_s=15.0)).done
    assert chassis.at(ChassisCommand.ON) == [pytest.approx(7.5)]


@pytest.mark.parametrize(("lag_s", "falls_back"), [(4.5, False), (5.5, True)])
def test_the_off_phase_of_a_cycle_is_looked_for_for_5_s(lag_s: float, falls_back: bool) -> None:
    made, chassis = bench(lag_s=lag_s)
    made.run(CYCLE)
    assert (ChassisCommand.OFF in chassis.commands) is falls_back


@pytest.mark.parametrize("kind", [Timed, SlowBmc])
def test_what_was_found_off_is_proved_in_a_good_second(kind: type[Timed]) -> None:
    """A clock that never shows the moment itself must not make it wait for ever."""
    made, _ = bench(kind, state=PowerState.OFF)
    seen = made.run(OFF)
    assert seen.done
    assert 1.0 <= made.clock() < 2.0
    assert ChassisObserved(PowerState.OFF) in seen


@pytest.mark.parametrize("kind", [Timed, SlowBmc])
def test_what_was_found_off_and_refuses_the_command_is_proved_in_5_s(kind: type[Timed]) -> None:
    made, _ = bench(kind, state=PowerState.OFF, refusals={ChassisCommand.OFF: NOT_TAKEN})
    assert made.run(OFF).done
    assert 5.0 <= made.clock() < 7.0


@pytest.mark.parametrize("timeout_s", [2.0, 20.5])
@pytest.mark.parametrize("kind", [Timed, SlowBmc])
def test_a_bmc_that_never_ends_starting_is_given_up(kind: type[Timed], timeout_s: float) -> None:
    made, _ = bench(kind, state=PowerState.OFF, starting_s=1e6)
    seen = made.run(OFF, timing=PowerTiming(power_timeout_s=timeout_s))
    assert f"still starting after {timeout_s:g} s" in reason(seen)
    least_s = max(timeout_s, 5.0)
    assert least_s <= made.clock() < least_s + 2.0


def test_what_is_seen_on_in_the_last_read_is_switched_off_at_once() -> None:
    class Late(Timed):
        def starting(self) -> bool:
            was = super().starting()
            self._says_off_until_s = 0.0
            return was

    made, chassis = bench(Late, says_off_s=1e6, loses={ChassisCommand.OFF: 1})
    assert made.run(OFF).done
    assert chassis.at(ChassisCommand.OFF) == [0.0, 1.0]


class OversleepingClock(FakeClock):
    """As on a busy machine: no moment is hit exactly."""

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        super().sleep(seconds + 0.007)


def oversleeping(**knobs: object) -> Bench:
    made = Bench()
    made.clock = OversleepingClock()
    made.chassis = Timed(made.clock, **knobs)
    return made


@pytest.mark.parametrize("wait_s", [0.0, 0.5, 3.0, 35.0])
def test_a_clock_that_hits_no_moment_ends_every_wait(wait_s: float) -> None:
    made = oversleeping(ignores=[ChassisCommand.OFF])
    seen = made.run(OFF, timing=PowerTiming(power_timeout_s=20.0, power_wait_s=wait_s))
    assert "still on 20 s after hard off" in reason(seen)
    assert 20.0 + 2 * wait_s <= made.clock() <= 21.0 + 2 * wait_s


@pytest.mark.parametrize("wait_s", [0.5, 3.0, 10.0])
def test_a_short_power_wait_is_waited_and_asks_nothing(wait_s: float) -> None:
    made, chassis = bench()
    assert made.run(OFF, timing=PowerTiming(power_timeout_s=20.0, power_wait_s=wait_s)).done
    assert made.clock() == wait_s
    assert chassis.asked == ["open", "state", ChassisCommand.OFF, "state", "close"]


@pytest.mark.parametrize(("lag_s", "noticed_s"), [(0.2, 0.3), (0.4, 0.6), (0.8, 1.4)])
def test_polls_grow_apart_slowly(lag_s: float, noticed_s: float) -> None:
    made, _ = bench(lag_s=lag_s)
    assert made.run(OFF).done
    assert made.clock() <= noticed_s


def test_a_bmc_is_not_flooded_with_questions() -> None:
    made, chassis = bench(lag_s=9.9)
    assert made.run(OFF).done
    assert chassis.asked.count("state") <= 18
