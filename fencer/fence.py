"""Runs a plan: arbitrate → isolate beside power → observations. One thread, two expendable children, one deadline.

The children talk to hardware and report what they see; here it is only decided when power may be touched, when a new
attempt at the BMC is worth it, and when to stop waiting. Every wait ends at the deadline, whatever the children do.
"""

import select
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from fencer.model import Deadline
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    LunsIdentified,
    Observation,
    PowerDone,
    PowerFailed,
    StorageDone,
    StorageFailed,
)
from fencer.plan import Plan
from fencer.power.chassis import PowerState
from fencer.power.procedure import PowerGoal
from fencer.verdict import Facts, decided, is_lost
from fencer.worker import Channel, Crashed, Lifeline, Worker

RETRY_PAUSE_S = 0.5
"""Between two attempts at a BMC that gave no usable answer."""

PATIENCE_S = 1.0
"""How much longer one side may run when the other has already settled the verdict."""

GOODBYE_S = 0.3
"""How long a child may take to log out of its BMC when it is told to stop."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """An observation and when it arrived, in seconds since the start of the run."""

    at_s: float
    what: Observation


class Gate(Enum):
    """What the parent grants a gated power worker, in this order."""

    LOGIN = auto()  # the LUNs make sense: the BMC may be asked for a session
    GO = auto()  # arbitration is won: power may be changed


PowerJob = Callable[[Channel, PowerGoal, bool], None]
"""What the power worker runs. The flag says gated: wait for Gate.LOGIN, then for Gate.GO before power is changed."""

StorageJob = Callable[[Channel], None]


class Run:
    """One execution of one plan."""

    def __init__(
        self,
        plan: Plan,
        deadline: Deadline,
        power_job: PowerJob | None,
        storage_job: StorageJob | None,
        observe: Callable[[Stamped], None],
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._plan = plan
        self._deadline = deadline
        self._power_job = power_job
        self._storage_job = storage_job
        self._observe = observe
        self._interrupted = interrupted
        self._lifeline = Lifeline()
        self._began = time.monotonic()
        self._power: Worker | None = None
        self._storage: Worker | None = None
        self._power_again_at: float | None = None
        self._settled_at: float | None = None
        self._granted: list[Gate] = []
        self.facts = Facts()
        self.late = False

    def execute(self) -> Facts:
        """Runs until everything is over, nothing can change the verdict any more, or the deadline has passed."""
        try:
            if self._storage_job is not None:
                self._storage = Worker.spawn(self._storage_job, self._lifeline)
            if self._power_job is not None:
                self._start_power()
            while not self._finished():
                self._wait_once()
        finally:
            self._stop_workers()
        return self.facts

    # --- one turn -------------------------------------------------------------------------------------------------

    def _wait_once(self) -> None:
        now = time.monotonic()
        if self._power_again_at is not None and now >= self._power_again_at:
            self._power_again_at = None
            self._start_power()
        workers = [worker for worker in (self._power, self._storage) if worker is not None]
        ready, _, _ = select.select(workers, [], [], self._pause_s(now))
        for worker in ready:
            message = worker.receive()
            if worker is self._power:
                self._from_power(message)
            else:
                self._from_storage(message)

    def _pause_s(self, now: float) -> float:
        until = [self._deadline.at, now + 0.5]
        if self._power_again_at is not None:
            until.append(self._power_again_at)
        if (patience := self._patience_ends()) is not None:
            until.append(patience)
        return max(0.0, min(until) - now)

    def _from_power(self, message: object) -> None:
        match message:
            case None | Crashed():
                reason = (
                    message.reason if isinstance(message, Crashed) else "the attempt at the BMC ended without a word"
                )
                self._note(PowerFailed(f"{self._plan.request.bmc}: {reason}", final=False))
                self._end_power_attempt(again=True)
            case PowerFailed():
                self._note(message)
                self._end_power_attempt(again=not message.final)
            case PowerDone():
                self._note(message)
                self._end_power_attempt(again=False)
            case _:
                self._note(message)  # type: ignore[arg-type]

    def _from_storage(self, message: object) -> None:
        match message:
            case None | Crashed():
                reason = message.reason if isinstance(message, Crashed) else "the storage worker ended without a word"
                self._storage_ended(StorageFailed(reason))
            case StorageDone() | StorageFailed():
                self._storage_ended(message)
            case LunsIdentified():
                self._note(message)
                self._grant(Gate.LOGIN)
            case Arbitrated():
                self._arbitrated(message)
            case _:
                self._note(message)  # type: ignore[arg-type]

    def _storage_ended(self, end: StorageDone | StorageFailed) -> None:
        if not self.facts.storage_over:
            self._note(end)
        if self._plan.gated and self.facts.arbitration is None:
            reason = end.reason if isinstance(end, StorageFailed) else "the storage worker did not arbitrate"
            self._arbitrated(Arbitrated(ArbitrationResult.UNREACHABLE, "", reason))
        self._end_storage()

    def _arbitrated(self, end: Arbitrated) -> None:
        self._note(end)
        if not is_lost(self._plan, self.facts):
            self._grant(Gate.LOGIN)
            self._grant(Gate.GO)

    def _grant(self, gate: Gate) -> None:
        if gate in self._granted:
            return
        self._granted.append(gate)
        if self._power is not None:
            self._power.send(gate)

    def _note(self, what: Observation) -> None:
        self.facts.add(what)
        self._observe(Stamped(time.monotonic() - self._began, what))

    # --- workers --------------------------------------------------------------------------------------------------

    def _start_power(self) -> None:
        goal, job = self._plan.power, self._power_job
        if goal is None or job is None:
            return
        if PowerState.OFF in self.facts.states:
            goal = replace(goal, off_proven=True)
        siblings = (self._storage,) if self._storage is not None else ()
        gated = self._plan.gated
        self._power = Worker.spawn(lambda channel: job(channel, goal, gated), self._lifeline, siblings)
        for gate in self._granted:
            self._power.send(gate)

    def _end_power_attempt(self, again: bool) -> None:
        if self._power is not None:
            self._power.close()
            self._power = None
        self._power_again_at = time.monotonic() + RETRY_PAUSE_S if again else None

    def _end_storage(self) -> None:
        if self._storage is not None:
            self._storage.close()
            self._storage = None

    def _stop_workers(self) -> None:
        """Lets the power worker log out, a moment at most; then nobody is waited for."""
        if self._power is not None:
            self._power.end_within(GOODBYE_S)
        self._end_power_attempt(again=False)
        self._end_storage()

    # --- when to stop ---------------------------------------------------------------------------------------------

    def _finished(self) -> bool:
        power_over = self._power is None and self._power_again_at is None
        if (power_over and self._storage is None) or is_lost(self._plan, self.facts):
            return True
        now = time.monotonic()
        if now >= self._deadline.at or self._interrupted():
            self.late = True
            return True
        if self._settled_at is None and decided(self._plan, self.facts):
            self._settled_at = now
        patience = self._patience_ends()
        return patience is not None and now >= patience

    def _patience_ends(self) -> float | None:
        """When to stop although somebody still works; None while the verdict is open.

        A power worker that has its session is let finish, since a reboot is not over when the node is off; but the node
        is fenced, and somebody waits to take over. One that never got a session has the login timeout from the start.
        """
        if self._settled_at is None:
            return None
        if self._power is None and self._power_again_at is None:
            return self._settled_at + PATIENCE_S
        if self.facts.session:
            return self._settled_at + self._plan.request.timing.power_timeout_s
        return max(self._settled_at, self._began + self._plan.request.timing.login_timeout_s)
