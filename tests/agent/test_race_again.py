# SPDX-License-Identifier: Apache-2.0
"""Where the look before power goes shows no win any more, the race is played again and its proofs are earned anew."""

import select
import time
from pathlib import Path

import pytest

from fencer.agent import run
from fencer.agent.orders import Go, LookAgain, Looked, Seen
from fencer.model import Action, ChassisCommand, PowerState, Proof, ProofPolicy
from fencer.observations import (
    ChassisCommanded,
    ChassisObserved,
    LunFailed,
    LunIsolated,
    Observation,
    PowerDone,
    PowerFailed,
    SelfFenceDue,
    SessionOpened,
    StorageDone,
    StorageFailed,
)
from fencer.worker import Channel
from tests.agent.look_plays import (
    ALL,
    FOUND,
    IDENTIFIED,
    LONG_GOOD_S,
    WEAK,
    Diary,
    bmc,
    commanded,
    luns,
    noting,
)
from tests.rig.plays import (
    ISOLATED,
    LOST,
    UNREACHABLE,
    WON,
    Job,
    after,
    hang,
    looks,
    play,
    storage_says,
)


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Diary:
    monkeypatch.setattr(run, "LOOK_GOOD_S", LONG_GOOD_S)
    return Diary(tmp_path / "diary")


@pytest.mark.parametrize(
    ("second", "goes"),
    [
        (storage_says(*ALL), True),
        (storage_says(IDENTIFIED, LOST), False),
        (storage_says(IDENTIFIED, UNREACHABLE), False),
        (storage_says(StorageFailed("no LUN")), False),
        (storage_says(), False),
    ],
    ids=["won", "lost", "unreachable", "failed", "silent-exit"],
)
@pytest.mark.parametrize("first", ["open again", "dead", "dead when asked"])
def test_a_win_that_is_no_more_is_played_for_again(diary: Diary, first: str, second: Job, goes: bool) -> None:
    """The target is registered again; or nobody is left to ask."""
    then = {"open again": noting(diary, None), "dead": lambda _: None, "dead when asked": lambda c: c.receive()}[first]
    storage = luns(diary, storage_says(*ALL, then=then), second)
    played = play(bmc(diary, lets_in_after_s=0.2), storage, policy=ProofPolicy.ALL)
    assert played.verdict.success is goes
    assert commanded(played) is goes
    assert diary.words.count("race") == 2
    assert not played.late
    if goes:
        assert played.verdict.text == "Success: Powered OFF"  # it was we who took the key, the first time


def losing_it(*last: Observation) -> Job:
    """Asked whether the race is won still, it tells what it has seen last, and that the target is registered again."""

    def job(channel: Channel) -> None:
        question = channel.receive()
        assert isinstance(question, LookAgain)
        channel.send(Seen(last))
        channel.send(Looked(question.number, None, "", time.monotonic()))
        hang(channel)

    return job


@pytest.mark.parametrize("policy", [ProofPolicy.SELF, ProofPolicy.ALL])
def test_what_storage_proved_before_is_no_proof_while_the_race_is_played_again(
    diary: Diary, policy: ProofPolicy
) -> None:
    """The target may be registered again, and its sidecar's time has to be counted anew."""
    first = storage_says(IDENTIFIED, WON, then=losing_it(ISOLATED, StorageDone(1)))
    storage = luns(diary, first, storage_says(IDENTIFIED, WON, then=hang))
    played = play(
        bmc(diary), storage, policy=policy, self_fence_bound_s=2.5,
        deadline_s=4.0, deadline_from=lambda seen: seen.count(WON) == 2,
    )  # fmt: skip
    assert ISOLATED in played.seen
    assert not played.verdict.success
    assert not any(isinstance(what, SelfFenceDue) for what in played.seen)
    assert Proof.STORAGE not in played.verdict.proofs


@pytest.mark.parametrize("again", [ISOLATED, FOUND])
def test_a_removal_that_was_weak_stays_so_when_the_race_is_played_again(diary: Diary, again: LunIsolated) -> None:
    first = storage_says(IDENTIFIED, WON, WEAK, StorageDone(1), then=looks(None))
    storage = luns(diary, first, storage_says(IDENTIFIED, WON, again, StorageDone(1)))
    played = play(bmc(diary), storage, policy=ProofPolicy.ALL)
    assert played.verdict.success
    assert played.verdict.weak


def test_what_failed_before_may_succeed_when_the_race_is_played_again(diary: Diary) -> None:
    first = storage_says(IDENTIFIED, WON, LunFailed("lun", "lun: dead"), then=looks(None))
    played = play(bmc(diary), luns(diary, first, storage_says(*ALL)), policy=ProofPolicy.ALL)
    assert played.verdict.success
    assert not played.verdict.reasons


def test_nothing_is_asked_and_nothing_goes_while_the_race_is_played_again(diary: Diary) -> None:
    """The BMC breaks down meanwhile, and its next session finds the race open: what was won before does not count."""

    def power(channel: Channel) -> None:
        channel.receive()
        channel.receive()
        diary.note("in")
        channel.send(SessionOpened())
        if diary.words.count("in") == 1:
            while diary.words.count("race") < 2:
                time.sleep(0.05)
            channel.send(PowerFailed("Timed out", final=False))
        elif isinstance(channel.receive(), Go):
            diary.note("go")
            channel.send(ChassisObserved(PowerState.OFF))
            channel.send(PowerDone())

    def again(channel: Channel) -> None:
        channel.receive()
        while diary.words.count("in") < 2:
            time.sleep(0.05)
        time.sleep(0.5)
        if select.select([channel], [], [], 0)[0]:
            diary.note("asked-too-early")
        diary.note("won")
        channel.send(Seen((IDENTIFIED, WON)))
        noting(diary)(channel)

    first = storage_says(IDENTIFIED, WON, then=looks(None))
    played = play(power, luns(diary, first, again))
    assert played.verdict.success
    assert diary.words == ["race", "in", "race", "in", "won", "look", "go"]


def test_a_failure_that_seemed_certain_is_played_for_again(diary: Diary) -> None:
    """One LUN was dead, so storage could not prove it; the target is back, and so is the LUN."""
    first = storage_says(IDENTIFIED, WON, LunFailed("lun", "lun: dead"), StorageDone(1), then=looks(None))
    second = storage_says(IDENTIFIED, WON, ISOLATED, StorageDone(1))
    played = play(bmc(diary, lets_in_after_s=0.3), luns(diary, first, second), policy=ProofPolicy.ALL)
    assert played.verdict.success


def test_such_a_race_gets_the_time_that_it_needs(diary: Diary) -> None:
    """The verdict is open again: what is left of the patience with a settled one does not count."""
    first = storage_says(IDENTIFIED, WON, then=losing_it(LunFailed("lun", "lun: dead"), StorageDone(1)))
    second = storage_says(IDENTIFIED, then=after(4.0, WON, ISOLATED, StorageDone(1)))
    played = play(bmc(diary), luns(diary, first, second), policy=ProofPolicy.ALL, power_timeout_s=1.5)
    assert played.verdict.success


@pytest.mark.parametrize("policy", ProofPolicy)
def test_a_diag_that_storage_has_proved_is_not_over_without_its_interrupt(diary: Diary, policy: ProofPolicy) -> None:
    """A fence that is proved leaves power alone where the target is back. A diag still lacks what it was called for."""

    def interrupt(channel: Channel) -> None:
        channel.receive()
        channel.receive()
        channel.send(SessionOpened())
        if isinstance(channel.receive(), Go):
            diary.note("go")
            channel.send(ChassisCommanded(ChassisCommand.DIAG))
            channel.send(PowerDone())

    storage = luns(diary, storage_says(*ALL, then=looks(None)), storage_says(*ALL))
    played = play(interrupt, storage, action=Action.DIAG, policy=policy)
    assert played.verdict.text == "Success: Diagnostic interrupt sent"
    assert diary.words == ["race", "race", "go"]
