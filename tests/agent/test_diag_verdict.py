# SPDX-License-Identifier: Apache-2.0
"""What a diagnostic interrupt proves, and when it is over."""

from itertools import permutations

import pytest

from fencer.agent.facts import Facts
from fencer.agent.request import Caller
from fencer.agent.verdict import decided, judge
from fencer.model import Action, ArbitrationMode, ChassisCommand, Proof, ProofPolicy
from fencer.observations import ChassisCommanded, PowerDone, PowerFailed, SessionOpened
from tests.decisions.calls import (
    DONE,
    FAILED_B,
    ISOLATED_A,
    ISOLATED_B,
    LOST,
    OFF,
    WON,
    plan,
    verdict_of,
)


def test_diag_is_no_fence_for_a_cluster() -> None:
    sent = ChassisCommanded(ChassisCommand.DIAG)
    assert not verdict_of(plan(Action.DIAG, storage=False), sent, PowerDone()).success
    assert verdict_of(plan(Action.DIAG, storage=False, caller=Caller.PERSON), sent, PowerDone()).success
    assert verdict_of(plan(Action.DIAG), WON, sent, ISOLATED_A, ISOLATED_B, DONE).success
    assert not verdict_of(plan(Action.DIAG), WON, ISOLATED_A, ISOLATED_B, DONE).success
    assert not verdict_of(plan(Action.DIAG), LOST, sent, ISOLATED_A, ISOLATED_B, DONE).success
    assert not verdict_of(plan(Action.DIAG), WON, sent, ISOLATED_A, FAILED_B, DONE).success


@pytest.mark.parametrize("policy", ProofPolicy)
@pytest.mark.parametrize("caller", Caller)
def test_diag_waits_for_every_lun_whatever_the_policy(policy: ProofPolicy, caller: Caller) -> None:
    the_plan = plan(Action.DIAG, policy, caller=caller)
    seen = [WON, SessionOpened(), ChassisCommanded(ChassisCommand.DIAG), OFF, PowerDone(), ISOLATED_A]
    assert not decided(the_plan, Facts.of(seen))
    assert not the_plan.awaits_self_fence
    late = verdict_of(the_plan, *seen, late=True)
    assert late.success is (caller is Caller.PERSON)
    assert late.proofs == ()
    assert any("not every LUN answered" in reason for reason in late.reasons)
    assert verdict_of(the_plan, *seen, ISOLATED_B, DONE).proofs == (Proof.STORAGE,)


@pytest.mark.parametrize("policy", ProofPolicy)
@pytest.mark.parametrize("caller", Caller)
@pytest.mark.parametrize(("bmc", "storage"), [(True, True), (True, False)])
def test_a_decided_diag_is_not_turned_over(policy: ProofPolicy, caller: Caller, bmc: bool, storage: bool) -> None:
    the_plan = plan(Action.DIAG, policy, bmc=bmc, storage=storage, caller=caller, arbitration=ArbitrationMode.OFF)
    power = [ChassisCommanded(ChassisCommand.DIAG), OFF, PowerFailed("refused", True), PowerDone()]
    luns = [ISOLATED_A, ISOLATED_B, FAILED_B, DONE] if storage else []
    for length in range(5):
        for seen in permutations([*power, *luns], length):
            facts = Facts.of(seen)
            if decided(the_plan, facts):
                now = judge(the_plan, facts).success
                for more in ([] if facts.power_over else power) + ([] if facts.storage_over else luns):
                    assert verdict_of(the_plan, *seen, more).success is now, (seen, more)


@pytest.mark.parametrize("policy", ProofPolicy)
@pytest.mark.parametrize(
    ("caller", "storage", "step"),
    [
        (Caller.PERSON, True, "succeed once the BMC has taken the interrupt, which is no fence"),
        (Caller.PERSON, False, "succeed once the BMC has taken the interrupt, which is no fence"),
        (Caller.CLUSTER, False, "fail: an interrupt proves nothing"),
        (
            Caller.CLUSTER,
            True,
            "succeed only once the BMC has taken the interrupt, and on proof: the target's key is gone from every LUN",
        ),
    ],
)
def test_the_plan_of_a_diag_says_what_makes_it_a_success(
    policy: ProofPolicy, caller: Caller, storage: bool, step: str
) -> None:
    steps = plan(Action.DIAG, policy, storage=storage, caller=caller).steps()
    assert steps[-2].startswith(step)
    assert not any("power off" in each for each in steps)


@pytest.mark.parametrize("policy", ProofPolicy)
def test_a_diag_is_decided_once_storage_has_failed(policy: ProofPolicy) -> None:
    """Storage alone proves its fence; a success needs the interrupt as well."""
    the_plan = plan(Action.DIAG, policy)
    assert decided(the_plan, Facts.of([WON, ISOLATED_A, FAILED_B, DONE]))
    assert not decided(the_plan, Facts.of([WON, ISOLATED_A, ISOLATED_B, DONE]))
    assert not decided(the_plan, Facts.of([WON, ISOLATED_A, FAILED_B]))
    assert not decided(plan(Action.DIAG, policy, storage=False), Facts.of([FAILED_B, DONE]))
