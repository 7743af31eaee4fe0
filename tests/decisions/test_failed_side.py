# SPDX-License-Identifier: Apache-2.0
"""Which side failed, and the remedy that each failure names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fencer.agent.facts import Facts
from fencer.agent.plan import Plan
from fencer.agent.verdict import judge
from fencer.model import (
    Action,
    ProofPolicy,
    Side,
)
from fencer.observations import (
    BmcNotReached,
    LunRegistered,
    LunState,
    Observation,
    PowerDone,
    PowerFailed,
    SessionOpened,
    StorageDone,
    StorageFailed,
)
from tests.decisions.calls import (
    DONE,
    EVERYTHING,
    FAILED_B,
    ISOLATED_A,
    ISOLATED_B,
    LOST,
    OFF,
    ON,
    REFUSAL,
    SILENCE,
    UNREACHABLE,
    WON,
    plan,
    plans,
    verdict_of,
)


@pytest.mark.parametrize(
    ("the_plan", "seen", "late", "failed"),
    [
        (plan(), (WON, SessionOpened(), OFF, PowerDone(), ISOLATED_A, ISOLATED_B, DONE), False, ()),
        (plan(), (WON, *SILENCE, ISOLATED_A, ISOLATED_B, DONE), True, (Side.POWER,)),
        (plan(), (WON, SessionOpened(), OFF, PowerDone(), ISOLATED_A, FAILED_B, DONE), False, (Side.STORAGE,)),
        (plan(), (LOST,), False, (Side.STORAGE,)),
        (plan(), (UNREACHABLE, StorageFailed("died")), False, (Side.STORAGE,)),
        (plan(), (*REFUSAL, StorageFailed("died")), False, (Side.POWER, Side.STORAGE)),
        (plan(policy=ProofPolicy.ANY), (WON, ISOLATED_A, ISOLATED_B, DONE, *SILENCE), True, (Side.POWER,)),
        (plan(storage=False), (*SILENCE, SessionOpened(), OFF, PowerDone()), False, ()),
        (plan(storage=False), (SessionOpened(), ON), True, (Side.POWER,)),
        (plan(Action.ON, local=True), (LunRegistered("a", 1), FAILED_B, DONE), False, (Side.STORAGE,)),
        (plan(Action.STATUS, bmc=False), (LunState("a", False, False), StorageDone(1)), False, (Side.STORAGE,)),
    ],
)
def test_which_side_failed(the_plan: Plan, seen: tuple[Observation, ...], late: bool, failed: tuple[Side, ...]) -> None:
    assert verdict_of(the_plan, *seen, late=late).failed == failed


@settings(max_examples=200, deadline=None)
@given(plans, st.lists(st.sampled_from(EVERYTHING), max_size=10), st.booleans())
def test_a_failure_has_a_side(the_plan: Plan, seen: list[Observation], late: bool) -> None:
    verdict = verdict_of(the_plan, *seen, late=late)
    if not verdict.success and (the_plan.power is not None or the_plan.storage is not None):
        assert verdict.failed


def test_what_a_later_attempt_mended_is_no_warning() -> None:
    verdict = verdict_of(plan(storage=False), *SILENCE, SessionOpened(), OFF, PowerDone())
    assert (verdict.success, verdict.reasons) == (True, ())


@pytest.mark.parametrize(
    ("the_plan", "seen", "late", "remedy"),
    [
        (plan(), (LOST,), False, "leave this node to the one that won, or unfence it"),
        (plan(), (UNREACHABLE,), False, "mend this node's paths"),
        (plan(), (), False, "call again"),
        (plan(storage=False), (), False, "call again"),
        (plan(storage=False), REFUSAL, False, "correct what it refuses"),
        (plan(storage=False), SILENCE, True, "look at this BMC"),
        (plan(storage=False), (SessionOpened(), ON), True, "call again"),
        (plan(storage=False), (), True, "check its address, network and power"),
        (plan(storage=False), (BmcNotReached("open UDP port 623"),), True, "within 30 s: open UDP port 623"),
        (plan(bmc=False, policy=ProofPolicy.STORAGE), (WON,), True, "mend its paths"),
        (plan(Action.STATUS, bmc=False), (LunState("a", False, False), StorageDone(1)), False, "run on (unfence)"),
    ],
)
def test_a_failure_names_its_remedy(the_plan: Plan, seen: tuple[Observation, ...], late: bool, remedy: str) -> None:
    verdict = verdict_of(the_plan, *seen, late=late)
    assert any(remedy in reason for reason in verdict.reasons), verdict.reasons


@pytest.mark.parametrize(
    ("seen", "failed"),
    [
        ((WON, ISOLATED_A, ISOLATED_B, DONE, SessionOpened(), ON), (Side.POWER,)),
        ((WON, SessionOpened(), OFF, PowerDone(), ISOLATED_A), (Side.STORAGE,)),
    ],
)
def test_at_the_deadline_the_side_that_is_not_over_failed(
    seen: tuple[Observation, ...], failed: tuple[Side, ...]
) -> None:
    assert verdict_of(plan(policy=ProofPolicy.ALL), *seen, late=True).failed == failed


def test_of_several_failures_the_last_is_named_and_of_several_states_the_last() -> None:
    bmc = plan(storage=False)
    failures = (*SILENCE, PowerFailed("bmc: connection refused", final=False))
    assert verdict_of(bmc, *failures).reasons[0].startswith("bmc: connection refused: ")
    assert "last seen on," in verdict_of(plan(Action.ON, storage=False), SessionOpened(), OFF, ON, late=True).reasons[0]


def test_only_a_call_whose_deadline_has_passed_timed_out() -> None:
    facts = Facts.of([WON, SessionOpened(), ON, ISOLATED_A])
    assert not any("Timed out" in reason for reason in judge(plan(), facts).reasons)
    reasons = judge(plan(), facts, late=True).reasons
    assert any(reason.startswith("a, b: Timed out: not every LUN") for reason in reasons), reasons


@pytest.mark.parametrize(("late", "remedy"), [(True, "give a longer deadline"), (False, "call again")])
def test_a_self_fence_bound_that_did_not_pass_says_what_to_do(late: bool, remedy: str) -> None:
    by_self = plan(policy=ProofPolicy.SELF, bmc=False)
    (reason,) = verdict_of(by_self, WON, ISOLATED_A, ISOLATED_B, DONE, late=late).reasons
    assert remedy in reason
