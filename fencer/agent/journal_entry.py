# SPDX-License-Identifier: Apache-2.0
"""Builds the journal entry of one run: its steps as text, its verdict, and its times."""

import time
from collections.abc import Sequence

from fencer import observations as observed
from fencer._typing import TYPE_CHECKING, assert_never
from fencer.agent.plan import Plan
from fencer.agent.report import describe
from fencer.agent.run import Stamped
from fencer.agent.verdict import Verdict
from fencer.journal.event import Event, EventKind, FenceOutcome, Step, StepName
from fencer.model import Action
from fencer.observations import Observation
from fencer.storage.goal import StorageGoal
from fencer.syslog import NAME

if TYPE_CHECKING:
    from fencer.journal.writer_process import JournalWriter

_BMC = (StepName.SESSION, StepName.COMMAND, StepName.CHASSIS)
_ACTIONS = {Action.OFF, Action.REBOOT, Action.DIAG, Action.ON, Action.MONITOR}


def is_recorded(action: Action) -> bool:
    """Whether a run of this action leaves a record. An action that only reads leaves none, except monitor."""
    return action in _ACTIONS


class Record:
    """The journal entry of one run, sent to the journal writer process as it grows.

    Durations are monotonic; only the beginning is a time of day. writer: None where no record is kept.
    """

    def __init__(self, plan: Plan, actor: str, path: str, writer: "JournalWriter | None") -> None:
        self._plan = plan
        self._actor = actor
        self._path = path
        self._writer = writer
        self._at_unix_s = 0.0
        self._began = 0.0
        self._steps: list[Step] = []
        self._ready_at_s = {True: 0.0, False: 0.0}  # BMC: when its last step was seen; LUNs: when all could go on

    def begin(self) -> None:
        """Records the run with outcome unknown. This entry stays where the agent is killed before its verdict."""
        self._at_unix_s = time.time()
        self._began = time.monotonic()
        if self._writer is not None:
            self._writer.begun(self._path, self._event(FenceOutcome.UNKNOWN, "it was ended before there was a verdict"))

    def observe(self, several: Sequence[Stamped]) -> None:
        """Records the next steps."""
        if self._writer is None:
            return
        steps = [step for stamped in several if (step := self._step(stamped)) is not None]
        if steps:
            self._steps += steps
            self._writer.saw(steps)

    def end(self, verdict: Verdict) -> str | None:
        """Records the verdict. Returns why that failed; None where it is recorded or no record is kept."""
        outcome = FenceOutcome.SUCCESS if verdict.success else FenceOutcome.FAILURE
        more = f" (and {len(verdict.reasons) - 1} more)" if len(verdict.reasons) > 1 else ""
        error = "" if verdict.success else (verdict.reasons or ("no reason was found",))[0] + more
        event = self._event(outcome, error)
        return self._end(event._replace(proofs=verdict.proofs, weak=verdict.weak, failed=verdict.failed))

    def interrupted(self, signal_name: str) -> str | None:
        """Records that a signal ended the run. Returns the same as end."""
        return self._end(self._event(FenceOutcome.UNKNOWN, f"interrupted by {signal_name}"))

    def _end(self, event: Event) -> str | None:
        return self._writer.ended(event) if self._writer is not None else None

    def _step(self, stamped: Stamped) -> Step | None:
        """The step of an observation; None for an observation that needs no line."""
        what = stamped.what
        text = what.text if isinstance(what, observed.Noted) else describe(what, self._plan)
        if not text:
            return None
        name = _name(what)
        bmc = name in _BMC or isinstance(what, observed.PowerFailed)
        took_s = what.bound_s if isinstance(what, observed.SelfFenceDue) else stamped.at_s - self._ready_at_s[bmc]
        step = Step(stamped.at_s, text, name, max(0.0, took_s))
        if bmc or name in (StepName.IDENTIFY, StepName.ARBITRATE):  # LUNs are isolated side by side
            self._ready_at_s[bmc] = stamped.at_s
        if name is StepName.ARBITRATE:
            self._ready_at_s[True] = max(self._ready_at_s[True], stamped.at_s)  # power has waited for it
        return step

    def _event(self, outcome: FenceOutcome, error: str) -> Event:
        request = self._plan.request
        return Event(
            at_unix_s=self._at_unix_s,
            took_s=time.monotonic() - self._began,
            kind=_kind(self._plan),
            program=NAME,
            actor=self._actor,
            target=request.target or (request.bmc.address if request.bmc is not None else ""),
            action=request.action.value,
            outcome=outcome,
            error=error,
            steps=tuple(self._steps),
        )


def _kind(plan: Plan) -> EventKind:
    match plan.request.action:
        case Action.MONITOR:
            return EventKind.MONITOR
        case Action.ON if plan.storage is StorageGoal.REGISTER:
            return EventKind.UNFENCE
        case Action.ON:
            return EventKind.POWER_ON
        case Action.DIAG:
            return EventKind.DIAG
        case _:
            return EventKind.FENCE


def _name(what: Observation) -> StepName:
    match what:
        case observed.SessionOpened() | observed.BmcIdentified():
            return StepName.SESSION
        case observed.ChassisCommanded() | observed.ChassisUnanswered():
            return StepName.COMMAND
        case observed.ChassisFoundOff() | observed.ChassisObserved():
            return StepName.CHASSIS
        case observed.LunsIdentified():
            return StepName.IDENTIFY
        case observed.Arbitrated():
            return StepName.ARBITRATE
        case observed.LunIsolated():
            return StepName.ISOLATE
        case observed.LunRegistered():
            return StepName.REGISTER
        case observed.LunState():
            return StepName.LOOK
        case observed.SelfFenceDue():
            return StepName.SELF_FENCE
        case observed.PowerFailed() | observed.LunFailed() | observed.StorageFailed():
            return StepName.FAILURE
        case observed.PowerDone() | observed.StorageDone() | observed.Noted() | observed.BmcNotReached():
            return StepName.OTHER
        case _:
            assert_never(what)
