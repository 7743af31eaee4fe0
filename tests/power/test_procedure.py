"""Each rule of fencer.power.procedure, against a fake chassis and a fake clock."""

import pytest

from fencer.errors import BmcRefused, BmcUnreachable
from fencer.model import Method
from fencer.observations import (
    ChassisCommanded,
    ChassisObserved,
    Noted,
    Observation,
    PowerDone,
    PowerFailed,
    SessionOpened,
)
from fencer.power.chassis import ChassisCommand, PowerState
from fencer.power.procedure import PowerAim, PowerGoal, PowerTiming, run
from tests.power.fake_chassis import FakeChassisPower, FakeClock
from tests.power.seen import Seen

OFF, ON = ChassisObserved(PowerState.OFF), ChassisObserved(PowerState.ON)
REFUSED = BmcRefused("bmc: chassis power off: refused")
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
        def wait_for_go() -> bool:
            assert self.chassis.asked == ["open"]
            return go

        run(
            self.chassis,
            goal,
            self.seen.append,
            wait_for_go,
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


def test_off_of_a_chassis_that_is_off_sends_no_command() -> None:
    bench = Bench(state=PowerState.OFF)
    assert bench.run(PowerGoal(PowerAim.OFF)) == (
        SessionOpened(),
        OFF,
        PowerDone(),
    )
    assert bench.chassis.commands == []


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
    assert seen[-1] == PowerFailed("chassis power is still on 20 s after hard off", final=False)
    assert OFF not in seen
    assert 20.0 <= bench.clock() <= 20.1


def test_a_refused_off_counts_when_the_chassis_is_off() -> None:
    seen = Bench(state=PowerState.OFF, refusals={ChassisCommand.OFF: REFUSED}).run(PowerGoal(PowerAim.REBOOT))
    assert seen == (
        SessionOpened(),
        OFF,
        commanded(ChassisCommand.ON),
        ON,
        PowerDone(),
    )


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
        SessionOpened(), commanded(ChassisCommand.OFF), OFF, commanded(ChassisCommand.ON), ON, PowerDone()
    )  # fmt: skip
    assert bench.chassis.asked == ["open", ChassisCommand.OFF, "state", ChassisCommand.ON, "state", "close"]


def test_reboot_that_does_not_come_on_has_proven_off_all_the_same() -> None:
    bench = Bench(ignores=[ChassisCommand.ON])
    seen = bench.run(PowerGoal(PowerAim.REBOOT))
    assert OFF in seen
    assert seen[-1] == PowerFailed("chassis power is still off 20 s after power on", final=False)


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


def test_cycle_without_a_visible_off_phase_falls_back() -> None:
    bench = Bench(cycle_off_s=0.0)
    seen = bench.run(CYCLE)
    assert any(isinstance(each, Noted) for each in seen)
    assert bench.chassis.commands == [ChassisCommand.CYCLE, ChassisCommand.OFF, ChassisCommand.ON]
    assert seen.index(OFF) < len(seen) - 1
    assert seen.done
    assert bench.clock() <= 5.2


def test_cycle_refused_falls_back() -> None:
    bench = Bench(refusals={ChassisCommand.CYCLE: BmcRefused("bmc: chassis power cycle: refused")})
    seen = bench.run(CYCLE)
    assert any(isinstance(each, Noted) for each in seen)
    assert OFF in seen
    assert seen.done


def test_cycle_of_a_chassis_that_is_off_switches_on() -> None:
    bench = Bench(state=PowerState.OFF)
    assert bench.run(CYCLE).done
    assert bench.chassis.commands == [ChassisCommand.ON]


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


def test_power_wait_comes_before_the_first_poll() -> None:
    bench = Bench()
    bench.run(PowerGoal(PowerAim.OFF), timing=PowerTiming(power_timeout_s=20.0, power_wait_s=3.0))
    assert bench.clock() == 3.0
