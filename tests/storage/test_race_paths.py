# SPDX-License-Identifier: Apache-2.0
"""The race over several paths: what is read over each, and how paths that lost their registration come back."""

import pytest

from fencer.model import OtherKeys
from fencer.observations import ArbitrationResult
from fencer.storage.arbitration import Contest, arbitrate, round_over, still_won
from fencer.storage.logical_unit import FIRST_PAUSE_S, LogicalUnit
from fencer.storage.look import Look, guard_key
from fencer.storage.nexus import Outcome
from fencer.storage.pr import OutAction, Reservation
from fencer.storage.turns import Turns
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import (
    ABORT,
    FULL_STATUS,
    GONE,
    KEYS,
    REGISTER,
    RESERVATION,
    FaultyPath,
    faulty,
    never,
    unit,
)
from tests.storage.nodes import WERO, A, B, C, Clock, contest, deadline, lun, registered

WON, LOST, UNREACHABLE = ArbitrationResult.WON, ArbitrationResult.LOST, ArbitrationResult.UNREACHABLE

# --- what is read, and how often --------------------------------------------------------------------------------------


def test_who_has_rank_0_looks_once_before_it_writes_and_once_over_each_path_afterwards() -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    first, second = faulty(target, "a1", clock, strikes=never), faulty(target, "a2", clock, strikes=never)
    race = unit(first, second, clock=clock)
    assert arbitrate(race, contest(), deadline(clock), clock.sleep).result is WON
    assert first.commands == [RESERVATION, KEYS, FULL_STATUS, ABORT, RESERVATION, KEYS]
    assert second.commands == [RESERVATION, KEYS]


def test_who_is_not_registered_asks_one_path_alone() -> None:
    clock, target = Clock(), registered("b")
    first, second = faulty(target, "a1", clock, strikes=never), faulty(target, "a2", clock, strikes=never)
    assert arbitrate(unit(first, second, clock=clock), contest(), deadline(clock), clock.sleep).result is LOST
    assert first.commands == [RESERVATION, KEYS]
    assert second.commands == []


def test_a_key_that_comes_back_between_two_looks_is_removed() -> None:
    """The first path shows it absent; when all are read it is there, over each of them."""
    clock, target = Clock(), registered("a1", "a2")

    def come_back(path: FaultyPath, cdb: bytes) -> bool:
        if len(path.sent) == 3:  # the first look was two commands
            registered("b", holder=None, target=target)
        return False

    race = unit(faulty(target, "a1", clock, strikes=come_back), target.nexus("a2"), clock=clock)
    end = arbitrate(race, contest(), deadline(clock), clock.sleep)
    assert (end.result, target.keys) == (WON, [A, A])
    assert end.removal is not None


@pytest.mark.parametrize("weak", [B, guard_key(B)])
def test_the_targets_own_key_goes_first_and_each_removal_counts(weak: int) -> None:
    """Of one of the target's two keys the answer to the removal is lost: together they are weak."""
    clock, target = Clock(), registered("a", "b")
    target.registrations[target._session("b2")] = int(guard_key(B))
    victims: list[int] = []

    class Path(FaultyPath):
        def execute(self, cdb: bytes, *, data_out: bytes = b"", **more: object):  # type: ignore[no-untyped-def, override]
            reply = super().execute(cdb, data_out=data_out, **more)  # type: ignore[arg-type]
            if cdb[:2] == ABORT:
                victims.append(int.from_bytes(data_out[8:16]))
                if victims[-1] == weak:
                    raise GONE
            return reply

    path = Path(target.nexus("a"), clock, GONE, never)
    end = arbitrate(unit(path, clock=clock), contest(), deadline(clock), clock.sleep)
    assert end.result is WON
    assert victims == [B, guard_key(B)]
    assert end.removal is not None
    assert not end.removal.aborted


# --- the look before power may go -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "result"), [(("a",), WON), (("a", "c"), WON), ((), LOST), (("b",), LOST), (("a", "b"), None)]
)
def test_whether_a_race_is_won_still(names: tuple[str, ...], result: ArbitrationResult | None) -> None:
    target = registered(*names)
    end = still_won(lun(target, "a"), contest(), deadline())
    assert (None if end is None else end.result) is result
    assert target.log == []


def test_a_race_at_a_lun_that_does_not_answer_is_not_won_still() -> None:
    target = registered("a")
    target.silent.add("a")
    end = still_won(lun(target, "a"), contest(), deadline(seconds=2.0))
    assert end is not None
    assert (end.result, end.registered) == (UNREACHABLE, False)
    assert "silent" in end.reason


def test_who_may_not_read_any_more_has_won_no_longer() -> None:
    target = registered("b", target=FakeTarget(reads_need_registration=True))
    end = still_won(lun(target, "a"), contest(), deadline(seconds=2.0))
    assert end is not None
    assert end.result is LOST
    assert f"this node's key {A} is not registered" in end.reason


# --- rounds -----------------------------------------------------------------------------------------------------------


def over(race: LogicalUnit, turns: Turns, clock: Clock, **more: object) -> str:
    return round_over(race, contest(**more), turns, deadline(clock), clock.sleep)


def test_without_a_repair_the_next_round_comes_after_a_pause() -> None:
    clock, target = Clock(), registered("a", "b")
    race = unit(target.nexus("a"), clock=clock)
    assert over(race, Turns(race), clock) == ""
    assert clock.now >= FIRST_PAUSE_S


def test_a_path_that_is_registered_again_has_its_turn_at_once() -> None:
    """Once it is done, it is done: no second attempt, and no pause."""
    clock, target = Clock(), registered("a", "b")
    target.relogin("a")
    race = unit(target.nexus("a"), clock=clock)
    turns = Turns(race)
    turns.note(race.nexuses[0], Outcome.CONFLICT, None)
    assert over(race, turns, clock) == ""
    assert turns.next() is race.nexuses[0]
    assert clock.now < 0.01
    assert [action for _, action, _ in target.log] == [OutAction.REGISTER, OutAction.REGISTER]


@pytest.mark.parametrize("other", ["fails", "lost its guard"])
def test_one_path_that_cannot_be_registered_hinders_no_other_one(other: str) -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    target.relogin("a1")
    target.relogin("a2")
    first = faulty(target, "a1", clock, GONE, lambda _path, cdb: other == "fails" or _move(target, cdb))
    race = unit(first, target.nexus("a2"), clock=clock)
    turns = Turns(race)
    for nexus in race.nexuses:
        turns.note(nexus, Outcome.CONFLICT, None)
    assert over(race, turns, clock) == ""
    assert not turns.unregistered
    assert target.registrations[target._session("a2")] == A
    assert target._session("a1") not in target.registrations


def _move(target: FakeTarget, cdb: bytes) -> bool:
    """Another node is quicker: the generation moves."""
    target.generation += cdb[:2] == REGISTER
    return False


def test_a_path_that_is_registered_is_not_repaired_but_one_behind_it_is() -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    target.relogin("a2")
    race = unit(target.nexus("a1"), target.nexus("a2"), clock=clock)
    turns = Turns(race)
    turns.note(race.nexuses[1], Outcome.CONFLICT, None)
    assert over(race, turns, clock) == ""
    assert not turns.unregistered
    assert [name for name, _, _ in target.log] == ["a2", "a2"]


def test_a_path_that_conflicted_although_it_is_registered_has_turns_again() -> None:
    """PREEMPT conflicts also where the victim is not registered: the path itself had its key all the time."""
    clock, target = Clock(), registered("a", "b")
    race = unit(target.nexus("a"), clock=clock)
    turns = Turns(race)
    turns.note(race.nexuses[0], Outcome.CONFLICT, None)
    assert over(race, turns, clock) == ""
    assert not turns.unregistered
    assert target.registrations[target._session("a")] == A


@pytest.mark.parametrize("unregistered", [False, True])
def test_why_there_is_no_other_round(unregistered: bool) -> None:
    clock, target = Clock(), registered("a", "b")
    race = unit(target.nexus("a"), clock=clock)
    turns = Turns(race)
    turns.note(race.nexuses[0], Outcome.CONFLICT if unregistered else Outcome.UNSUPPORTED, None)
    why = over(race, turns, clock, repair=False)
    assert ("but on none of the paths that it has now" in why) is unregistered
    assert ("PREEMPT: not supported by this target" in why) is not unregistered


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "says"),
    [
        (None, "give cluster_conf=FILE"),
        (OtherKeys((A, B), unnamed_most=1), "leave key= and local_key= out on all nodes"),
        (OtherKeys((A, B)), "give all nodes the same cluster file"),
    ],
)
def test_a_doubt_says_what_mends_it(others: OtherKeys | None, says: str) -> None:
    doubt = Contest(A, B, WERO, True, 0.0, False, others).doubt(Look(1, frozenset((A, C)), Reservation(1, A, WERO)))
    assert doubt is not None
    assert says in doubt
