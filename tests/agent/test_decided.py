# SPDX-License-Identifier: Apache-2.0
"""When a call is over: nothing that may still be seen changes its verdict."""

from itertools import permutations

import pytest

from fencer.agent.facts import Facts
from fencer.agent.verdict import decided, judge, suffices
from fencer.model import Action, ArbitrationMode, Proof, ProofPolicy
from fencer.observations import LunRegistered, LunState, Observation, PowerDone, PowerFailed, StorageFailed
from tests.decisions.calls import (
    DONE,
    DUE,
    FAILED_B,
    ISOLATED_A,
    ISOLATED_B,
    LOST,
    OFF,
    ON,
    REFUSED,
    UNREACHABLE,
    WON,
    plan,
    verdict_of,
)

POWER, STORAGE, SELF = Proof.POWER, Proof.STORAGE, Proof.SELF


@pytest.mark.parametrize(
    ("policy", "enough"),
    [
        (ProofPolicy.POWER, [{POWER}]),
        (ProofPolicy.STORAGE, [{STORAGE}]),
        (ProofPolicy.ANY, [{POWER}, {STORAGE}]),
        (ProofPolicy.SELF, [{STORAGE, POWER}, {STORAGE, SELF}]),
        (ProofPolicy.ALL, [{POWER, STORAGE}]),
    ],
)
def test_these_proofs_and_more_are_enough(policy: ProofPolicy, enough: list[set[Proof]]) -> None:
    for have in (set(), {POWER}, {STORAGE}, {SELF}, {POWER, SELF}, {STORAGE, SELF}, {POWER, STORAGE}, set(Proof)):
        assert suffices(policy, have) is any(least <= have for least in enough), have


@pytest.mark.parametrize("policy", ProofPolicy)
@pytest.mark.parametrize(("bmc", "storage"), [(True, True), (True, False), (False, True)])
def test_decided_means_that_nothing_more_turns_it_over(policy: ProofPolicy, bmc: bool, storage: bool) -> None:
    """Every order of up to four observations, then any one more that its workers could still make."""
    the_plan = plan(policy=policy, bmc=bmc, storage=storage, arbitration=ArbitrationMode.OFF)
    power = [OFF, PowerFailed("refused", True), PowerDone()] if bmc else []
    luns = [ISOLATED_A, ISOLATED_B, FAILED_B, DONE] if storage else []
    due = [DUE] if the_plan.awaits_self_fence else []
    for length in range(5):
        for seen in permutations([*power, *luns, *due], length):
            facts = Facts.of(seen)
            if not decided(the_plan, facts):
                continue
            now = judge(the_plan, facts).success
            for more in ([] if facts.power_over else power) + ([] if facts.storage_over else luns) + due:
                after = verdict_of(the_plan, *seen, more)
                if more is not FAILED_B:  # a storage proof is only had when its worker is over
                    assert after.success is now, (seen, more)


@pytest.mark.parametrize("end", [LOST, REFUSED, UNREACHABLE])
@pytest.mark.parametrize("action", [Action.OFF, Action.REBOOT, Action.DIAG])
def test_a_race_that_was_not_won_decides(action: Action, end: Observation) -> None:
    assert decided(plan(action, ProofPolicy.ANY), Facts.of([end]))


@pytest.mark.parametrize(
    ("policy", "bmc", "storage", "seen"),
    [
        (ProofPolicy.POWER, True, True, (WON, OFF)),
        (ProofPolicy.STORAGE, True, True, (WON, ISOLATED_A, ISOLATED_B, DONE)),
        (ProofPolicy.ALL, True, True, (WON, OFF, ISOLATED_A, ISOLATED_B, DONE)),
        (ProofPolicy.SELF, True, True, (WON, ISOLATED_A, ISOLATED_B, DONE, DUE)),
        # ... and what can no longer be proved
        (ProofPolicy.POWER, True, False, (PowerFailed("refused", True),)),
        (ProofPolicy.POWER, False, True, (WON,)),
        (ProofPolicy.ANY, False, True, (WON, ISOLATED_A, FAILED_B, DONE)),
        (ProofPolicy.ANY, False, True, (WON, StorageFailed("died"))),
        (ProofPolicy.STORAGE, True, True, (WON, ISOLATED_A, FAILED_B, DONE)),
        (ProofPolicy.STORAGE, True, False, ()),
        (ProofPolicy.ALL, True, True, (WON, OFF, ISOLATED_A, FAILED_B, DONE)),
        (ProofPolicy.ALL, True, True, (WON, ISOLATED_A, ISOLATED_B, DONE, PowerFailed("refused", True))),
        (ProofPolicy.SELF, True, True, (WON, OFF, ISOLATED_A, FAILED_B, DONE)),
    ],
)
def test_what_is_decided(policy: ProofPolicy, bmc: bool, storage: bool, seen: tuple[Observation, ...]) -> None:
    assert decided(plan(policy=policy, bmc=bmc, storage=storage), Facts.of(seen))


@pytest.mark.parametrize(
    ("policy", "seen"),
    [
        (ProofPolicy.POWER, (WON, ISOLATED_A, ISOLATED_B, DONE)),
        (ProofPolicy.ANY, (WON, PowerFailed("refused", True))),
        (ProofPolicy.ANY, (WON, FAILED_B, DONE)),
        (ProofPolicy.ALL, (WON, OFF, PowerDone())),
        (ProofPolicy.SELF, (WON, ISOLATED_A, ISOLATED_B, DONE, PowerFailed("refused", True))),
    ],
)
def test_what_may_still_be_proved_is_waited_for(policy: ProofPolicy, seen: tuple[Observation, ...]) -> None:
    assert not decided(plan(policy=policy), Facts.of(seen))


def test_where_nothing_is_to_be_proved_the_workers_decide() -> None:
    assert not decided(plan(Action.ON, storage=False), Facts.of([ON, PowerDone()]))
    assert not decided(plan(Action.ON, local=True), Facts.of([LunRegistered("a", 1), DONE]))
    assert not decided(plan(Action.MONITOR), Facts.of([ON, LunState("a", True, True), DONE]))
