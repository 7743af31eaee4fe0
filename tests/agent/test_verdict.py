# SPDX-License-Identifier: Apache-2.0
"""Success is never said without a sufficient proof, whatever was observed and in whatever order."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fencer.agent.facts import Facts
from fencer.agent.plan import Plan
from fencer.agent.report import summarise
from fencer.agent.verdict import EXIT_FAILURE, EXIT_OK, is_beaten, judge, suffices
from fencer.model import (
    Action,
    ArbitrationMode,
    ChassisCommand,
    Proof,
    ProofPolicy,
)
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    ChassisCommanded,
    ChassisObserved,
    LunFailed,
    LunIsolated,
    Noted,
    Observation,
    PowerDone,
    PowerFailed,
    SessionOpened,
    StorageDone,
    StorageFailed,
)
from tests.decisions.calls import (
    DONE,
    DUE,
    EVERYTHING,
    FAILED_B,
    FOUND_A,
    FOUND_B,
    FOUND_OFF,
    ISOLATED_A,
    ISOLATED_B,
    LOST,
    OFF,
    ON,
    REFUSED,
    UNREACHABLE,
    WEAK_B,
    WON,
    plan,
    plans,
    verdict_of,
)

# --- whatever is observed --------------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(plans, st.lists(st.sampled_from(EVERYTHING), max_size=14), st.booleans())
def test_no_success_without_a_sufficient_proof(the_plan: Plan, seen: list[Observation], late: bool) -> None:
    verdict = verdict_of(the_plan, *seen, late=late)
    assert verdict.exit_status in (EXIT_OK, EXIT_FAILURE)
    if verdict.exit_status != EXIT_OK:
        assert verdict.text == ""
        assert verdict.reasons
        return
    assert verdict.text.startswith("Success: ")
    assert suffices(the_plan.request.policy, verdict.proofs)
    last = [what for what in seen if isinstance(what, Arbitrated)][-1:]
    if the_plan.storage is not None and last:
        assert last[0].result is not ArbitrationResult.LOST
    if the_plan.gated:
        assert last
        assert last[0].result is ArbitrationResult.WON or (
            the_plan.request.storage is not None and the_plan.request.storage.arbitration is ArbitrationMode.PREFERRED
        )
    if Proof.POWER in verdict.proofs:
        assert the_plan.power is not None
        assert OFF in seen
    if Proof.STORAGE in verdict.proofs:
        assert not any(isinstance(what, LunFailed | StorageFailed) for what in seen)
        done = [what.luns for what in seen if isinstance(what, StorageDone)][-1]
        assert done >= 1
        assert len({what.lun for what in seen if isinstance(what, LunIsolated)}) == done
        # Once weak, always weak: what the target's node had queued when its key went without an abort is not ended
        # by an abort of what it sends later.
        assert verdict.weak is any(not what.aborted for what in seen if isinstance(what, LunIsolated))
    if Proof.SELF in verdict.proofs:
        assert the_plan.request.policy is ProofPolicy.SELF
        assert Proof.STORAGE in verdict.proofs
        assert DUE in seen
    assert "proved by nothing" not in summarise(verdict, Facts.of(seen), the_plan)


@settings(max_examples=250, deadline=None)
@given(
    plans,
    st.lists(st.sampled_from(EVERYTHING), max_size=10),
    st.sampled_from([SessionOpened(), PowerDone(), Noted("x"), ON, PowerFailed("x", True), FAILED_B]),
)
def test_what_proves_nothing_never_makes_a_success(
    the_plan: Plan, seen: list[Observation], nothing: Observation
) -> None:
    if not verdict_of(the_plan, *seen).success:
        assert not verdict_of(the_plan, *seen, nothing).success


@settings(max_examples=250, deadline=None)
@given(plans, st.lists(st.sampled_from(EVERYTHING), max_size=10))
def test_the_deadline_changes_no_verdict_only_its_reasons(the_plan: Plan, seen: list[Observation]) -> None:
    assert verdict_of(the_plan, *seen).success is verdict_of(the_plan, *seen, late=True).success


# --- row by row ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "seen", "success"),
    [
        (policy, seen, success)
        for policy, rows in {
            ProofPolicy.POWER: ((True, True, True), (True, False, True), (False, True, False), (False, False, False)),
            ProofPolicy.STORAGE: ((True, True, True), (True, False, False), (False, True, True), (False, False, False)),
            ProofPolicy.ANY: ((True, True, True), (True, False, True), (False, True, True), (False, False, False)),
            ProofPolicy.ALL: ((True, True, True), (True, False, False), (False, True, False), (False, False, False)),
            ProofPolicy.SELF: ((True, True, True), (True, False, False), (False, True, False), (False, False, False)),
        }.items()
        for power, storage, success in rows
        for seen in [
            [WON, *([OFF] if power else [ON]), *([ISOLATED_A, ISOLATED_B] if storage else [ISOLATED_A, FAILED_B]), DONE]
        ]
    ],
)
def test_policies(policy: ProofPolicy, seen: list[Observation], success: bool) -> None:
    assert verdict_of(plan(policy=policy), *seen).success is success


@pytest.mark.parametrize(("power", "storage", "due"), list(product([False, True], repeat=3)))
@pytest.mark.parametrize("policy", ProofPolicy)
@pytest.mark.parametrize("bmc", [False, True])
def test_time_alone_proves_nothing_and_changes_no_other_policy(
    policy: ProofPolicy, bmc: bool, power: bool, storage: bool, due: bool
) -> None:
    """All there is: with time passed only ``self`` may succeed where it did not without, and only beside storage."""
    seen = [WON, *([OFF] if power else []), *([ISOLATED_A, ISOLATED_B] if storage else []), DONE]
    the_plan = plan(policy=policy, bmc=bmc)
    without, with_time = verdict_of(the_plan, *seen), verdict_of(the_plan, *seen, *([DUE] if due else []))
    if policy is ProofPolicy.SELF:
        assert with_time.success is (storage and (due or (power and bmc)))
        assert (Proof.SELF in with_time.proofs) is (storage and due)
    else:
        assert with_time == without


def test_a_race_that_was_lost_is_lost_whatever_time_has_passed() -> None:
    the_plan = plan(policy=ProofPolicy.SELF, bmc=False)
    assert not verdict_of(the_plan, LOST, ISOLATED_A, ISOLATED_B, DONE, DUE).success
    assert not verdict_of(plan(policy=ProofPolicy.SELF, storage=False), OFF, DUE).success


def test_self_is_named() -> None:
    the_plan = plan(policy=ProofPolicy.SELF)
    seen = (WON, ISOLATED_A, ISOLATED_B, DONE)
    waiting = verdict_of(the_plan, *seen, PowerFailed("bmc: no answer", False), late=True)
    assert any("victim: its self-fence bound of 24 s did not pass within 30 s" in reason for reason in waiting.reasons)
    verdict = verdict_of(the_plan, *seen, DUE)
    assert verdict.proofs == (Proof.STORAGE, Proof.SELF)
    text = summarise(verdict, Facts.of([*seen, DUE]), the_plan)
    assert "self (the 24 s have passed in which its sidecar resets it)" in text
    assert "It was not seen powered off" in text
    assert any("let 24 s pass" in step for step in the_plan.steps())


@pytest.mark.parametrize("end", [LOST, REFUSED, UNREACHABLE])
@pytest.mark.parametrize("policy", ProofPolicy)
def test_a_race_not_won_beats_an_observed_off(end: Arbitrated, policy: ProofPolicy) -> None:
    verdict = verdict_of(plan(policy=policy), OFF, ISOLATED_A, ISOLATED_B, DONE, end)
    assert not verdict.success
    assert "nothing was powered off" in verdict.reasons[0]


@pytest.mark.parametrize("end", [LOST, REFUSED, UNREACHABLE])
@pytest.mark.parametrize("command", [ChassisCommand.OFF, ChassisCommand.CYCLE])
def test_a_race_that_is_lost_after_power_was_touched_does_not_say_that_it_was_not(
    end: Arbitrated, command: ChassisCommand
) -> None:
    """The first attempt at the BMC broke down, and before the second one this node was fenced."""
    reasons = verdict_of(plan(), WON, ChassisCommanded(command), PowerFailed("bmc: lost", False), end).reasons
    assert "nothing was powered off" not in reasons[0]
    assert "a power command had been sent before" in reasons[0]


def test_a_race_of_which_nothing_was_said_is_not_won() -> None:
    assert not verdict_of(plan(policy=ProofPolicy.ANY), OFF, ISOLATED_A, ISOLATED_B, DONE).success


SHOWN = UNREACHABLE._replace(registered=True)


@pytest.mark.parametrize(
    ("arbitration", "seen", "beaten"),
    [
        (ArbitrationMode.REQUIRED, (LOST,), True),
        (ArbitrationMode.REQUIRED, (REFUSED,), True),
        (ArbitrationMode.PREFERRED, (REFUSED,), True),
        (ArbitrationMode.REQUIRED, (UNREACHABLE,), True),
        (ArbitrationMode.REQUIRED, (SHOWN,), False),
        (ArbitrationMode.REQUIRED, (), True),
        (ArbitrationMode.REQUIRED, (WON,), False),
        (ArbitrationMode.REQUIRED, (WON, LOST), True),
        (ArbitrationMode.PREFERRED, (LOST,), True),
        (ArbitrationMode.PREFERRED, (UNREACHABLE,), False),
        (ArbitrationMode.PREFERRED, (), False),
        (ArbitrationMode.OFF, (), False),
    ],
)
def test_who_may_not_shoot_the_winner_by_other_means(
    arbitration: ArbitrationMode, seen: tuple[Observation, ...], beaten: bool
) -> None:
    """Nor may a node for which time ran out: that it was not seen unregistered does not show that it is registered."""
    assert is_beaten(plan(arbitration=arbitration), Facts.of(seen)) is beaten


def test_without_luns_no_node_is_beaten() -> None:
    assert not is_beaten(plan(storage=False), Facts.of([PowerFailed("bmc: no answer", False)]))
    assert not is_beaten(plan(Action.STATUS, bmc=False), Facts())


def test_unreachable_is_no_obstacle_where_arbitration_is_only_preferred() -> None:
    preferred = plan(arbitration=ArbitrationMode.PREFERRED)
    assert verdict_of(preferred, UNREACHABLE, OFF).success
    assert not verdict_of(preferred, LOST, OFF).success


@pytest.mark.parametrize("states", [(), (ON,)])
def test_power_that_was_not_seen_off_proves_nothing(states: tuple[ChassisObserved, ...]) -> None:
    commanded = ChassisCommanded(ChassisCommand.OFF)
    assert not verdict_of(plan(storage=False), SessionOpened(), commanded, *states, PowerDone()).success


def test_no_luns_at_all_prove_nothing() -> None:
    assert not verdict_of(plan(policy=ProofPolicy.STORAGE), WON, StorageDone(0)).success


def test_one_lun_less_than_there_are_proves_nothing() -> None:
    assert not verdict_of(plan(policy=ProofPolicy.STORAGE), WON, ISOLATED_A, DONE).success


def test_a_worker_that_died_after_isolating_proves_nothing() -> None:
    assert not verdict_of(plan(policy=ProofPolicy.STORAGE), WON, ISOLATED_A, ISOLATED_B, StorageFailed("died")).success


@pytest.mark.parametrize("again", [ISOLATED_B, FOUND_B])
def test_a_lun_that_was_isolated_weakly_stays_so_when_it_is_isolated_again(again: LunIsolated) -> None:
    verdict = verdict_of(plan(policy=ProofPolicy.STORAGE, bmc=False), WON, ISOLATED_A, WEAK_B, again, DONE)
    assert verdict.success
    assert verdict.weak


def test_weak_is_named() -> None:
    the_plan, seen = plan(policy=ProofPolicy.STORAGE, bmc=False), (WON, ISOLATED_A, WEAK_B, DONE)
    verdict = verdict_of(the_plan, *seen)
    assert verdict.success
    assert verdict.weak
    assert "plain PREEMPT" in summarise(verdict, Facts.of(seen), the_plan)


@pytest.mark.parametrize(
    ("action", "seen", "text"),
    [
        (Action.OFF, (WON, FOUND_OFF, ChassisCommanded(ChassisCommand.OFF), OFF, PowerDone()), "Success: Already OFF"),
        (Action.OFF, (WON, ChassisCommanded(ChassisCommand.OFF), FOUND_OFF, OFF, PowerDone()), "Success: Powered OFF"),
        (Action.OFF, (WON, ON, ChassisCommanded(ChassisCommand.OFF), OFF), "Success: Powered OFF"),
        (Action.REBOOT, (WON, OFF, PowerFailed("on: refused", True)), "Success: Rebooted"),
        (Action.REBOOT, (WON, OFF, ON, PowerDone()), "Success: Rebooted"),
    ],
)
def test_texts_of_power(action: Action, seen: tuple[Observation, ...], text: str) -> None:
    assert verdict_of(plan(action), *seen).text == text


@pytest.mark.parametrize(
    ("seen", "text"),
    [((ISOLATED_A, FOUND_B), "Success: Powered OFF"), ((FOUND_A, FOUND_B), "Success: Already OFF")],
)
def test_texts_of_storage(seen: tuple[Observation, ...], text: str) -> None:
    assert verdict_of(plan(policy=ProofPolicy.STORAGE, bmc=False), WON, *seen, DONE).text == text


def test_a_reboot_that_did_not_come_on_says_why_beside_its_success() -> None:
    verdict = verdict_of(
        plan(Action.REBOOT), WON, ISOLATED_A, ISOLATED_B, DONE, OFF, PowerFailed("bmc: on refused", True)
    )
    assert verdict.reasons == ("bmc: on refused: correct what it refuses, in the options or at the BMC",)


@pytest.mark.parametrize(
    ("policy", "may"),
    [
        (ProofPolicy.POWER, True),
        (ProofPolicy.ALL, True),
        (ProofPolicy.ANY, False),
        (ProofPolicy.STORAGE, False),
        (ProofPolicy.SELF, False),
    ],
)
def test_a_fence_may_repair_a_nexus_only_where_every_target_is_switched_off(policy: ProofPolicy, may: bool) -> None:
    assert plan(policy=policy).may_repair is may
    assert not plan(Action.DIAG, policy).may_repair


def test_more_luns_than_there_should_be_prove_nothing() -> None:
    by_storage = plan(bmc=False, policy=ProofPolicy.STORAGE)
    assert verdict_of(by_storage, WON, ISOLATED_A, StorageDone(1)).success
    assert not verdict_of(by_storage, WON, ISOLATED_A, ISOLATED_B, StorageDone(1)).success


def test_a_new_race_takes_the_self_fence_time_back() -> None:
    facts = Facts.of((WON, ISOLATED_A, StorageDone(1), DUE))
    by_self = plan(policy=ProofPolicy.SELF)
    assert judge(by_self, facts).success
    facts.forget_isolation()
    for what in (ISOLATED_A, StorageDone(1)):
        facts.add(what)
    assert not judge(by_self, facts).success
    facts.add(DUE)
    assert judge(by_self, facts).success


@pytest.mark.parametrize("order", [(FOUND_A, ISOLATED_A), (ISOLATED_A, FOUND_A)])
def test_a_lun_that_was_written_to_once_is_not_found_so(order: tuple[Observation, ...]) -> None:
    verdict = verdict_of(plan(bmc=False, policy=ProofPolicy.STORAGE), WON, *order, StorageDone(1))
    assert verdict.text == "Success: Powered OFF"


def test_a_fence_proved_by_power_alone_is_not_weak() -> None:
    """Weak is a proof by storage. Here it is none: not every LUN was isolated."""
    by_power = verdict_of(plan(policy=ProofPolicy.ANY), WON, OFF, PowerDone(), WEAK_B)
    assert (by_power.success, by_power.weak) == (True, False)
    assert not verdict_of(plan(), LOST, WEAK_B).weak


@pytest.mark.parametrize(("states", "warned"), [((OFF, ON), False), ((ON, OFF, ON), False), ((ON, OFF), True)])
def test_a_reboot_warns_only_where_the_node_was_last_seen_off(states: tuple[Observation, ...], warned: bool) -> None:
    verdict = verdict_of(plan(Action.REBOOT, storage=False), *states, PowerDone())
    assert verdict.success
    assert any("switch it on" in reason for reason in verdict.reasons) is warned


def test_exit_statuses_are_what_callers_expect() -> None:
    assert verdict_of(plan(), WON, OFF).exit_status == 0
    assert verdict_of(plan(), LOST).exit_status == 1
