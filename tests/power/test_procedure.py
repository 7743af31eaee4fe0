# SPDX-License-Identifier: Apache-2.0
"""Each rule of fencer.power.procedure, against a fake chassis and a fake clock."""

import math
from collections.abc import Callable

import pytest

from fencer.errors import BmcRefused, BmcUnreachable, CommandRefused
from fencer.model import ChassisCommand, Method, PowerState
from fencer.observations import (
    ChassisCommanded,
    ChassisFoundOff,
    ChassisObserved,
    Noted,
    Observation,
    PowerDone,
    PowerFailed,
    SessionOpened,
)
from fencer.power.procedure import PowerAim, PowerGoal, PowerTiming, run
from tests.power.fake_chassis import FakeChassisPower, FakeClock
from tests.power.seen import Seen

OFF, ON = ChassisObserved(PowerState.OFF), ChassisObserved(PowerState.ON)
REFUSED = BmcRefused("bmc: chassis power off: refused")
NOT_TAKEN = CommandRefused("bmc: chassis power off: refused with completion code 0xd5")
FOUND_OFF = ChassisFoundOff()
SILENT = BmcUnreachable("bmc: silent")
CYCLE = PowerGoal(PowerAim.REBOOT, Method.CYCLE)


def commanded(command: ChassisCommand) -> ChassisCommanded:
    return ChassisCommanded(command)


class Bench:
    def __init__(self, **chassis: object) -> None:
        self.clock = FakeClock()
        self.chassis = FakeChassisPower(self.clock, **chassis)  # type: ignore[arg-type]
        self.seen: list[Observation] = []

    def run(self, goal: PowerGoal, go: bool = True, timing: PowerTiming | None = None) -> Seen:
        def may_go(wait_s: float) -> bool:
            assert wait_s < math.inf or self.chassis.asked == ["open"]
            return go

        run(
            self.chassis,
            goal,
            self.seen.append,
            may_go,
            timing or PowerTiming(power_timeout_s=20.0),
            self.clock.sleep,
            self.clock,
        )
        assert self.chassis.asked[-1] == "close"
        return Seen(self.seen)


def test_off_is_done_when_off_is_observed() -> None:
    seen = Bench().run(PowerGoal(PowerAim.OFF))
    assert seen == (
        SessionOpened(),
        ON,
        commanded(ChassisCommand.OFF),
        OFF,
        PowerDone(),
    )


FENCES = [PowerGoal(PowerAim.OFF), PowerGoal(PowerAim.REBOOT), CYCLE]


@pytest.mark.parametrize("goal", FENCES)
def test_a_chassis_found_off_is_commanded_and_read_again_a_second_later(goal: PowerGoal) -> None:
    bench = Bench(state=PowerState.OFF)
    seen = bench.run(goal)
    assert seen[:4] == (SessionOpened(), FOUND_OFF, commanded(ChassisCommand.OFF), OFF)
    assert seen.done
    assert bench.chassis.asked[:6] == ["open", "state", ChassisCommand.OFF, "state", "starting", "state"]
    assert bench.clock() >= 1.0


@pytest.mark.parametrize("goal", FENCES)
@pytest.mark.parametrize("says_off_s", [0.01, 0.5, 1.0])
def test_a_bmc_that_says_off_before_it_knows_is_not_believed(goal: PowerGoal, says_off_s: float) -> None:
    """As a starting BMC does. The chassis runs, and does not obey what it is told that early."""
    bench = Bench(says_off_s=says_off_s, loses={ChassisCommand.OFF: 1})
    seen = bench.run(goal)
    assert seen[:6] == (
        SessionOpened(), FOUND_OFF, commanded(ChassisCommand.OFF), ON, commanded(ChassisCommand.OFF), OFF
    )  # fmt: skip
    assert seen.done


@pytest.mark.parametrize("goal", FENCES)
def test_a_bmc_that_says_that_it_is_starting_is_not_believed(goal: PowerGoal) -> None:
    bench = Bench(says_off_s=5.0, starting_s=5.0, loses={ChassisCommand.OFF: 1})
    seen = bench.run(goal)
    assert seen.done
    assert seen.index(ON) < seen.index(OFF)
    assert bench.chassis.commands[:2] == [ChassisCommand.OFF] * 2


def test_a_bmc_that_never_ends_starting_proves_nothing() -> None:
    bench = Bench(state=PowerState.OFF, starting_s=1e6)
    seen = bench.run(PowerGoal(PowerAim.OFF))
    assert OFF not in seen
    assert isinstance(seen[-1], PowerFailed)
    assert not seen[-1].final
    assert "still starting after 20 s" in seen[-1].reason


def test_the_last_read_comes_after_the_bmc_is_up() -> None:
    """It ends starting between the two: what it said before that is worth nothing."""

    class Late(FakeChassisPower):
        def starting(self) -> bool:
            was = super().starting()
            self._says_off_until_s = 0.0
            return was

    bench = Bench()
    bench.chassis = Late(bench.clock, says_off_s=1e6, ignores=[ChassisCommand.OFF])
    seen = bench.run(PowerGoal(PowerAim.OFF))
    assert OFF not in seen
    assert ON in seen


@pytest.mark.parametrize("goal", FENCES)
def test_a_refused_off_counts_when_off_stands_for_5_s(goal: PowerGoal) -> None:
    bench = Bench(state=PowerState.OFF, refusals={ChassisCommand.OFF: NOT_TAKEN})
    seen = bench.run(goal)
    assert seen[:3] == (SessionOpened(), FOUND_OFF, OFF)
    assert seen.done
    assert 5.0 <= bench.clock() <= 6.0


def test_a_refused_off_does_not_count_when_off_does_not_stand() -> None:
    bench = Bench(says_off_s=4.5, refusals={ChassisCommand.OFF: NOT_TAKEN})
    seen = bench.run(PowerGoal(PowerAim.OFF))
    assert OFF not in seen
    assert seen[-1] == PowerFailed(str(NOT_TAKEN), final=False)


def test_status_does_not_believe_a_starting_bmc() -> None:
    seen = Bench(state=PowerState.OFF, starting_s=5.0).run(PowerGoal(PowerAim.STATUS))
    assert OFF not in seen
    assert isinstance(seen[-1], PowerFailed)


def test_off_waits_for_a_chassis_that_lags() -> None:
    bench = Bench(lag_s=7.5)
    assert bench.run(PowerGoal(PowerAim.OFF)).done
    assert 7.5 <= bench.clock() <= 8.6


def test_off_is_sent_again_when_the_bmc_lost_it() -> None:
    bench = Bench(loses={ChassisCommand.OFF: 1})
    assert bench.run(PowerGoal(PowerAim.OFF)).done
    assert bench.chassis.commands == [ChassisCommand.OFF] * 2


def test_a_bmc_that_says_off_and_stays_on_is_a_failure() -> None:
    bench = Bench(ignores=[ChassisCommand.OFF])
    seen = bench.run(PowerGoal(PowerAim.OFF))
    assert seen[-1] == PowerFailed("bmc: chassis power is still on 20 s after hard off", final=False)
    assert OFF not in seen
    assert 20.0 <= bench.clock() <= 20.1


def test_a_refused_off_counts_when_the_chassis_went_off_by_itself() -> None:
    class GoesOff(FakeChassisPower):
        def control(self, command: ChassisCommand, may_send: Callable[[], bool]) -> None:
            self._says_off_until_s = 1e6 if command is ChassisCommand.OFF else 0.0
            super().control(command, may_send)

    bench = Bench()
    bench.chassis = GoesOff(bench.clock, refusals={ChassisCommand.OFF: NOT_TAKEN})
    assert bench.run(PowerGoal(PowerAim.OFF)) == (SessionOpened(), ON, OFF, PowerDone())


def test_an_off_that_is_not_taken_is_worth_another_attempt() -> None:
    seen = Bench(refusals={ChassisCommand.OFF: NOT_TAKEN}).run(PowerGoal(PowerAim.REBOOT))
    assert seen == (SessionOpened(), ON, PowerFailed(str(NOT_TAKEN), final=False))


def test_a_refused_off_of_a_running_chassis_is_final() -> None:
    seen = Bench(refusals={ChassisCommand.OFF: REFUSED}).run(PowerGoal(PowerAim.REBOOT))
    assert seen == (
        SessionOpened(),
        ON,
        PowerFailed(str(REFUSED), final=True),
    )


def test_on() -> None:
    seen = Bench(state=PowerState.OFF).run(PowerGoal(PowerAim.ON))
    assert seen == (
        SessionOpened(),
        OFF,
        commanded(ChassisCommand.ON),
        ON,
        PowerDone(),
    )


def test_on_of_a_chassis_that_is_on_sends_no_command() -> None:
    bench = Bench()
    assert bench.run(PowerGoal(PowerAim.ON)) == (
        SessionOpened(),
        ON,
        PowerDone(),
    )
    assert bench.chassis.commands == []


def test_reboot_asks_no_more_than_it_must() -> None:
    bench = Bench()
    seen = bench.run(PowerGoal(PowerAim.REBOOT))
    assert seen == (
        SessionOpened(), ON, commanded(ChassisCommand.OFF), OFF, commanded(ChassisCommand.ON), ON, PowerDone()
    )  # fmt: skip
    assert bench.chassis.asked == ["open", "state", ChassisCommand.OFF, "state", ChassisCommand.ON, "state", "close"]


def test_reboot_that_does_not_come_on_has_proven_off_all_the_same() -> None:
    bench = Bench(ignores=[ChassisCommand.ON])
    seen = bench.run(PowerGoal(PowerAim.REBOOT))
    assert OFF in seen
    assert seen[-1] == PowerFailed("bmc: chassis power is still off 20 s after power on", final=False)


def test_reboot_waits_for_on_as_often_as_told() -> None:
    bench = Bench(loses={ChassisCommand.ON: 3})
    timing = PowerTiming(power_timeout_s=20.0, on_tries=2)
    assert bench.run(PowerGoal(PowerAim.REBOOT), timing=timing).done
    assert 30.0 <= bench.clock() <= 31.0


def test_a_further_attempt_goes_on_where_off_was_proven() -> None:
    bench = Bench(state=PowerState.OFF)
    seen = bench.run(PowerGoal(PowerAim.REBOOT, off_proven=True))
    assert bench.chassis.commands == [ChassisCommand.ON]
    assert seen.done


def test_a_further_attempt_does_not_switch_off_what_came_on() -> None:
    bench = Bench(state=PowerState.ON)
    assert bench.run(PowerGoal(PowerAim.REBOOT, off_proven=True)) == (
        SessionOpened(),
        ON,
        PowerDone(),
    )
    assert bench.chassis.commands == []


def test_cycle_is_verified_by_its_off_phase() -> None:
    bench = Bench()
    assert bench.run(CYCLE) == (
        SessionOpened(),
        ON,
        commanded(ChassisCommand.CYCLE),
        OFF,
        ON,
        PowerDone(),
    )
    assert bench.chassis.commands == [ChassisCommand.CYCLE]


@pytest.mark.parametrize("lag_s", [0.2, 3.0])
def test_the_off_phase_of_a_cycle_is_waited_for(lag_s: float) -> None:
    bench = Bench(lag_s=lag_s)
    assert OFF in bench.run(CYCLE)
    assert bench.chassis.commands == [ChassisCommand.CYCLE]


def test_cycle_without_a_visible_off_phase_falls_back() -> None:
    bench = Bench(cycle_off_s=0.0)
    seen = bench.run(CYCLE)
    assert any(isinstance(each, Noted) for each in seen)
    assert bench.chassis.commands == [ChassisCommand.CYCLE, ChassisCommand.OFF, ChassisCommand.ON]
    assert seen.index(OFF) < len(seen) - 1
    assert seen.done
    assert bench.clock() <= 5.2


def test_cycle_refused_falls_back() -> None:
    bench = Bench(refusals={ChassisCommand.CYCLE: CommandRefused("bmc: chassis power cycle: refused")})
    seen = bench.run(CYCLE)
    assert any(isinstance(each, Noted) for each in seen)
    assert OFF in seen
    assert seen.done


def test_cycle_of_a_chassis_that_is_off_switches_on() -> None:
    bench = Bench(state=PowerState.OFF)
    assert bench.run(CYCLE).done
    assert bench.chassis.commands == [ChassisCommand.OFF, ChassisCommand.ON]


def test_cycle_that_stays_off_is_switched_on() -> None:
    bench = Bench(cycle_off_s=1e6)
    assert bench.run(CYCLE).done
    assert bench.chassis.commands == [ChassisCommand.CYCLE, ChassisCommand.ON]


@pytest.mark.parametrize("aim", [PowerAim.STATUS, PowerAim.MONITOR])
@pytest.mark.parametrize("state", list(PowerState))
def test_reading_needs_no_go(aim: PowerAim, state: PowerState) -> None:
    bench = Bench(state=state)
    assert bench.run(PowerGoal(aim), go=False) == (
        SessionOpened(),
        ChassisObserved(state),
        PowerDone(),
    )
    assert bench.chassis.commands == []


def test_diag_is_done_when_accepted() -> None:
    assert Bench().run(PowerGoal(PowerAim.DIAG)) == (
        SessionOpened(),
        commanded(ChassisCommand.DIAG),
        PowerDone(),
    )


@pytest.mark.parametrize("aim", [PowerAim.OFF, PowerAim.ON, PowerAim.REBOOT, PowerAim.DIAG])
def test_without_the_go_nothing_is_touched(aim: PowerAim) -> None:
    bench = Bench()
    assert bench.run(PowerGoal(aim), go=False) == (SessionOpened(),)
    assert bench.chassis.asked == ["open", "close"]


@pytest.mark.parametrize(("error", "final"), [(REFUSED, True), (SILENT, False)])
def test_a_failed_login(error: BmcRefused | BmcUnreachable, final: bool) -> None:
    assert Bench(open_error=error).run(PowerGoal(PowerAim.OFF)) == (PowerFailed(str(error), final),)


@pytest.mark.parametrize(("error", "final"), [(REFUSED, True), (SILENT, False)])
def test_a_session_that_breaks(error: BmcRefused | BmcUnreachable, final: bool) -> None:
    seen = Bench(state_error=error).run(PowerGoal(PowerAim.OFF))
    assert seen == (
        SessionOpened(),
        PowerFailed(str(error), final),
    )


def test_a_long_power_wait_keeps_the_session_alive() -> None:
    """A BMC drops a session that is silent for half a minute; the next attempt would have waited as long again."""
    bench = Bench()
    bench.run(PowerGoal(PowerAim.OFF), timing=PowerTiming(power_timeout_s=20.0, power_wait_s=35.0))
    assert bench.clock() == 35.0
    after = bench.chassis.asked[bench.chassis.asked.index(ChassisCommand.OFF) + 1 :]
    assert after[:4] == ["state"] * 4, "three while it waits, one that counts"


def test_power_wait_comes_before_the_first_poll() -> None:
    bench = Bench()
    bench.run(PowerGoal(PowerAim.OFF), timing=PowerTiming(power_timeout_s=20.0, power_wait_s=3.0))
    assert bench.clock() == 3.0
