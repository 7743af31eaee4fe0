# SPDX-License-Identifier: Apache-2.0
"""Plans, observations and verdicts of one call, as the tests of decisions name them."""

from hypothesis import strategies as st

from fencer.agent.facts import Facts
from fencer.agent.plan import Plan, make_plan
from fencer.agent.request import Caller, Request, StorageRequest
from fencer.agent.verdict import judge
from fencer.model import (
    Action,
    ArbitrationMode,
    BmcSettings,
    ChassisCommand,
    PowerState,
    Privilege,
    ProofPolicy,
    ReservationKey,
    Secret,
)
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    ChassisCommanded,
    ChassisFoundOff,
    ChassisObserved,
    LunFailed,
    LunIsolated,
    LunRegistered,
    LunState,
    Noted,
    Observation,
    PowerDone,
    PowerFailed,
    SelfFenceDue,
    SessionOpened,
    StorageDone,
    StorageFailed,
)
from fencer.storage.settings import StorageSettings

WON = Arbitrated(ArbitrationResult.WON, "a")
LOST = Arbitrated(ArbitrationResult.LOST, "a", "key gone")
REFUSED = Arbitrated(ArbitrationResult.REFUSED, "a", "not met: mend the network")
UNREACHABLE = Arbitrated(ArbitrationResult.UNREACHABLE, "a", "no path")
OFF, ON = ChassisObserved(PowerState.OFF), ChassisObserved(PowerState.ON)
FOUND_OFF = ChassisFoundOff()
ISOLATED_A = LunIsolated("a", aborted=True, already=False)
ISOLATED_B = LunIsolated("b", aborted=True, already=False)
WEAK_B = LunIsolated("b", aborted=False, already=False)
FOUND_A, FOUND_B = LunIsolated("a", True, True), LunIsolated("b", True, True)
FAILED_B = LunFailed("b", "b: dead")
DONE = StorageDone(2)
DUE = SelfFenceDue(24.0)

EVERYTHING: tuple[Observation, ...] = (
    SessionOpened(), ChassisCommanded(ChassisCommand.OFF), ChassisCommanded(ChassisCommand.DIAG), OFF, ON,
    PowerFailed("bmc: no", False), PowerFailed("bmc: refused", True), PowerDone(),
    WON, LOST, REFUSED, UNREACHABLE, ISOLATED_A, ISOLATED_B, WEAK_B, FOUND_A, FAILED_B, Noted("note"),
    LunRegistered("a", 1), LunRegistered("b", 1), LunState("a", True, True), LunState("b", False, True),
    LunState("b", False, False), DONE, StorageDone(0), StorageDone(1), StorageFailed("died"), DUE,
)  # fmt: skip


def plan(
    action: Action = Action.OFF,
    policy: ProofPolicy = ProofPolicy.POWER,
    *,
    bmc: bool = True,
    storage: bool = True,
    local: bool = False,
    arbitration: ArbitrationMode = ArbitrationMode.REQUIRED,
    caller: Caller = Caller.CLUSTER,
    privilege: Privilege | None = None,
) -> Plan:
    return make_plan(
        Request(
            action, caller, "victim", local, policy,
            BmcSettings("bmc", 623, b"", Secret(b""), privilege=privilege) if bmc else None,
            StorageRequest(StorageSettings(("a", "b"), None, ReservationKey(1)), ReservationKey(2), arbitration)
            if storage else None,
            self_fence_bound_s=24.0,
        )
    )  # fmt: skip


def verdict_of(the_plan: Plan, *observations: Observation, late: bool = False):  # type: ignore[no-untyped-def]
    return judge(the_plan, Facts.of(observations), late)


SILENCE = (PowerFailed("bmc: No route to host", final=False),)
REFUSAL = (PowerFailed("bmc: wrong password", final=True),)


plans = st.builds(
    plan,
    st.sampled_from([Action.OFF, Action.REBOOT]),
    st.sampled_from(list(ProofPolicy)),
    bmc=st.booleans(),
    storage=st.booleans(),
    arbitration=st.sampled_from(list(ArbitrationMode)),
    caller=st.sampled_from(list(Caller)),
)
