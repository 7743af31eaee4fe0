# SPDX-License-Identifier: Apache-2.0
"""Verdicts of what is no fence: status and on."""

import pytest

from fencer.agent.verdict import EXIT_FAILURE, EXIT_OK, EXIT_STATUS_OFF
from fencer.model import Action, ChassisCommand
from fencer.observations import (
    ChassisCommanded,
    LunRegistered,
    LunState,
    PowerDone,
    SessionOpened,
    StorageDone,
)
from tests.decisions.calls import DONE, FAILED_B, OFF, ON, plan, verdict_of


def test_status_of_luns() -> None:
    the_plan = plan(Action.STATUS, bmc=False)
    registered, shut, bare = LunState("a", True, True), LunState("b", False, True), LunState("b", False, False)
    assert verdict_of(the_plan, registered, shut, DONE).text == "Status: ON"
    assert verdict_of(the_plan, LunState("a", False, True), shut, DONE).exit_status == EXIT_STATUS_OFF
    assert verdict_of(the_plan, LunState("a", False, True), bare, DONE).exit_status == EXIT_FAILURE
    assert verdict_of(the_plan, shut, FAILED_B, DONE).exit_status == EXIT_FAILURE


def test_status_unknown_is_neither_on_nor_off() -> None:
    for late in (False, True):
        assert verdict_of(plan(Action.STATUS), SessionOpened(), late=late).exit_status == EXIT_FAILURE


def test_unfencing_needs_every_lun() -> None:
    the_plan = plan(Action.ON, local=True)
    assert verdict_of(the_plan, LunRegistered("a", 1), LunRegistered("b", 2), DONE).success
    assert not verdict_of(the_plan, LunRegistered("a", 1), FAILED_B, DONE).success
    assert not verdict_of(the_plan, LunRegistered("a", 1), LunRegistered("b", 2)).success
    fenced_meanwhile = (LunRegistered("a", 1), LunRegistered("b", 2), FAILED_B, DONE)
    assert not verdict_of(the_plan, *fenced_meanwhile).success


def test_on_needs_an_observed_on() -> None:
    the_plan = plan(Action.ON, storage=False)
    assert verdict_of(the_plan, ON).text == "Success: Already ON"
    assert not verdict_of(the_plan, ON, OFF).success
    assert not verdict_of(the_plan, ChassisCommanded(ChassisCommand.ON), PowerDone()).success


def test_status_is_the_state_seen_last() -> None:
    assert verdict_of(plan(Action.STATUS, storage=False), ON, OFF).exit_status == EXIT_STATUS_OFF
    assert verdict_of(plan(Action.STATUS, storage=False), OFF, ON).exit_status == EXIT_OK


@pytest.mark.parametrize(
    ("seen", "exit_status", "success"),
    [
        ((ON,), 0, True),
        ((OFF,), 2, True),
        ((OFF, OFF, ON), 0, True),
        ((ON, ON, OFF), 2, True),
        ((), 1, False),
    ],
)
def test_status_exits_as_callers_expect(seen: tuple, exit_status: int, success: bool) -> None:  # type: ignore[type-arg]
    """0 is on, 2 is off, 1 is unknown; off is an answer, not a failure."""
    verdict = verdict_of(plan(Action.STATUS, storage=False), *seen)
    assert (verdict.exit_status, verdict.success) == (exit_status, success)


def test_on_says_whether_there_was_anything_to_do() -> None:
    by_power, unfence = plan(Action.ON, storage=False), plan(Action.ON, local=True)
    assert verdict_of(by_power, ON, PowerDone()).text == "Success: Already ON"
    assert verdict_of(by_power, OFF, ChassisCommanded(ChassisCommand.ON), ON).text == "Success: Powered ON"
    assert verdict_of(unfence, LunRegistered("a", 1), StorageDone(1)).text == "Success: Powered ON"


def test_on_is_the_state_seen_last() -> None:
    by_power = plan(Action.ON, storage=False)
    assert verdict_of(by_power, OFF, ON).success
    assert verdict_of(by_power, OFF, OFF, ON).success
    assert not verdict_of(by_power, ON, ON, OFF).success


def test_nothing_but_a_fence_is_ever_weak() -> None:
    assert not verdict_of(plan(Action.ON, local=True), LunRegistered("a", 1), StorageDone(1)).weak
    assert not verdict_of(plan(Action.STATUS, storage=False), ON).weak
