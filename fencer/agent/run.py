# SPDX-License-Identifier: Apache-2.0
"""Runs a plan: arbitrate → isolate beside power → observations. One thread, two expendable children, one deadline.

The children talk to hardware and report what they see; here it is only decided when power may be touched, when a new
attempt at the BMC is worth it, and when to stop waiting. Every wait ends at the deadline, whatever the children do.
"""

import math
import time
from collections.abc import Callable, Sequence

from fencer._typing import NamedTuple
from fencer.agent.facts import Facts
from fencer.agent.orders import (
    LOOK_GOOD_S,
    Go,
    GoAgain,
    Guarding,
    Login,
    LookAgain,
    Looked,
    PowerOrder,
    Seen,
    StorageOrder,
)
from fencer.agent.plan import Plan
from fencer.agent.verdict import decided, is_lost, proofs_of, suffices
from fencer.model import Action, Deadline, PowerState, Proof
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    LunsIdentified,
    Noted,
    Observation,
    PowerDone,
    PowerFailed,
    SelfFenceDue,
    SessionOpened,
    StorageDone,
    StorageFailed,
)
from fencer.power.procedure import PowerTiming
from fencer.readable import readable
from fencer.worker import Crashed, Workers

RETRY_PAUSE_S = 0.5
"""Between two attempts at a BMC that gave no usable answer."""

PATIENCE_S = 1.0
"""How much longer one side may run when the other has already settled the verdict."""

UNDO_GRACE_S = 2.2
"""How long a storage worker may take to undo a guard key when it is told to stop: its own 2 s, and a little."""

GOODBYE_S = 0.3
"""How long a child may take to log out of its BMC when it is told to stop."""

_LOOK_THERE = "look at the system log, then call again"
_SILENT_END = f"the storage worker ended without a word: {_LOOK_THERE}"


class Stamped(NamedTuple):
    """An observation and when it arrived, in seconds since the start of the run."""

    at_s: float
    what: Observation


class Run:
    """One execution of one plan."""

    def __init__(
        self,
        plan: Plan,
        deadline: Deadline,
        workers: Workers,
        observe: Callable[[Sequence[Stamped]], None],
        interrupted: Callable[[], bool] = lambda: False,
        age_s: float = 0.0,
    ) -> None:
        """age_s: how long ago the call began, without the delay that was asked for. Ranks are as long as it took."""
        self._plan = plan
        self._deadline = deadline
        self._workers = workers
        self._observe = observe
        self._interrupted = interrupted
        self._began = time.monotonic()
        self._called_s = self._began - age_s
        self._power_again_at: float | None = None
        self._settled_at: float | None = None
        self._self_fence_at: float | None = None
        self._may_log_in = False
        self._gone = False
        self._race_is_open = False
        self._let_in = False
        self._login_until: float | None = None
        self._asked: LookAgain | None = None
        self._asks = 0
        self._guarded: set[str] = set()
        self.facts = Facts()
        self.late = False
        self.misuse: str | None = None
        """Why the storage worker refused its order as bad input; a sentence for the caller."""

    def execute(self) -> Facts:
        """Runs until everything is over, nothing can change the verdict any more, or the deadline has passed."""
        try:
            self._start_storage()
            if self._plan.power is not None:
                self._start_power()
            else:
                self._workers.drop_power()  # warmed up for an address that this action has no use for
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
        if self._login_until is not None and now >= self._login_until:
            limit = f"{self._plan.request.timing.login_limit_s:g} s (login_timeout)"
            self._note(
                PowerFailed(f"{self._plan.request.bmc}: Timed out: login: no session within {limit}", final=False)
            )
            self._end_power_attempt(again=True)
        if self._self_fence_at is not None and now >= self._self_fence_at:
            self._self_fence_at = None
            self._note(SelfFenceDue(self._plan.request.self_fence_bound_s))
            return
        workers = [worker for worker in (self._workers.power, self._workers.storage) if worker is not None]
        for worker in readable(workers, self._pause_s(now)):
            if worker is self._workers.power:
                self._from_power(worker.receive())
            elif worker is self._workers.storage:  # what the other one said may have replaced it
                self._from_storage(worker.receive())

    def _pause_s(self, now: float) -> float:
        until = [self._deadline.at, now + 0.5]
        if self._power_again_at is not None:
            until.append(self._power_again_at)
        if self._self_fence_at is not None:
            until.append(self._self_fence_at)
        if self._login_until is not None:
            until.append(self._login_until)
        if (patience := self._patience_ends()) is not None:
            until.append(patience)
        return max(0.0, min(until) - now)

    def _from_power(self, message: object) -> None:
        match message:
            case None:
                self._power_crashed("the attempt at the BMC ended without a word", _LOOK_THERE)
            case Crashed(reason):
                self._power_crashed(reason, "call again")
            case PowerFailed():
                self._note(message)
                self._end_power_attempt(again=not message.final)
            case SessionOpened():
                self._note(message)
                self._let_in = True
                self._login_until = None
                self._let_go()
            case GoAgain():
                self._gone = False
                self._let_go()
            case PowerDone():
                self._note(message)
                self._end_power_attempt(again=False)
            case _:
                self._note(message)  # type: ignore[arg-type]  # unpickled; Facts leaves alone what it does not know

    def _power_crashed(self, reason: str, remedy: str) -> None:
        self._note(PowerFailed(f"{self._plan.request.bmc}: {reason}", final=False, remedy=remedy))
        self._end_power_attempt(again=True)

    def _from_storage(self, message: object) -> None:
        match message:
            case Seen(what):
                self._seen_by_storage(what)
            case Looked():
                self._looked(message)
            case Guarding():
                self._note_guard(message)
            case None | Crashed():
                if isinstance(message, Crashed) and message.misuse:
                    self.misuse = message.reason
                reason = message.reason if isinstance(message, Crashed) else _SILENT_END
                self._storage_ended(StorageFailed(reason))
            case _:
                pass  # no message of ours says anything else

    def _note_guard(self, message: Guarding) -> None:
        (self._guarded.add if message.begins else self._guarded.discard)(message.path)

    def _seen_by_storage(self, several: tuple[Observation, ...]) -> None:
        self._note(*(what for what in several if not isinstance(what, (Arbitrated, StorageDone))))
        for what in several:
            match what:
                case LunsIdentified():
                    self._grant_login()
                case Arbitrated():
                    self._arbitrated(what)
                case StorageDone():
                    self._storage_ended(what)
                case _:
                    pass

    def _storage_ended(self, end: StorageDone | StorageFailed) -> None:
        if not self.facts.storage_over:
            self._note(end)
            if self._plan.awaits_self_fence and Proof.STORAGE in proofs_of(self._plan, self.facts):
                # Counted from when we know it: the key was gone no later than that.
                self._self_fence_at = time.monotonic() + self._plan.request.self_fence_bound_s
        if self._race_is_open:
            reason = end.reason if isinstance(end, StorageFailed) else "the storage worker did not arbitrate"
            self._arbitrated(Arbitrated(ArbitrationResult.UNREACHABLE, "", reason))
        if isinstance(end, StorageFailed) or not self._plan.gated or self._plan.power is None:
            self._workers.drop_storage()
            self._asked = None
            self._let_go()

    def _arbitrated(self, end: Arbitrated) -> None:
        self._race_is_open = False
        self._note(end)
        if not is_lost(self._plan, self.facts):
            self._grant_login()
            self._let_go()

    def _let_go(self) -> None:
        """Lets power be touched once the BMC has let us in, the race is won, and a look directly before shows so.

        A win grows stale: the target may be in the middle of its boot, register, and fence this node.
        """
        end = self.facts.arbitration
        if not self._plan.gated or self._race_is_open or end is None or is_lost(self._plan, self.facts):
            return
        if not self._let_in or self._gone or self._asked is not None:
            return
        if end.result is not ArbitrationResult.WON:
            self._go(None)  # power is used all the same, where arbitration is only preferred
        elif self._workers.storage is None:
            self._play_again()
        else:
            self._asks += 1
            self._asked = LookAgain(self._asks)
            self._workers.storage.send(self._asked)

    def _looked(self, look: Looked) -> None:
        if self._asked is None or look.number != self._asked.number:
            return
        self._asked = None
        if not self._let_in:
            return  # that attempt at the BMC is over
        if time.monotonic() - look.at_s > LOOK_GOOD_S:
            self._let_go()
        elif look.result is ArbitrationResult.WON:
            self._go(look.at_s)
        elif look.result is None:
            self._play_again()
        elif self._proved():
            self._leave_power()
        else:
            arbiter = self.facts.arbitration.lun if self.facts.arbitration is not None else ""
            self._arbitrated(Arbitrated(look.result, arbiter, look.reason))

    def _play_again(self) -> None:
        """A new race, unless the verdict is a success already: what was proved is not put at risk for more."""
        if self._proved():
            self._leave_power()
            return
        self._self_fence_at = self._settled_at = None
        self.facts.forget_isolation()
        self._drop_storage()
        self._start_storage()

    def _proved(self) -> bool:
        """Whether the verdict is a success already."""
        fences = self._plan.request.action is not Action.DIAG and self._plan.needs_proof
        return fences and suffices(self._plan.request.policy, proofs_of(self._plan, self.facts))

    def _leave_power(self) -> None:
        """Ends the power worker: the target was proved fenced, and may have come back since."""
        self._note(Noted(f"{self._plan.request.who}: it is fenced, and may be back since: its power is left alone"))
        if self._workers.power is not None:
            self._workers.power.end_within(GOODBYE_S)
        self._end_power_attempt(again=False)

    def _grant_login(self) -> None:
        if self._may_log_in:
            return
        self._may_log_in = True
        if self._workers.power is not None:
            self._workers.power.send(Login())
            self._login_begins()

    def _go(self, looked_at_s: float | None) -> None:
        self._gone = True
        if self._workers.power is not None:
            self._workers.power.send(Go(looked_at_s))

    def _login_begins(self) -> None:
        limit_s = self._plan.request.timing.login_limit_s
        self._login_until = time.monotonic() + limit_s if limit_s < math.inf else None

    def _note(self, *several: Observation) -> None:
        for what in several:
            self.facts.add(what)
        at_s = time.monotonic() - self._began
        self._observe([Stamped(at_s, what) for what in several])

    # --- workers --------------------------------------------------------------------------------------------------

    def _start_storage(self) -> None:
        plan, storage = self._plan, self._plan.request.storage
        if plan.storage is None or storage is None:
            self._workers.drop_storage()  # warmed up for LUNs that this action does not look at
            return
        self._race_is_open = plan.gated
        terms = plan.request.timing.rank_slot_s, self._called_s, plan.may_repair, plan.needs_storage
        self._workers.need_storage().send(StorageOrder(plan.storage, storage, *terms, self._deadline))

    def _start_power(self) -> None:
        request, goal = self._plan.request, self._plan.power
        if goal is None or request.bmc is None:
            return
        if PowerState.OFF in self.facts.states:
            goal = goal._replace(off_proven=True)
        bmc, guid = request.bmc, self.facts.bmc_guid
        if guid is not None and bmc.known is not None and bmc.known.guid is None:
            # Who answered one attempt has to answer the next; seen on by it, off is no longer what was found.
            bmc = bmc._replace(known=bmc.known._replace(guid=guid, remedy="look which host has this address"))
            goal = goal._replace(never_seen=goal.never_seen and PowerState.ON not in self.facts.states)
        timing = PowerTiming(
            power_timeout_s=request.timing.power_timeout_s,
            status_sleep_s=request.timing.status_sleep_s,
            power_wait_s=request.timing.power_wait_s,
            on_tries=max(1, request.timing.retry_on),
        )
        worker = self._workers.need_power()
        worker.send(PowerOrder(bmc, goal, timing, self._plan.gated))
        self._let_in = self._gone = False
        if self._may_log_in:
            worker.send(Login())
        if not self._plan.gated or self._may_log_in:
            self._login_begins()

    def _end_power_attempt(self, again: bool) -> None:
        self._workers.drop_power()
        self._let_in = False
        self._login_until = None
        self._power_again_at = time.monotonic() + RETRY_PAUSE_S if again else None

    def _stop_workers(self) -> None:
        """Gives the power worker time to log out and the storage worker time to undo a guard key. Then ends both."""
        if self._workers.power is not None:
            self._workers.power.end_within(GOODBYE_S)
        self._drop_storage()
        self._workers.drop()

    def _drop_storage(self) -> None:
        storage, until = self._workers.storage, time.monotonic() + UNDO_GRACE_S
        while storage is not None and (left_s := until - time.monotonic()) > 0:
            # Where none is known: one may have been begun, and told, while this process got no processor.
            if not readable([storage], left_s if self._guarded else 0.0):
                break
            match storage.receive():
                case Guarding() as message:
                    self._note_guard(message)
                case None | Crashed():
                    break
        self._guarded.clear()
        self._workers.drop_storage()

    # --- when to stop ---------------------------------------------------------------------------------------------

    def _finished(self) -> bool:
        power_over = self._workers.power is None and self._power_again_at is None
        storage_over = (self._plan.storage is None or self.facts.storage_over) and self._self_fence_at is None
        if (power_over and storage_over) or is_lost(self._plan, self.facts):
            return True
        now = time.monotonic()
        if now >= self._deadline.at or self._interrupted():
            self.late = True
            return True
        if self._settled_at is None and decided(self._plan, self.facts):
            self._settled_at = now
            self._self_fence_at = None
        patience = self._patience_ends()
        return patience is not None and now >= patience

    def _patience_ends(self) -> float | None:
        """When to stop although a worker is not finished; None while the verdict is open.

        A power worker that has its session is let finish, since a reboot is not over when the node is off; but the node
        is fenced, and a survivor waits to take over. One that never got a session has the login timeout from the start.
        """
        if self._settled_at is None:
            return None
        if self._workers.power is None and self._power_again_at is None:
            return self._settled_at + PATIENCE_S
        timing = self._plan.request.timing
        if self.facts.session:  # so long that a node that does not come on again is reported as such
            each_s = timing.power_timeout_s + 2 * timing.power_wait_s
            return self._settled_at + each_s * max(1, timing.retry_on) + PATIENCE_S
        return max(self._settled_at, self._began + timing.login_timeout_s)
