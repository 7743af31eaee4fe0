# SPDX-License-Identifier: Apache-2.0
"""What monitor says: would a fence work now?"""

import pytest

from fencer.agent.request import Caller
from fencer.model import (
    Action,
    ArbitrationMode,
    ProofPolicy,
    Side,
)
from fencer.observations import (
    LunState,
    Observation,
    PowerDone,
    SessionOpened,
    StorageDone,
)
from tests.decisions.calls import DONE, FAILED_B, ON, REFUSAL, SILENCE, plan, verdict_of

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
