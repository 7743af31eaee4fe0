# SPDX-License-Identifier: Apache-2.0
"""A race that was won lets power be touched after one more look at the arbiter, directly before each time.

Between win and GO the target may have booted, registered, and fenced this node; how long that takes nobody knows.
"""

import time
from pathlib import Path

import pytest

from fencer.agent import run
from fencer.agent.orders import LOOK_GOOD_S, Go, Login, LookAgain, Looked, PowerOrder
from fencer.model import ArbitrationMode, PowerState, Proof, ProofPolicy
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    ChassisCommanded,
    ChassisObserved,
    ChassisUnanswered,
    LunFailed,
    Noted,
    Observation,
    PowerDone,
    SessionOpened,
    StorageDone,
)
from fencer.worker import Channel
from tests.agent.look_plays import (
    ALL,
    IDENTIFIED,
    LONG_GOOD_S,
    Diary,
    bmc,
    bmc_that_ignores_the_first_off,
    commanded,
    luns,
    noting,
    noting_in_turn,
)
from tests.rig.plays import (
    ISOLATED,
    LOST,
    SOON_S,
    UNREACHABLE,
    WON,
    count,
    hang,
    play,
    storage_says,
)


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Diary:
    monkeypatch.setattr(run, "LOOK_GOOD_S", LONG_GOOD_S)
    return Diary(tmp_path / "diary")


def test_a_look_comes_between_the_session_and_each_go(diary: Diary) -> None:
    storage = luns(diary, storage_says(*ALL, then=noting(diary)))
    played = play(bmc(diary, lets_in_after_s=0.1, breaks_down=2), storage)
    assert played.verdict.success
    assert diary.words == ["race", *("in", "look", "go") * 3]


def test_a_look_comes_before_each_later_command_of_one_attempt(diary: Diary) -> None:
    won = ArbitrationResult.WON
    storage = luns(diary, storage_says(*ALL, then=noting_in_turn(diary, won, won)))
    played = play(bmc_that_ignores_the_first_off(diary), storage)
    assert played.verdict.success
    assert diary.words == ["race", "in", "look", "off", "asks", "look", "off"]


def test_a_go_carries_the_time_of_its_look(diary: Diary) -> None:
    """The power worker judges its age: a message may be read late."""

    def storage(channel: Channel) -> None:
        question = channel.receive()
        assert isinstance(question, LookAgain)
        channel.send(Looked(question.number, ArbitrationResult.WON, "", time.monotonic() - 0.5))
        hang(channel)

    def power(channel: Channel) -> None:
        channel.receive()
        channel.receive()
        channel.send(SessionOpened())
        go = channel.receive()
        assert isinstance(go, Go)
        assert go.looked_at_s is not None
        diary.note("old" if time.monotonic() - go.looked_at_s >= 0.5 else "new")
        channel.send(ChassisObserved(PowerState.OFF))
        channel.send(PowerDone())

    assert play(power, luns(diary, storage_says(*ALL, then=storage))).verdict.success
    assert diary.words == ["race", "old"]


@pytest.mark.parametrize("command", [ChassisCommanded, ChassisUnanswered])
@pytest.mark.parametrize("result", [ArbitrationResult.LOST, ArbitrationResult.UNREACHABLE])
def test_no_later_command_goes_once_the_win_is_gone(
    diary: Diary, result: ArbitrationResult, command: type[ChassisCommanded | ChassisUnanswered]
) -> None:
    storage = luns(diary, storage_says(*ALL, then=noting_in_turn(diary, ArbitrationResult.WON, result)))
    played = play(bmc_that_ignores_the_first_off(diary, command), storage, policy=ProofPolicy.ALL)
    assert not played.verdict.success
    assert diary.words == ["race", "in", "look", "off", "asks", "look"]
    assert "a power command had been sent before: the look's reason" in played.verdict.reasons[0]


@pytest.mark.parametrize(("second", "goes"), [(ALL, True), ((IDENTIFIED, LOST), False)])
def test_a_target_that_is_back_is_raced_again_before_a_later_command(
    diary: Diary, second: tuple[Observation, ...], goes: bool
) -> None:
    first = storage_says(*ALL, then=noting_in_turn(diary, ArbitrationResult.WON, None))
    played = play(bmc_that_ignores_the_first_off(diary), luns(diary, first, storage_says(*second)))
    assert played.verdict.success is goes
    assert diary.words == ["race", "in", "look", "off", "asks", "look", "race", *(["off"] if goes else [])]


def test_no_later_command_goes_while_the_arbiter_does_not_answer(diary: Diary) -> None:
    storage = luns(diary, storage_says(*ALL, then=noting_in_turn(diary, ArbitrationResult.WON)))
    played = play(
        bmc_that_ignores_the_first_off(diary), storage, deadline_s=1.0, deadline_from=lambda _: "asks" in diary.words
    )
    assert not played.verdict.success
    assert diary.words == ["race", "in", "look", "off", "asks"]


def test_where_the_race_is_only_preferred_a_later_command_goes_at_once(diary: Diary) -> None:
    storage = luns(diary, storage_says(UNREACHABLE, LunFailed("lun", "dead"), StorageDone(1), then=hang))
    played = play(bmc_that_ignores_the_first_off(diary), storage, arbitration=ArbitrationMode.PREFERRED)
    assert played.verdict.success
    assert diary.words == ["race", "in", "off", "asks", "off"]


def test_a_slow_lun_hinders_no_look(diary: Diary) -> None:
    """The win does not count for ever while another LUN is slow: nothing is over, and all the same there is a look."""
    played = play(bmc(diary), luns(diary, storage_says(IDENTIFIED, WON, ISOLATED, then=noting(diary))))
    assert played.verdict.proofs == (Proof.POWER,)
    assert diary.words == ["race", "in", "look", "go"]


@pytest.mark.parametrize("done", [(), (StorageDone(1),)])
def test_without_an_answer_power_is_not_touched(diary: Diary, done: tuple[object, ...]) -> None:
    storage = luns(diary, storage_says(IDENTIFIED, WON, ISOLATED, *done, then=hang))
    played = play(bmc(diary), storage, deadline_s=1.0, deadline_from=lambda _: "in" in diary.words)
    assert not commanded(played)
    assert not played.verdict.success
    assert diary.words == ["race", "in"]


@pytest.mark.parametrize("mode", [ArbitrationMode.REQUIRED, ArbitrationMode.PREFERRED])
@pytest.mark.parametrize("result", [ArbitrationResult.LOST, ArbitrationResult.UNREACHABLE])
def test_a_look_that_does_not_show_the_win_ends_it(
    diary: Diary, result: ArbitrationResult, mode: ArbitrationMode
) -> None:
    storage = luns(diary, storage_says(*ALL, then=noting(diary, result)))
    played = play(bmc(diary), storage, policy=ProofPolicy.ALL, arbitration=mode)
    goes = result is ArbitrationResult.UNREACHABLE and mode is ArbitrationMode.PREFERRED
    assert played.verdict.success is goes
    assert commanded(played) is goes
    assert Arbitrated(result, "lun", "the look's reason") in played.seen
    if not goes:
        assert "nothing was powered off: the look's reason" in played.verdict.reasons[0]


@pytest.mark.parametrize("result", [*ArbitrationResult, None])
def test_a_verdict_that_is_decided_is_not_put_at_risk(diary: Diary, result: ArbitrationResult | None) -> None:
    """Storage has proved it, and the BMC lets us in only then."""
    storage = luns(diary, storage_says(*ALL, then=noting(diary, result)))
    power = bmc(diary, lets_in_after_s=0.5)
    played = play(power, storage, policy=ProofPolicy.ANY)
    assert played.verdict.success
    goes = result is ArbitrationResult.WON
    assert commanded(played) is goes
    assert diary.words == ["race", "in", "look", *(["go"] if goes else [])]
    assert any(isinstance(what, Noted) and "left alone" in what.text for what in played.seen) is not goes
    assert played.took_s < SOON_S


def test_nor_by_a_race_that_nobody_is_left_to_ask_about(diary: Diary) -> None:
    storage = luns(diary, storage_says(*ALL, then=lambda _: None))
    played = play(bmc(diary, lets_in_after_s=0.5), storage, policy=ProofPolicy.ANY)
    assert played.verdict.success
    assert not commanded(played)
    assert diary.words == ["race", "in"]


def test_an_old_look_is_repeated(diary: Diary) -> None:
    """This process was stopped, or the machine was, after the arbiter had been looked at."""
    assert LOOK_GOOD_S == 1.0  # and LONG_GOOD_S here
    played = play(bmc(diary), luns(diary, storage_says(*ALL, then=noting(diary, old=2))))
    assert played.verdict.success
    assert diary.words == ["race", "in", "look", "look", "look", "go"]


def let_in(seen: list[object]) -> bool:
    return count(SessionOpened, seen) > 0


def test_an_answer_to_another_question_is_none(diary: Diary) -> None:
    def wrong(channel: Channel) -> None:
        question = channel.receive()
        assert isinstance(question, LookAgain)
        for number in (question.number - 1, question.number + 1):
            channel.send(Looked(number, ArbitrationResult.WON, "", time.monotonic()))
        hang(channel)

    played = play(bmc(diary), luns(diary, storage_says(*ALL, then=wrong)), deadline_s=1.0, deadline_from=let_in)
    assert not commanded(played)


def test_an_answer_that_is_not_waited_for_lets_nothing_go(diary: Diary) -> None:
    def unasked(channel: Channel) -> None:
        channel.send(Looked(1, ArbitrationResult.WON, "", time.monotonic()))
        channel.send(Looked(0, ArbitrationResult.WON, "", time.monotonic()))
        hang(channel)

    storage = luns(diary, storage_says(*ALL, then=unasked))
    played = play(bmc(diary, lets_in_after_s=0.3), storage, deadline_s=1.0, deadline_from=let_in)
    assert not commanded(played)


def test_where_no_race_was_won_but_only_preferred_no_question_is_asked(diary: Diary) -> None:
    storage = luns(diary, storage_says(UNREACHABLE, LunFailed("lun", "dead"), StorageDone(1), then=hang))
    played = play(bmc(diary), storage, arbitration=ArbitrationMode.PREFERRED)
    assert played.verdict.success
    assert diary.words == ["race", "in", "go"]


@pytest.mark.parametrize("isolated", [(), (ISOLATED,), (ISOLATED, StorageDone(1))])
def test_a_storage_worker_that_ends_once_power_was_let_go_begins_no_new_race(
    diary: Diary, isolated: tuple[Observation, ...]
) -> None:
    """The command is under way: the race was won when it went."""

    def one_look(channel: Channel) -> None:
        question = channel.receive()
        assert isinstance(question, LookAgain)
        channel.send(Looked(question.number, ArbitrationResult.WON, "", time.monotonic()))
        while "go" not in diary.words:
            time.sleep(0.01)
        diary.note("ends")

    def power(channel: Channel) -> None:
        channel.receive()
        channel.receive()
        channel.send(SessionOpened())
        if isinstance(channel.receive(), Go):
            diary.note("go")
            while "ends" not in diary.words:
                time.sleep(0.01)
            time.sleep(0.5)
            channel.send(ChassisObserved(PowerState.OFF))
            channel.send(PowerDone())

    played = play(power, luns(diary, storage_says(IDENTIFIED, WON, *isolated, then=one_look)))
    assert played.verdict.success
    assert diary.words == ["race", "go", "ends"]
    assert [type(order) for order in played.told_power] == [PowerOrder, Login, Go]
