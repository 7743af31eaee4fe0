# SPDX-License-Identifier: Apache-2.0
"""Plans and workers for a run on a clock of its own (tests/rig/clocked_run.py)."""

import pytest

from fencer.agent.orders import Go, Login, LookAgain, Looked, PowerOrder, Seen, StorageOrder
from fencer.agent.plan import Plan, make_plan
from fencer.agent.request import Caller, Request, StorageRequest, Timing
from fencer.model import (
    Action,
    ArbitrationMode,
    BmcSettings,
    ChassisCommand,
    PowerState,
    ProofPolicy,
    ReservationKey,
    Secret,
)
from fencer.observations import (
    ArbitrationResult,
    ChassisCommanded,
    ChassisObserved,
    LunsIdentified,
    Observation,
    PowerDone,
    PowerFailed,
    SessionOpened,
    StorageDone,
)
from fencer.storage.settings import StorageSettings
from tests.rig.clocked_run import Part, PlayedWorker
from tests.rig.plays import ISOLATED, WON

_STORAGE = StorageRequest(StorageSettings(("lun",), None, ReservationKey(1)), ReservationKey(2))
BMC = BmcSettings("bmc", 623, b"", Secret(b""))
IDENTIFIED = LunsIdentified(("lun",))
ALL = (IDENTIFIED, WON, ISOLATED, StorageDone(1))


def plan(
    action: Action = Action.OFF,
    *,
    policy: ProofPolicy = ProofPolicy.POWER,
    bmc: BmcSettings | None = BMC,
    storage: bool = False,
    arbitration: ArbitrationMode = ArbitrationMode.REQUIRED,
    self_fence_bound_s: float = 0.0,
    timing: Timing = Timing(),  # noqa: B008 - it cannot be changed
) -> Plan:
    luns = _STORAGE._replace(arbitration=arbitration) if storage else None
    request = Request(
        action, Caller.CLUSTER, "victim", False, policy, bmc, luns,
        timing=timing, self_fence_bound_s=self_fence_bound_s,
    )  # fmt: skip
    return make_plan(request)


def about(seconds: float) -> object:
    """So many seconds; the few messages before, and the end of the wait, take their hundredths."""
    return pytest.approx(seconds, abs=0.1)


def obedient(*, lets_in_after_s: float = 0.0, off_after_s: float = 0.0) -> Part:
    """A power worker whose BMC works. off_after_s: after it may, and is let in."""

    def part(worker: PlayedWorker, message: object) -> None:
        ungated = isinstance(message, PowerOrder) and not message.gated
        if ungated or isinstance(message, Login):
            worker.says(SessionOpened(), after_s=lets_in_after_s)
        if ungated or isinstance(message, Go):
            after_s = off_after_s + (lets_in_after_s if ungated else 0.0)
            worker.says(ChassisCommanded(ChassisCommand.OFF), after_s=after_s)
            worker.says(ChassisObserved(PowerState.OFF), PowerDone(), after_s=after_s)

    return part


def storage(*steps: tuple[float, tuple[Observation, ...]], looks: ArbitrationResult | None = WON.result) -> Part:
    """A storage worker that sees the steps, each so many seconds after its order, and answers each question at once."""

    def part(worker: PlayedWorker, message: object) -> None:
        if isinstance(message, StorageOrder):
            for after_s, what in steps:
                worker.says(Seen(what), after_s=after_s)
        elif isinstance(message, LookAgain):
            worker.says(Looked(message.number, looks, "", worker.clock()))

    return part


def after_a_failure(after_s: float = 1.0, then: Part | None = None) -> Part:
    """A power worker whose first attempt fails after so many seconds. then: each later one; None: that works."""
    first: list[PlayedWorker] = []

    def part(worker: PlayedWorker, message: object) -> None:
        if not first:
            first.append(worker)
            worker.says(PowerFailed("bmc: no answer", final=False), after_s=after_s)
        elif worker is not first[0]:
            (then or obedient())(worker, message)

    return part
