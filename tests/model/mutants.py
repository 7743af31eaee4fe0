# SPDX-License-Identifier: Apache-2.0
"""The product with one thing broken. The search has to find what each of them breaks."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest.mock import patch

from fencer.agent.run import Run
from fencer.agent.verdict import is_lost
from fencer.model import Deadline, ReservationKey
from fencer.observations import ArbitrationResult, LunFailed
from fencer.storage import (
    arbitration,
    fenced_record,
    guarded_registration,
    isolation,
    procedure,
    registration,
    unfencing,
)
from fencer.storage.arbitration import Contest, RaceResult
from fencer.storage.key_removal import remove_key
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import Look, guard_key
from fencer.storage.nexus import Nexus, Outcome
from tests.model.procedures import Setting
from tests.model.scenarios import FORGETS, STORAGE, TWO_LUNS
from tests.model.state import Budget, Scenario
from tests.model.target import TargetKind

WON, LOST = ArbitrationResult.WON, ArbitrationResult.LOST


def _go_without_a_look(run: Run) -> None:
    end = run.facts.arbitration
    if run._race_is_open or end is None or is_lost(run._plan, run.facts) or not run._let_in:
        return
    run._go(None)


def _race_by_answer(lun: LogicalUnit, contest: Contest, first: Look, deadline: Deadline, _sleep: object) -> RaceResult:
    if contest.own not in first.keys:
        return RaceResult(LOST)
    removal = remove_key(lun.nexuses[0], contest.own, contest.target, contest.reservation_type, deadline)
    return RaceResult(WON if removal.may_have_removed else LOST, removal=removal)


def _absence_wins(look: Look, contest: Contest) -> RaceResult | None:
    if not contest.victims(look):
        return RaceResult(WON)
    return None if contest.own in look.keys else RaceResult(LOST)


def _guard_without_generation(
    nexus: Nexus, own: ReservationKey, _before: object, aptpl: bool, deadline: Deadline, _own_is_listed: bool
) -> Outcome:
    guard = guard_key(own)
    nexus.register(None, guard, aptpl, deadline)
    return nexus.register(guard, own, aptpl, deadline)


def _without_guard(
    nexus: Nexus, own: ReservationKey, aptpl: bool, deadline: Deadline, *, absent_at: int | None = None
) -> Outcome:
    del absent_at
    return nexus.register_and_ignore(own, aptpl, deadline)


def _marker_afterwards(directory: str, marker: Any) -> None:
    if all(mark.registered for mark in marker.luns):
        _write_marker(directory, marker)


def _write_marker(directory: str, marker: object) -> None:
    from tests.model import procedures

    procedures._write_marker(directory, marker)


class Mutant(NamedTuple):
    """places: module or class, name, and what is there instead."""

    name: str
    scenario: Scenario
    places: tuple[tuple[object, str, Callable[..., object]], ...] = ()

    def broken(self) -> ExitStack:
        """Breaks the product until the stack is closed. To be entered within procedures.product_in_steps."""
        stack = ExitStack()
        for where, name, what in self.places:
            stack.enter_context(patch.object(where, name, what))
        return stack


MUTANTS = (
    Mutant(
        "power goes without a look directly before",
        Scenario("one boots, both fence", budget=Budget(fences=2, ons=1, reboots=1)),
        ((Run, "_let_go", _go_without_a_look),),
    ),
    Mutant(
        "the answer of PREEMPT decides the race, not a reading",
        Scenario("race, lost", budget=Budget(fences=2, losses=1)),
        ((arbitration, "_race", _race_by_answer),),
    ),
    Mutant(
        "a race is won where the target's key is missing, whatever became of one's own",
        Scenario("three nodes", Setting(nodes=3), budget=Budget(fences=3)),
        ((arbitration, "race_result", _absence_wins),),
    ),
    Mutant(
        "the target executes a PREEMPT of a nexus that is not registered",
        Scenario("race", target=TargetKind(careless=True), budget=Budget(fences=2)),
    ),
    Mutant(
        "a nexus is registered in a race without a guard key",
        Scenario("relogin", budget=Budget(fences=2, relogins=1)),
        ((arbitration, "register_under_guard", _without_guard),),
    ),
    Mutant(
        "the guard key is the key itself",
        Scenario("relogin, killed", budget=Budget(fences=3, relogins=1, crashes=1)),
        ((guarded_registration, "guard_key", lambda key: key),),
    ),
    Mutant(
        "the generation is not compared under the guard key",
        Scenario("relogin", budget=Budget(fences=2, relogins=1)),
        ((guarded_registration, "_by_guard", _guard_without_generation),),
    ),
    Mutant(
        "a node that was fenced in this boot unfences itself",
        Scenario("race, on", budget=Budget(fences=1, ons=1)),
        ((registration, "objection", lambda *_: None), (procedure, "objection", lambda *_: None)),
    ),
    Mutant(
        "the marker is written after the registration only",
        Scenario("on, killed", STORAGE, budget=Budget(fences=1, ons=2, reboots=1, crashes=1)),
        ((unfencing, "write_marker", _marker_afterwards),),
    ),
    Mutant(
        "an absent key is taken for a proof without a trace",
        Scenario("target that forgets", STORAGE, FORGETS, Budget(fences=1, relogins=1, restores=1)),
        ((isolation, "_leave_trace", lambda *_: True),),
    ),
    Mutant(
        "the first registration of a boot asks for no key that is listed",
        Scenario("fence loop", STORAGE, budget=Budget(fences=2, ons=1, reboots=1), meetings=True),
        ((unfencing, "_seen_so", lambda marked, *_: marked),),
    ),
    Mutant(
        "a node that is fenced on one LUN while it registers keeps its key on the others",
        Scenario("two LUNs, fenced in the midst of unfencing", TWO_LUNS, budget=Budget(1, ons=1), begins_fenced=True),
        ((unfencing, "_withdrawn", lambda lun, *_: LunFailed(lun.name, "")),),
    ),
    Mutant(
        "the record that this node was fenced is not read",
        Scenario("fence loop", STORAGE, budget=Budget(fences=2, ons=1, reboots=1), meetings=True),
        ((fenced_record, "refusal", lambda *_: None),),
    ),
)
