# SPDX-License-Identifier: Apache-2.0
"""Each reason of a failure, whatever was planned and observed, ends with what to do: ``subject: cause: remedy``."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fencer.agent.facts import Facts
from fencer.agent.plan import Plan
from fencer.agent.request import Caller
from fencer.agent.verdict import EXIT_OK, judge
from fencer.model import Action, ArbitrationMode, PowerState, ProofPolicy
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    ChassisObserved,
    LunFailed,
    LunIsolated,
    LunState,
    Observation,
    PowerDone,
    PowerFailed,
    SelfFenceDue,
    SessionOpened,
    StorageDone,
    StorageFailed,
)
from tests.decisions.calls import EVERYTHING, plan

GONE, WON = LunIsolated("a", aborted=True, already=False), Arbitrated(ArbitrationResult.WON, "a")
BARE = LunState("a", False, False)
BY_WORKERS = "mend it"
"""Ends the reasons that workers give. tests/storage/test_remedies.py holds theirs."""

_FAILING = (LunFailed, StorageFailed)
SEEN = (
    *(what for what in EVERYTHING if not isinstance(what, _FAILING)),
    LunFailed("b", f"b: dead: {BY_WORKERS}"),
    StorageFailed(f"died: {BY_WORKERS}"),
)
REMEDIES = (
    "call again", "give ", "mend ", "look at ", "leave this node ", "correct ", "check ", "run ", "switch it on",
)  # fmt: skip
"""How a remedy begins: with what an operator has to do."""

plans = st.builds(
    plan,
    st.sampled_from([Action.OFF, Action.REBOOT, Action.DIAG, Action.ON, Action.STATUS, Action.MONITOR]),
    st.sampled_from(list(ProofPolicy)),
    bmc=st.booleans(),
    storage=st.booleans(),
    local=st.booleans(),
    arbitration=st.sampled_from(list(ArbitrationMode)),
    caller=st.sampled_from(list(Caller)),
)


def ends_with_a_remedy(reason: str) -> bool:
    return reason.rpartition(": ")[2].startswith(REMEDIES)


@settings(max_examples=1000, deadline=None)
@given(plans, st.lists(st.sampled_from(SEEN), max_size=10), st.booleans())
def test_each_reason_of_a_failure_ends_with_its_remedy(the_plan: Plan, seen: list[Observation], late: bool) -> None:
    verdict = judge(the_plan, Facts.of(seen), late)
    if not verdict.success:
        assert verdict.reasons
    for reason in verdict.reasons:
        assert ends_with_a_remedy(reason), reason


BY_SELF = plan(policy=ProofPolicy.SELF)


@pytest.mark.parametrize(
    ("the_plan", "seen", "late", "says"),
    [
        (BY_SELF, (WON, GONE, StorageDone(1), PowerFailed("bmc: no", False)), True, "did not pass within 30 s"),
        (BY_SELF, (WON, GONE, StorageDone(1)), False, "did not pass before the end"),
        (plan(bmc=False, policy=ProofPolicy.SELF), (WON,), False, "proves nothing while its key"),
        (plan(bmc=False, policy=ProofPolicy.STORAGE), (StorageFailed(f"died: {BY_WORKERS}"),), False, "died"),
        (plan(bmc=False, policy=ProofPolicy.STORAGE), (WON,), True, "not every LUN answered"),
        (plan(Action.REBOOT), (WON, ChassisObserved(PowerState.OFF), PowerDone()), False, "not every LUN was isolated"),
        (
            plan(Action.REBOOT, storage=False),
            (SessionOpened(), ChassisObserved(PowerState.OFF)),
            False,
            "was not seen on again",
        ),
        (plan(Action.DIAG), (WON,), False, "nothing was seen that decides it"),
        (plan(Action.DIAG, storage=False), (), False, "nothing was seen that decides it"),
        (plan(Action.ON, storage=False), (SelfFenceDue(1.0),), False, "nothing was seen that decides it"),
        (plan(Action.STATUS, storage=False), (), False, "nothing was seen that decides it"),
        (plan(Action.STATUS, bmc=False), (BARE, StorageDone(1)), False, "no reservation is held"),
        (plan(Action.MONITOR), (), False, "nothing was seen that decides it"),
    ],
)  # fmt: skip
def test_what_is_said_without_an_error_of_a_device(
    the_plan: Plan, seen: tuple[Observation, ...], late: bool, says: str
) -> None:
    verdict = judge(the_plan, Facts.of(seen), late)
    assert any(says in reason and ends_with_a_remedy(reason) for reason in verdict.reasons), verdict.reasons


@pytest.mark.parametrize(
    ("left_s", "start_s", "says"),
    [
        (math.inf, 0.0, "within 30 s"),
        (29.8, 0.2, "within 30 s"),
        (15.0, 0.2, "within 15.0 s of the deadline's 30 s"),
        (15.0, 21.04, "within 15.0 s of the deadline's 30 s (this program took 21.0 s to start: this machine is "
                      "overloaded)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("the_plan", "seen", "before", "after"),
    [
        (plan(bmc=False, policy=ProofPolicy.STORAGE), (WON,), "not every LUN answered ", ": mend its paths"),
        (plan(storage=False), (), "opened no session ", ": check its address"),
        (plan(storage=False), (SessionOpened(),), "did not finish ", ": call again"),
        (BY_SELF, (WON, GONE, StorageDone(1), PowerFailed("bmc: no", False)), "did not pass ", ", counted from"),
    ],
)
def test_a_deadline_names_the_time_that_the_run_really_had(
    the_plan: Plan, seen: tuple[Observation, ...], before: str, after: str, left_s: float, start_s: float, says: str
) -> None:
    """A slow start takes up to half of the deadline: who reads this must not look at paths that were not waited for."""
    timing = the_plan.request.timing._replace(left_s=left_s, start_s=start_s)
    the_plan = the_plan._replace(request=the_plan.request._replace(timing=timing))
    reasons = judge(the_plan, Facts.of(seen), True).reasons
    assert any(f"{before}{says}{after}" in reason for reason in reasons), reasons


def test_a_failure_that_is_a_warning_only_names_its_remedy_too() -> None:
    seen = (WON, ChassisObserved(PowerState.OFF), PowerDone(), LunFailed("b", f"b: dead: {BY_WORKERS}"))
    verdict = judge(plan(), Facts.of(seen), False)
    assert verdict.exit_status == EXIT_OK
    assert verdict.reasons
    assert all(ends_with_a_remedy(reason) for reason in verdict.reasons)
