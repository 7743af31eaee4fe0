# SPDX-License-Identifier: Apache-2.0
"""Plays a plan with children that do as a test wants, and the children that tests want most."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fencer.agent.orders import Go, Login, LookAgain, Looked, PowerOrder, Seen, StorageOrder
from fencer.agent.plan import make_plan
from fencer.agent.request import Caller, Request, StorageRequest, Timing
from fencer.agent.run import Run, Stamped
from fencer.agent.verdict import Verdict, judge
from fencer.model import (
    Action,
    ArbitrationMode,
    BmcSettings,
    ChassisCommand,
    Deadline,
    KnownBmc,
    PowerState,
    ProofPolicy,
    ReservationKey,
    Secret,
)
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    ChassisCommanded,
    ChassisObserved,
    LunIsolated,
    Observation,
    PowerDone,
    SessionOpened,
)
from fencer.storage.settings import StorageSettings
from fencer.worker import Channel, Worker, Workers
from tests.test_worker import deaf

WON = Arbitrated(ArbitrationResult.WON, "lun")
LOST = Arbitrated(ArbitrationResult.LOST, "lun", "this node's key is not registered")
UNREACHABLE = Arbitrated(ArbitrationResult.UNREACHABLE, "lun", "no path")
ISOLATED = LunIsolated("lun", aborted=True, already=False)
Job = Callable[[Channel], None]


def looks(result: ArbitrationResult | None = ArbitrationResult.WON, reason: str = "") -> Job:
    """Answers each question whether the race is won still."""

    def job(channel: Channel) -> None:
        while isinstance(question := channel.receive(), LookAgain):
            channel.send(Looked(question.number, result, reason, time.monotonic()))

    return job


def storage_says(*messages: object, then: Job | None = None) -> Job:
    """then: what it does afterwards; one that has won goes on to win, unless told otherwise."""
    if then is None and WON in messages:
        then = looks()

    def job(channel: Channel) -> None:
        assert isinstance(channel.receive(), StorageOrder)
        for message in messages:
            channel.send(Seen((message,)) if isinstance(message, Observation) else message)
        if then is not None:
            then(channel)

    return job


def after(seconds: float, *messages: Observation) -> Job:
    """Says more later, and answers questions only then."""

    def job(channel: Channel) -> None:
        time.sleep(seconds)
        channel.send(Seen(messages))
        looks()(channel)

    return job


SOON_S = 20.0
"""A run that waits for nothing ends within it, also on a busy machine. What hangs here hangs for longer."""


LONG_S = 60.0
"""What a run waits for that has to come has come by then, also on a busy machine."""


def count(kind: type, seen: Sequence[object]) -> int:
    """How many observations of this kind were seen."""
    return sum(isinstance(what, kind) for what in seen)


def hang(_channel: Channel) -> None:
    time.sleep(60)


def obedient_power(channel: Channel) -> None:
    """What power_job does with a BMC that works."""
    order = channel.receive()
    assert isinstance(order, PowerOrder)
    if order.gated and not isinstance(channel.receive(), Login):
        return
    channel.send(SessionOpened())
    if order.gated and not isinstance(channel.receive(), Go):
        return
    channel.send(ChassisCommanded(ChassisCommand.OFF))
    channel.send(ChassisObserved(PowerState.OFF))
    channel.send(PowerDone())


def power_must_not_move(channel: Channel) -> None:
    """Goes on to power off at the first gate that is granted beyond the login."""
    order = channel.receive()
    assert isinstance(order, PowerOrder)
    assert order.gated
    channel.receive()
    channel.send(SessionOpened())
    if isinstance(channel.receive(), Go):
        channel.send(ChassisCommanded(ChassisCommand.OFF))
        channel.send(ChassisObserved(PowerState.OFF))
        channel.send(PowerDone())


@dataclass
class Played:
    verdict: Verdict
    took_s: float
    late: bool
    seen: list[object] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    told_power: list[object] = field(default_factory=list)
    """Every message to a power worker."""


class _WatchedWorkers(Workers):
    """Remembers every child, so that a test can ask whether it is gone, and what power workers were told."""

    pids: list[int]
    told_power: list[object]

    def __init__(self, power_job: Job, storage_job: Job) -> None:
        super().__init__(power_job, storage_job)
        self.pids = []
        self.told_power = []

    def need_power(self) -> Worker:
        worker = super().need_power()
        if worker.pid not in self.pids:
            self.pids.append(worker.pid)
            send = worker.send

            def tell(message: object) -> None:
                self.told_power.append(message)
                send(message)

            worker.send = tell  # type: ignore[method-assign]
        return worker

    def need_storage(self) -> Worker:
        worker = super().need_storage()
        self.pids += [worker.pid] if worker.pid not in self.pids else []
        return worker


def play(
    power: Job | None,
    storage: Job | None,
    *,
    policy: ProofPolicy = ProofPolicy.POWER,
    action: Action = Action.OFF,
    arbitration: ArbitrationMode = ArbitrationMode.REQUIRED,
    deadline_s: float = 40.0,
    power_timeout_s: float = 20.0,
    login_timeout_s: float = 30.0,
    login_limit_s: float = math.inf,
    self_fence_bound_s: float = 0.0,
    known: KnownBmc | None = None,
    deadline_from: Callable[[list[object]], bool] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    warm: bool = False,
) -> Played:
    """deadline_from: deadline_s counts from when this is true of what was seen: a child may start late on a busy
    machine. warm: both children were started before it was known what is asked."""
    request = Request(
        action,
        Caller.CLUSTER,
        "victim",
        False,
        policy,
        BmcSettings("bmc", 623, b"", Secret(b""), known=known) if power else None,
        StorageRequest(StorageSettings(("lun",), None, ReservationKey(1)), ReservationKey(2), arbitration)
        if storage
        else None,
        timing=Timing(
            deadline_s=deadline_s,
            power_timeout_s=power_timeout_s,
            login_timeout_s=login_timeout_s,
            login_limit_s=login_limit_s,
        ),
        self_fence_bound_s=self_fence_bound_s,
    )
    plan = make_plan(request)
    workers = _WatchedWorkers(power or deaf, storage or deaf)
    seen: list[object] = []

    def observe(several: Sequence[Stamped]) -> None:
        seen.extend(stamped.what for stamped in several)

    if warm:
        workers.need_power()
        workers.need_storage()
    began = time.monotonic()
    waits = deadline_from

    def each_turn() -> bool:
        nonlocal waits
        if waits is not None and waits(seen):
            waits, run._deadline = None, Deadline.after(deadline_s)
        return interrupted()

    run = Run(plan, Deadline.after(LONG_S if waits else deadline_s), workers, observe, each_turn)
    facts = run.execute()
    took_s = time.monotonic() - began
    return Played(judge(plan, facts, run.late), took_s, run.late, seen, workers.pids, workers.told_power)
