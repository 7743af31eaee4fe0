# SPDX-License-Identifier: Apache-2.0
"""Run holds its deadline and its order whatever its children do: report, crash, hang, ignore signals, talk nonsense."""

import os
import signal
import time
from pathlib import Path

import pytest

from fencer.agent.orders import Go, Login, PowerOrder, Seen
from fencer.agent.storage_worker import emitter
from fencer.model import (
    Action,
    ArbitrationMode,
    ChassisCommand,
    KnownBmc,
    PowerState,
    Proof,
    ProofPolicy,
)
from fencer.observations import (
    BmcIdentified,
    ChassisCommanded,
    ChassisObserved,
    LunFailed,
    LunsIdentified,
    Observation,
    PowerDone,
    PowerFailed,
    SessionOpened,
    StorageDone,
)
from fencer.worker import Channel
from tests.rig.plays import (
    ISOLATED,
    LOST,
    SOON_S,
    UNREACHABLE,
    WON,
    Job,
    after,
    count,
    hang,
    obedient_power,
    play,
    power_must_not_move,
    storage_says,
)
from tests.test_worker import deaf

# --- the good case ---------------------------------------------------------------------------------------------------


def test_power_and_storage_together() -> None:
    played = play(
        obedient_power, storage_says(LunsIdentified(("lun",)), WON, ISOLATED, StorageDone(1)), policy=ProofPolicy.ALL
    )
    assert played.verdict.text == "Success: Powered OFF"
    assert set(played.verdict.proofs) == {Proof.POWER, Proof.STORAGE}
    assert not played.late


def test_hundreds_of_luns_that_fail_at_length_are_all_told() -> None:
    failed = [LunFailed(f"lun{number}", "dead path; " * 600) for number in range(300)]

    def job(channel: Channel) -> None:
        channel.receive()
        emitter(channel)(*failed, StorageDone(300))

    played = play(None, job, policy=ProofPolicy.STORAGE, arbitration=ArbitrationMode.OFF)
    assert [what for what in played.seen if isinstance(what, LunFailed)] == failed
    assert not played.verdict.success


def test_power_alone_is_not_gated() -> None:
    assert play(obedient_power, None).verdict.success


# --- the gate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "storage",
    [
        storage_says(LunsIdentified(("lun",)), LOST),
        storage_says(LunsIdentified(("lun",)), UNREACHABLE),
        storage_says(LunsIdentified(("lun",)), StorageDone(1)),
        storage_says(LunsIdentified(("lun",))),
        storage_says(),
        storage_says(then=lambda channel: os._exit(3)),
        storage_says(then=lambda channel: os.kill(os.getpid(), signal.SIGKILL)),
        storage_says(then=lambda channel: channel._sock.send(b"garbage") and None),
        storage_says(LunsIdentified(("lun",)), "nonsense", 17, ISOLATED, StorageDone(1)),
        storage_says(then=lambda channel: 1 // 0),  # type: ignore[arg-type, return-value]
    ],
    ids=[
        "lost",
        "unreachable",
        "never-arbitrated",
        "silent-exit",
        "exit",
        "status-3",
        "killed",
        "garbage",
        "odd",
        "raises",
    ],
)
@pytest.mark.parametrize("policy", [ProofPolicy.POWER, ProofPolicy.ANY])
def test_power_is_not_touched_unless_arbitration_is_won(storage: Job, policy: ProofPolicy) -> None:
    played = play(power_must_not_move, storage, policy=policy, deadline_s=60)
    assert not played.verdict.success
    assert not any(isinstance(what, ChassisCommanded) for what in played.seen)
    assert not any(isinstance(order, Go) for order in played.told_power)
    assert played.took_s < SOON_S


def says(*messages: object) -> Job:
    def job(channel: Channel) -> None:
        for message in messages:
            channel.send(Seen((message,)) if isinstance(message, Observation) else message)

    return job


@pytest.mark.parametrize(
    "end",
    [
        says(LOST),
        says(UNREACHABLE),
        says(StorageDone(1)),
        says("nonsense", ISOLATED, StorageDone(1)),
        lambda channel: None,
        lambda channel: os.kill(os.getpid(), signal.SIGKILL),
        lambda channel: channel._sock.send(b"garbage") and None,
        lambda channel: 1 // 0,
    ],
    ids=["lost", "unreachable", "never-arbitrated", "odd", "silent-exit", "killed", "garbage", "raises"],
)
@pytest.mark.parametrize("policy", [ProofPolicy.POWER, ProofPolicy.ANY])
def test_nor_where_the_session_was_there_when_the_race_ended_without_a_win(
    tmp_path: Path, end: Job, policy: ProofPolicy
) -> None:
    """Then nothing but the end of the race keeps power from being let go."""

    def power(channel: Channel) -> None:
        channel.receive()
        channel.receive()
        channel.send(SessionOpened())
        (tmp_path / "in").touch()
        hang(channel)

    def once_it_is_in(channel: Channel) -> None:
        while not (tmp_path / "in").exists():
            time.sleep(0.01)
        end(channel)

    played = play(power, storage_says(LunsIdentified(("lun",)), then=once_it_is_in), policy=policy, deadline_s=60)
    assert not played.verdict.success
    assert SessionOpened() in played.seen
    assert [type(order) for order in played.told_power] == [PowerOrder, Login]
    assert played.took_s < SOON_S


ENDINGS = [
    (lambda _channel: os._exit(3), "ended without a word: look at the system log, then call again"),
    (lambda _channel: {}["x"], "unexpected KeyError: 'x': please report this"),
]


@pytest.mark.parametrize(("end", "says"), ENDINGS)
def test_a_storage_worker_that_ends_says_what_to_do(end: Job, says: str) -> None:
    played = play(None, storage_says(then=end), policy=ProofPolicy.STORAGE, arbitration=ArbitrationMode.OFF)
    assert any(reason.endswith(says) for reason in played.verdict.reasons), played.verdict.reasons


@pytest.mark.parametrize(("end", "says"), ENDINGS)
def test_an_attempt_at_the_bmc_that_ends_says_what_to_do(end: Job, says: str) -> None:
    played = play(end, None, deadline_s=0.1, deadline_from=lambda seen: count(PowerFailed, seen) > 0)
    assert any(says in reason and reason.endswith("call again") for reason in played.verdict.reasons)


def test_a_storage_worker_that_hangs_before_arbitration_keeps_power_waiting_until_the_deadline() -> None:
    storage = storage_says(LunsIdentified(("lun",)), then=hang)
    played = play(
        power_must_not_move, storage, deadline_s=0.5, deadline_from=lambda seen: count(SessionOpened, seen) > 0
    )
    assert not played.verdict.success
    assert not any(isinstance(what, ChassisCommanded) for what in played.seen)
    assert played.late
    assert played.took_s < SOON_S


def test_no_login_before_the_luns_make_sense() -> None:
    played = play(power_must_not_move, storage_says(then=hang), deadline_s=0.5)
    assert not any(isinstance(what, SessionOpened) for what in played.seen)


def test_preferred_goes_on_when_no_lun_is_reachable() -> None:
    played = play(
        obedient_power,
        storage_says(UNREACHABLE, LunFailed("lun", "dead"), StorageDone(1)),
        arbitration=ArbitrationMode.PREFERRED,
    )
    assert played.verdict.success
    assert played.verdict.proofs == (Proof.POWER,)


def test_preferred_still_obeys_a_lost_race() -> None:
    played = play(power_must_not_move, storage_says(LOST), arbitration=ArbitrationMode.PREFERRED)
    assert not played.verdict.success


def test_arbitration_off_does_not_wait() -> None:
    played = play(obedient_power, storage_says(then=hang), arbitration=ArbitrationMode.OFF, deadline_s=40)
    assert played.verdict.success


# --- attempts at the BMC ---------------------------------------------------------------------------------------------


def failing_power(final: bool, times: list[float] | None = None) -> Job:
    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(PowerFailed("bmc: no answer", final=final))

    return job


def test_a_bmc_without_an_answer_is_asked_again_until_the_deadline() -> None:
    played = play(failing_power(False), None, deadline_s=0.8, deadline_from=lambda seen: count(PowerFailed, seen) > 1)
    assert played.late
    assert not played.verdict.success
    assert played.verdict.reasons == ("bmc: no answer: look at this BMC, its network and its host, then call again",)
    assert played.took_s < SOON_S


@pytest.mark.parametrize("seen", [PowerState.ON, None])
def test_who_answered_one_attempt_has_to_answer_the_next(seen: PowerState | None) -> None:
    """And a node that it showed on is not "found off" by the second."""
    guid = bytes(range(16))

    def job(channel: Channel) -> None:
        order = channel.receive()
        assert isinstance(order, PowerOrder)
        known = order.settings.known
        assert known is not None
        if known.guid is None:
            channel.send(BmcIdentified(guid, 17, fell_back=False))
            if seen is not None:
                channel.send(ChassisObserved(seen))
            channel.send(PowerFailed("bmc: no answer", final=False))
        elif known.guid == guid and order.goal.never_seen == (seen is None):
            channel.send(ChassisObserved(PowerState.OFF))
            channel.send(PowerDone())

    assert play(job, None, known=KnownBmc(None, "")).verdict.success


def test_a_refusal_is_final() -> None:
    played = play(failing_power(True), None, deadline_s=60)
    assert sum(isinstance(what, PowerFailed) for what in played.seen) == 1
    assert played.took_s < SOON_S


@pytest.mark.parametrize(
    "end",
    [
        lambda channel: os._exit(0),
        lambda channel: os.kill(os.getpid(), signal.SIGKILL),
        lambda channel: channel._sock.send(b"\x80garbage"),
        lambda channel: 1 // 0,
    ],
    ids=["exit", "killed", "garbage", "raises"],
)
def test_an_attempt_that_ends_without_a_result_is_no_success_and_is_repeated(end: Job) -> None:
    def job(channel: Channel) -> None:
        channel.receive()
        end(channel)

    played = play(job, None, deadline_s=0.1, deadline_from=lambda seen: count(PowerFailed, seen) > 1)
    assert not played.verdict.success
    assert len(played.pids) >= 2
    assert played.took_s < SOON_S


def test_what_one_attempt_saw_counts_when_it_dies_afterwards() -> None:
    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(SessionOpened())
        channel.send(ChassisObserved(PowerState.OFF))
        os._exit(1)

    played = play(job, None, power_timeout_s=0.2)
    assert played.verdict.success
    assert played.verdict.reasons  # and what did not work is said


def test_a_second_attempt_of_a_reboot_goes_on_at_on() -> None:
    def job(channel: Channel) -> None:
        order = channel.receive()
        assert isinstance(order, PowerOrder)
        channel.send(SessionOpened())
        if not order.goal.off_proven:
            channel.send(ChassisObserved(PowerState.OFF))
            channel.send(PowerFailed("bmc: lost", final=False))
        else:
            channel.send(ChassisCommanded(ChassisCommand.ON))
            channel.send(ChassisObserved(PowerState.ON))
            channel.send(PowerDone())

    played = play(job, None, action=Action.REBOOT)
    assert played.verdict.text == "Success: Rebooted"
    assert ChassisObserved(PowerState.ON) in played.seen


def test_a_reboot_whose_power_on_is_refused_is_a_success_that_says_so() -> None:
    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(SessionOpened())
        channel.send(ChassisObserved(PowerState.OFF))
        channel.send(PowerFailed("bmc: power on refused", final=True))

    played = play(job, None, action=Action.REBOOT)
    assert played.verdict.text == "Success: Rebooted"
    assert played.verdict.reasons == ("bmc: power on refused: correct what it refuses, in the options or at the BMC",)


def test_a_login_that_takes_longer_than_its_limit_is_begun_anew() -> None:
    played = play(
        deaf, None, login_limit_s=0.2, deadline_s=0.1, deadline_from=lambda seen: count(PowerFailed, seen) > 1
    )
    assert len(played.pids) >= 2
    assert played.took_s < SOON_S
    assert "Timed out: login: no session within 0.2 s (login_timeout)" in played.verdict.reasons[0]


_LOGIN_S = 5.0
"""A limit within which a child starts and answers, also on a busy machine."""


def test_the_limit_of_a_login_is_over_with_the_login() -> None:
    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(SessionOpened())
        time.sleep(_LOGIN_S + 0.5)
        channel.send(ChassisObserved(PowerState.OFF))
        channel.send(PowerDone())

    played = play(job, None, login_limit_s=_LOGIN_S)
    assert (played.verdict.success, len(played.pids)) == (True, 1)


def test_the_limit_of_a_login_does_not_count_while_the_race_is_open() -> None:
    """The BMC is asked for a session once the LUNs make sense, however long that takes."""

    luns = storage_says(then=after(_LOGIN_S + 0.5, LunsIdentified(("lun",)), WON, ISOLATED, StorageDone(1)))
    played = play(obedient_power, luns, login_limit_s=_LOGIN_S)
    assert played.verdict.success
    assert not any(isinstance(what, PowerFailed) for what in played.seen)
