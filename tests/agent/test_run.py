"""Run holds its deadline and its order whatever its children do: report, crash, hang, ignore signals, talk nonsense."""

import os
import signal
import time
from pathlib import Path

import pytest

from fencer.agent.orders import Guarding, PowerOrder
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
    PowerDone,
    PowerFailed,
    SelfFenceDue,
    SessionOpened,
    StorageDone,
    StorageFailed,
)
from fencer.worker import Channel
from tests.rig.plays import (
    ISOLATED,
    LOST,
    UNREACHABLE,
    WON,
    Job,
    after,
    hang,
    looks,
    obedient_power,
    play,
    power_must_not_move,
    storage_says,
)
from tests.test_worker import deaf, gone_within

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
    played = play(power_must_not_move, storage, policy=policy)
    assert not played.verdict.success
    assert not any(isinstance(what, ChassisCommanded) for what in played.seen)
    assert played.took_s < 4


ENDINGS = [
    (lambda _channel: os._exit(3), "ended without a word: look at the system log, then call again"),
    (lambda _channel: 1 // 0, "unexpected ZeroDivisionError: integer division or modulo by zero: please report this"),
]


@pytest.mark.parametrize(("end", "says"), ENDINGS)
def test_a_storage_worker_that_ends_says_what_to_do(end: Job, says: str) -> None:
    played = play(None, storage_says(then=end), policy=ProofPolicy.STORAGE, arbitration=ArbitrationMode.OFF)
    assert any(reason.endswith(says) for reason in played.verdict.reasons), played.verdict.reasons


@pytest.mark.parametrize(("end", "says"), ENDINGS)
def test_an_attempt_at_the_bmc_that_ends_says_what_to_do(end: Job, says: str) -> None:
    played = play(end, None, deadline_s=1.0)
    assert any(says in reason and reason.endswith("call again") for reason in played.verdict.reasons)


def test_a_storage_worker_that_hangs_before_arbitration_keeps_power_waiting_until_the_deadline() -> None:
    played = play(power_must_not_move, storage_says(LunsIdentified(("lun",)), then=hang), deadline_s=0.6)
    assert not played.verdict.success
    assert not any(isinstance(what, ChassisCommanded) for what in played.seen)
    assert played.late
    assert played.took_s < 2.5


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
    played = play(obedient_power, storage_says(then=hang), arbitration=ArbitrationMode.OFF, deadline_s=4)
    assert played.verdict.success


# --- attempts at the BMC ---------------------------------------------------------------------------------------------


def failing_power(final: bool, times: list[float] | None = None) -> Job:
    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(PowerFailed("bmc: no answer", final=final))

    return job


def test_a_bmc_without_an_answer_is_asked_again_until_the_deadline() -> None:
    played = play(failing_power(False), None, deadline_s=1.8)
    failures = [what for what in played.seen if isinstance(what, PowerFailed)]
    assert len(failures) >= 2
    assert not played.verdict.success
    assert played.verdict.reasons == ("bmc: no answer: look at this BMC, its network and its host, then call again",)
    assert played.took_s < 3.5


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
    played = play(failing_power(True), None, deadline_s=5)
    assert sum(isinstance(what, PowerFailed) for what in played.seen) == 1
    assert played.took_s < 2


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

    played = play(job, None, deadline_s=1.3)
    assert not played.verdict.success
    assert len(played.pids) >= 2


def test_what_one_attempt_saw_counts_when_it_dies_afterwards() -> None:
    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(SessionOpened())
        channel.send(ChassisObserved(PowerState.OFF))
        os._exit(1)

    played = play(job, None, deadline_s=3, power_timeout_s=0.2)
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
    played = play(deaf, None, deadline_s=2.5, login_limit_s=0.2)
    assert len(played.pids) >= 2
    assert "Timed out: login: no session within 0.2 s (login_timeout)" in played.verdict.reasons[0]


def test_the_limit_of_a_login_is_over_with_the_login() -> None:
    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(SessionOpened())
        time.sleep(0.8)
        channel.send(ChassisObserved(PowerState.OFF))
        channel.send(PowerDone())

    played = play(job, None, login_limit_s=0.5)
    assert (played.verdict.success, len(played.pids)) == (True, 1)


def test_the_limit_of_a_login_does_not_count_while_the_race_is_open() -> None:
    """The BMC is asked for a session once the LUNs make sense, however long that takes."""

    luns = storage_says(then=after(0.8, LunsIdentified(("lun",)), WON, ISOLATED, StorageDone(1)))
    played = play(obedient_power, luns, login_limit_s=0.5)
    assert played.verdict.success
    assert not any(isinstance(what, PowerFailed) for what in played.seen)


# --- patience and deadline -------------------------------------------------------------------------------------------


def test_any_with_a_dead_bmc_is_decided_by_storage_after_the_login_timeout() -> None:
    played = play(
        deaf, storage_says(WON, ISOLATED, StorageDone(1)), policy=ProofPolicy.ANY, login_timeout_s=0.5, deadline_s=8
    )
    assert played.verdict.success
    assert played.verdict.proofs == (Proof.STORAGE,)
    assert 0.4 < played.took_s < 4


def test_power_with_a_dead_bmc_fails_at_its_deadline_whatever_storage_says() -> None:
    played = play(deaf, storage_says(WON, ISOLATED, StorageDone(1)), deadline_s=0.8, login_timeout_s=0.2)
    assert not played.verdict.success
    assert played.verdict.proofs == (Proof.STORAGE,)
    assert played.late
    assert 0.7 < played.took_s < 2.5


def test_a_slow_storage_gets_a_moment_when_power_has_settled_it() -> None:
    played = play(obedient_power, storage_says(WON, then=looks()), deadline_s=8)
    assert played.verdict.success
    assert any("not every LUN was isolated" in reason for reason in played.verdict.reasons)
    assert played.took_s < 4


def test_all_waits_for_both() -> None:
    slow = storage_says(WON, then=after(0.5, ISOLATED, StorageDone(1)))
    played = play(obedient_power, slow, policy=ProofPolicy.ALL)
    assert played.verdict.success


def test_diag_gives_every_lun_its_time() -> None:
    """The interrupt was taken at once, and proves nothing: more than the moment that a settled verdict leaves."""

    def interrupt(channel: Channel) -> None:
        channel.receive()
        channel.send(SessionOpened())
        channel.send(ChassisCommanded(ChassisCommand.DIAG))
        channel.send(PowerDone())

    slow = storage_says(WON, then=after(1.5, ISOLATED, StorageDone(1)))
    played = play(interrupt, slow, action=Action.DIAG, deadline_s=20)
    assert played.verdict.text == "Success: Diagnostic interrupt sent"
    assert played.verdict.proofs == (Proof.STORAGE,)


def test_self_waits_for_its_bound_after_the_isolation() -> None:
    slow = storage_says(WON, then=after(0.3, ISOLATED, StorageDone(1)))
    played = play(None, slow, policy=ProofPolicy.SELF, self_fence_bound_s=0.7, deadline_s=20)
    assert played.verdict.success
    assert played.verdict.proofs == (Proof.STORAGE, Proof.SELF)
    assert played.took_s > 0.3 + 0.7
    assert isinstance(played.seen[-1], SelfFenceDue)


def test_self_does_not_wait_for_a_dead_bmc_once_its_bound_has_passed() -> None:
    storage = storage_says(WON, ISOLATED, StorageDone(1))
    played = play(deaf, storage, policy=ProofPolicy.SELF, self_fence_bound_s=0.5, login_timeout_s=0.2, deadline_s=60)
    assert played.verdict.proofs == (Proof.STORAGE, Proof.SELF)
    assert not played.late


def test_self_does_not_wait_for_a_node_that_was_seen_off() -> None:
    storage = storage_says(WON, ISOLATED, StorageDone(1))
    played = play(obedient_power, storage, policy=ProofPolicy.SELF, self_fence_bound_s=60, deadline_s=90)
    assert played.verdict.success
    assert set(played.verdict.proofs) == {Proof.POWER, Proof.STORAGE}
    assert played.took_s < 30


@pytest.mark.parametrize("end", [LunFailed("lun", "lun: dead"), StorageFailed("died")])
def test_self_does_not_wait_where_storage_proves_nothing(end: LunFailed | StorageFailed) -> None:
    played = play(None, storage_says(WON, end, StorageDone(1)), policy=ProofPolicy.SELF, self_fence_bound_s=0.1)
    assert not played.verdict.success
    assert not any(isinstance(what, SelfFenceDue) for what in played.seen)


def test_self_fails_at_a_deadline_that_comes_first() -> None:
    storage = storage_says(WON, ISOLATED, StorageDone(1))
    played = play(None, storage, policy=ProofPolicy.SELF, self_fence_bound_s=60, deadline_s=1.0)
    assert not played.verdict.success
    assert played.late
    assert played.verdict.proofs == (Proof.STORAGE,)
    assert any("self-fence bound of 60 s did not pass" in reason for reason in played.verdict.reasons)


def test_a_lun_that_failed_ends_the_wait_of_a_storage_policy() -> None:
    played = play(
        None, storage_says(WON, LunFailed("lun", "lun: dead"), StorageDone(1)), policy=ProofPolicy.STORAGE, deadline_s=8
    )
    assert not played.verdict.success
    assert played.verdict.reasons == ("lun: dead",)
    assert played.took_s < 4


@pytest.mark.parametrize("stopped", [False, True])
def test_the_deadline_holds_and_no_child_is_left(stopped: bool) -> None:
    def job(channel: Channel) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if stopped:
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(60)

    played = play(job, job, deadline_s=0.5)
    assert not played.verdict.success
    assert played.took_s < 2.5
    assert len(played.pids) == 2
    assert all(gone_within(pid) for pid in played.pids)


@pytest.mark.parametrize(("undone_after_s", "waits"), [(0.8, True), (60.0, False)])
def test_a_guard_key_that_is_being_undone_is_waited_for_a_moment(
    tmp_path: Path, undone_after_s: float, waits: bool
) -> None:
    """Killed before, the storage worker would leave a key that lets this node write, though it may be fenced."""

    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(Guarding("/dev/sda", begins=True))
        time.sleep(undone_after_s)
        (tmp_path / "undone").touch()
        channel.send(Guarding("/dev/sda", begins=False))
        hang(channel)

    played = play(None, job, policy=ProofPolicy.STORAGE, deadline_s=0.3)
    assert (tmp_path / "undone").exists() is waits
    assert played.late
    assert played.took_s < 10


def test_where_no_guard_key_is_being_undone_nobody_is_waited_for() -> None:
    def job(channel: Channel) -> None:
        channel.receive()
        for begins in (True, False):
            channel.send(Guarding("/dev/sda", begins=begins))
        hang(channel)

    assert play(None, job, policy=ProofPolicy.STORAGE, deadline_s=0.3).took_s < 2.0


def test_a_child_that_floods_us_does_not_move_the_deadline() -> None:
    def flood(channel: Channel) -> None:
        channel.receive()
        while True:
            channel.send(SessionOpened())

    played = play(flood, None, deadline_s=0.5)
    assert played.took_s < 2.5
    assert not played.verdict.success


@pytest.mark.parametrize("action", [Action.STATUS, Action.ON])
def test_a_storage_worker_that_has_nothing_to_do_is_not_waited_for(action: Action) -> None:
    """It is warmed up before it is known that the BMC alone is asked."""

    def says_on(channel: Channel) -> None:
        channel.receive()
        channel.send(SessionOpened())
        channel.send(ChassisObserved(PowerState.ON))
        channel.send(PowerDone())

    played = play(says_on, hang, action=action, deadline_s=30, warm=True)
    assert played.verdict.success
    assert played.took_s < 10
    assert all(gone_within(pid) for pid in played.pids)


def test_an_interrupt_ends_it_at_once() -> None:
    flag = time.monotonic() + 0.3
    played = play(deaf, storage_says(then=hang), interrupted=lambda: time.monotonic() > flag, deadline_s=30)
    assert played.took_s < 3
    assert not played.verdict.success
    assert all(gone_within(pid) for pid in played.pids)
