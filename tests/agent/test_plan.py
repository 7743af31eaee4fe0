# SPDX-License-Identifier: Apache-2.0
"""What a plan needs, and its text for --dry-run."""

import pytest

from fencer.agent.plan import Plan, make_plan
from fencer.agent.request import Caller
from fencer.model import Action, KnownBmc, ProofPolicy
from tests.agent.test_verdict import plan

GUID = bytes(range(16))


@pytest.mark.parametrize(
    ("action", "caller", "needs"),
    [
        (Action.OFF, Caller.PERSON, True),
        (Action.REBOOT, Caller.PERSON, True),
        (Action.OFF, Caller.CLUSTER, True),
        (Action.DIAG, Caller.PERSON, False),
        (Action.DIAG, Caller.CLUSTER, True),
        (Action.ON, Caller.CLUSTER, False),
        (Action.STATUS, Caller.PERSON, False),
        (Action.MONITOR, Caller.CLUSTER, False),
    ],
)
def test_what_has_to_be_proved(action: Action, caller: Caller, needs: bool) -> None:
    assert plan(action, caller=caller).needs_proof is needs


def _with_known(known: KnownBmc | None, *, storage: bool = False, target: str | None = "victim") -> Plan:
    request = plan(storage=storage).request
    assert request.bmc is not None
    return make_plan(request._replace(bmc=request.bmc._replace(known=known), target=target))


@pytest.mark.parametrize(
    ("made", "never_seen"),
    [
        (_with_known(KnownBmc(None, "look")), True),
        (_with_known(KnownBmc(GUID, "look")), False),
        (_with_known(None), False),
        (_with_known(KnownBmc(None, "look"), storage=True), False),
        (_with_known(KnownBmc(GUID, "look"), storage=True), False),
        (_with_known(KnownBmc(None, "look"), target=None), False),
    ],
)
def test_a_bmc_that_was_never_seen(made: Plan, never_seen: bool) -> None:
    assert made.power is not None
    assert made.power.never_seen is never_seen


BMC, RACE, ISOLATE = "log in to the BMC", "arbitrate (required)", "isolate victim"
OFF, SELF = "switch chassis power off", "let 24 s pass"


@pytest.mark.parametrize(
    ("made", "begin"),
    [
        (plan(), (BMC, RACE, ISOLATE, OFF, "succeed", "give up")),
        (plan(storage=False), (BMC, OFF, "succeed", "give up")),
        (plan(bmc=False, policy=ProofPolicy.STORAGE), (RACE, ISOLATE, "succeed", "give up")),
        (plan(policy=ProofPolicy.SELF), (BMC, RACE, ISOLATE, OFF, SELF, "succeed", "give up")),
        (plan(bmc=False, policy=ProofPolicy.SELF), (RACE, ISOLATE, SELF, "succeed", "give up")),
    ],
)
def test_the_steps_of_a_plan(made: Plan, begin: tuple[str, ...]) -> None:
    steps = made.steps()
    assert len(steps) == len(begin)
    assert all(step.startswith(each) for step, each in zip(steps, begin, strict=True)), steps
    assert any("unless the BMC reports" in step for step in steps) is (SELF in begin and BMC in begin)
