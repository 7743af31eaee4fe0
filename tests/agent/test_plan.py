# SPDX-License-Identifier: Apache-2.0
"""What a plan needs, and its text for --dry-run."""

import pytest

from fencer.agent.plan import Plan, make_plan
from fencer.agent.request import Caller
from fencer.model import Action, ArbitrationMode, KnownBmc, ProofPolicy
from fencer.power.procedure import PowerAim
from fencer.storage.goal import StorageGoal
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


@pytest.mark.parametrize(
    ("known", "storage", "target", "never_seen"),
    [
        (KnownBmc(None, "look"), False, "victim", True),
        (KnownBmc(GUID, "look"), False, "victim", False),
        (None, False, "victim", False),
        (KnownBmc(None, "look"), True, "victim", False),
        (KnownBmc(GUID, "look"), True, "victim", False),
        (KnownBmc(None, "look"), False, None, False),
    ],
)
def test_a_bmc_that_was_never_seen(known: KnownBmc | None, storage: bool, target: str | None, never_seen: bool) -> None:
    request = plan(storage=storage).request
    assert request.bmc is not None
    made = make_plan(request._replace(bmc=request.bmc._replace(known=known), target=target))
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


# --- the whole of each question, by a table ---------------------------------------------------------------------------

FENCES = (Action.OFF, Action.REBOOT, Action.DIAG)
ACTIONS = (*FENCES, Action.ON, Action.STATUS, Action.MONITOR)
WHERE = [(True, True), (True, False), (False, True)]
"""Whether there is a BMC, and whether there are LUNs."""


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("bmc", "storage"), WHERE)
@pytest.mark.parametrize("local", [False, True])
def test_which_worker_does_what(action: Action, bmc: bool, storage: bool, local: bool) -> None:
    made = plan(action, bmc=bmc, storage=storage, local=local)
    registers = action is Action.ON and local and storage
    power = {
        Action.OFF: PowerAim.OFF,
        Action.REBOOT: PowerAim.REBOOT,
        Action.DIAG: PowerAim.DIAG,
        Action.ON: None if registers else PowerAim.ON,
        Action.STATUS: PowerAim.STATUS,
        Action.MONITOR: PowerAim.MONITOR,
    }[action]
    lun = {
        Action.ON: StorageGoal.REGISTER if registers else None,
        Action.STATUS: None if bmc else StorageGoal.STATUS,
        Action.MONITOR: StorageGoal.MONITOR,
    }.get(action, StorageGoal.FENCE)
    assert (made.power.aim if made.power is not None else None) is (power if bmc else None)
    assert made.storage is (lun if storage else None)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("bmc", "storage"), WHERE)
@pytest.mark.parametrize("arbitration", ArbitrationMode)
def test_power_waits_for_the_race_where_there_is_one(
    action: Action, bmc: bool, storage: bool, arbitration: ArbitrationMode
) -> None:
    made = plan(action, bmc=bmc, storage=storage, arbitration=arbitration)
    assert made.gated is (action in FENCES and storage and arbitration is not ArbitrationMode.OFF)
    assert any("once arbitration is won" in step for step in made.steps()) is (made.gated and bmc)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("policy", ProofPolicy)
@pytest.mark.parametrize(("bmc", "storage"), WHERE)
def test_what_each_policy_needs_and_allows(action: Action, policy: ProofPolicy, bmc: bool, storage: bool) -> None:
    """docs/decisions/0002: a nexus is registered again only where every fence switches its target off."""
    made = plan(action, policy, bmc=bmc, storage=storage)
    by_power, by_both = policy is ProofPolicy.POWER, policy is ProofPolicy.ALL
    assert made.may_repair is (action is not Action.DIAG and (by_power or by_both))
    assert made.needs_power is (not storage or by_power or by_both)
    assert made.needs_storage is (not bmc or by_both or policy in (ProofPolicy.STORAGE, ProofPolicy.SELF))
    off = action in (Action.OFF, Action.REBOOT)
    assert made.awaits_self_fence is (off and policy is ProofPolicy.SELF and storage)


@pytest.mark.parametrize(
    ("caller", "storage", "step"),
    [
        (Caller.PERSON, True, "succeed once the BMC has taken the interrupt, which is no fence"),
        (Caller.PERSON, False, "succeed once the BMC has taken the interrupt, which is no fence"),
        (Caller.CLUSTER, True, "succeed only once the BMC has taken the interrupt, and on proof: "),
        (Caller.CLUSTER, False, "fail: an interrupt proves nothing, and there are no LUNs"),
    ],
)
def test_when_an_interrupt_is_a_success(caller: Caller, storage: bool, step: str) -> None:
    (said,) = [each for each in plan(Action.DIAG, storage=storage, caller=caller).steps() if "interrupt" in each][1:]
    assert said.startswith(step)


@pytest.mark.parametrize("action", ACTIONS)
def test_without_luns_no_step_is_about_them(action: Action) -> None:
    steps = plan(action, storage=False).steps()
    assert not any("key" in step and not step.startswith(("succeed", "fail")) for step in steps)
