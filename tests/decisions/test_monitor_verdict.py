# SPDX-License-Identifier: Apache-2.0
"""What monitor says: would a fence work now?"""

import pytest

from fencer.agent.request import Caller
from fencer.model import (
    Action,
    ArbitrationMode,
    ChassisCommand,
    Privilege,
    ProofPolicy,
    Side,
)
from fencer.observations import (
    ChassisCommanded,
    LunState,
    Observation,
    PowerDone,
    SessionOpened,
    StorageDone,
)
from tests.decisions.calls import DONE, FAILED_B, OFF, ON, REFUSAL, SILENCE, WON, plan, verdict_of

READY = (LunState("a", True, True), LunState("b", True, True), StorageDone(2))
UNREADY = (LunState("a", True, True), LunState("b", False, True), StorageDone(2))
ANSWERS = (SessionOpened(), ON, PowerDone())


@pytest.mark.parametrize(
    ("policy", "power", "storage", "caller", "works"),
    [
        *((policy, ANSWERS, READY, caller, True) for policy in ProofPolicy for caller in Caller),
        *((policy, ANSWERS, UNREADY, Caller.CLUSTER, True) for policy in ProofPolicy),
        *((policy, ANSWERS, UNREADY, Caller.PERSON, False) for policy in ProofPolicy),
        *((policy, SILENCE, READY, Caller.CLUSTER, False) for policy in (ProofPolicy.POWER, ProofPolicy.ALL)),
        *(
            (policy, SILENCE, READY, caller, True)
            for policy in (ProofPolicy.ANY, ProofPolicy.SELF, ProofPolicy.STORAGE)
            for caller in Caller
        ),
        (ProofPolicy.ANY, SILENCE, (FAILED_B, LunState("a", True, True), DONE), Caller.CLUSTER, False),
        (ProofPolicy.ANY, SILENCE, UNREADY, Caller.PERSON, False),
        *((policy, REFUSAL, READY, Caller.CLUSTER, False) for policy in ProofPolicy),
    ],
)
def test_monitor_says_whether_a_fence_would_work(
    policy: ProofPolicy, power: tuple[Observation, ...], storage: tuple[Observation, ...], caller: Caller, works: bool
) -> None:
    late = power is SILENCE
    verdict = verdict_of(plan(Action.MONITOR, policy, caller=caller), *power, *storage, late=late)
    assert verdict.success is works
    assert (Side.POWER in verdict.failed) is (power is not ANSWERS)
    assert bool(verdict.reasons) is (not works or bool(verdict.failed))


def test_monitor_without_arbitration_needs_no_key_where_power_fences() -> None:
    the_plan = plan(Action.MONITOR, arbitration=ArbitrationMode.OFF, caller=Caller.PERSON)
    assert verdict_of(the_plan, *ANSWERS, *UNREADY).success


def test_a_monitor_of_an_unregistered_node_tells_a_person_what_to_do() -> None:
    verdict = verdict_of(plan(Action.MONITOR, caller=Caller.PERSON), *ANSWERS, *UNREADY)
    assert verdict.failed == (Side.STORAGE,)
    assert verdict.reasons == (
        "b: a fence fails while this node is not registered: run fence_halvm -o on on it (unfence)",
    )


@pytest.mark.parametrize("storage", [False, True])
@pytest.mark.parametrize(
    ("privilege", "switches"),
    [
        (Privilege.CALLBACK, False),
        (Privilege.USER, False),
        (Privilege.OPERATOR, True),
        (Privilege.ADMINISTRATOR, True),
        (None, True),
    ],
)
def test_monitor_fails_where_the_session_may_not_switch_power(
    privilege: Privilege | None, switches: bool, storage: bool
) -> None:
    """Reading the state works with each of them, so only the privilege that was asked for tells."""
    the_plan = plan(Action.MONITOR, storage=storage, privilege=privilege)
    verdict = verdict_of(the_plan, *ANSWERS, *(READY if storage else ()))
    assert verdict.success is switches
    assert verdict.failed == (() if switches else (Side.POWER,))
    assert any(reason.startswith("privlvl: ") for reason in verdict.reasons) is not switches


@pytest.mark.parametrize(
    ("action", "seen"),
    [
        (Action.STATUS, ANSWERS),
        (Action.ON, ANSWERS),
        (Action.OFF, (WON, SessionOpened(), ChassisCommanded(ChassisCommand.OFF), OFF, PowerDone())),
        (Action.REBOOT, (WON, SessionOpened(), ChassisCommanded(ChassisCommand.OFF), OFF, ON, PowerDone())),
    ],
)
def test_what_the_bmc_did_is_no_failure_of_its_side_whatever_privilege_was_asked_for(
    action: Action, seen: tuple[Observation, ...]
) -> None:
    verdict = verdict_of(plan(action, storage=False, privilege=Privilege.USER), *seen)
    assert (verdict.success, verdict.failed) == (True, ())
