# SPDX-License-Identifier: Apache-2.0
"""When a run ends: at its deadline, with the verdict, or when there is nothing more to wait for."""

import os
import signal
import time
from pathlib import Path

import pytest

from fencer.agent import run
from fencer.agent.orders import Guarding
from fencer.model import (
    Action,
    ChassisCommand,
    PowerState,
    Proof,
    ProofPolicy,
)
from fencer.observations import (
    ChassisCommanded,
    ChassisObserved,
    LunFailed,
    PowerDone,
    SelfFenceDue,
    SessionOpened,
    StorageDone,
    StorageFailed,
)
from fencer.storage.guarded_registration import UNDO_S
from fencer.worker import Channel
from tests.rig.plays import (
    ISOLATED,
    SOON_S,
    WON,
    Job,
    after,
    count,
    hang,
    looks,
    obedient_power,
    play,
    storage_says,
)
from tests.test_worker import deaf, gone_within


def test_any_with_a_dead_bmc_is_decided_by_storage_after_the_login_timeout() -> None:
    played = play(
        deaf, storage_says(WON, ISOLATED, StorageDone(1)), policy=ProofPolicy.ANY, login_timeout_s=0.5, deadline_s=60
    )
    assert played.verdict.success
    assert played.verdict.proofs == (Proof.STORAGE,)
    assert 0.4 < played.took_s < SOON_S


def test_power_with_a_dead_bmc_fails_at_its_deadline_whatever_storage_says() -> None:
    played = play(
        deaf, storage_says(WON, ISOLATED, StorageDone(1)), login_timeout_s=0.2,
        deadline_s=0.8, deadline_from=lambda seen: count(StorageDone, seen) > 0,
    )  # fmt: skip
    assert not played.verdict.success
    assert played.verdict.proofs == (Proof.STORAGE,)
    assert played.late
    assert 0.7 < played.took_s < SOON_S


def test_a_slow_storage_gets_a_moment_when_power_has_settled_it() -> None:
    played = play(obedient_power, storage_says(WON, then=looks()), deadline_s=60)
    assert played.verdict.success
    assert any("not every LUN was isolated" in reason for reason in played.verdict.reasons)
    assert played.took_s < SOON_S


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
    assert played.took_s < SOON_S


@pytest.mark.parametrize("end", [LunFailed("lun", "lun: dead"), StorageFailed("died")])
def test_self_does_not_wait_where_storage_proves_nothing(end: LunFailed | StorageFailed) -> None:
    played = play(None, storage_says(WON, end, StorageDone(1)), policy=ProofPolicy.SELF, self_fence_bound_s=0.1)
    assert not played.verdict.success
    assert not any(isinstance(what, SelfFenceDue) for what in played.seen)


def test_self_fails_at_a_deadline_that_comes_first() -> None:
    storage = storage_says(WON, ISOLATED, StorageDone(1))
    played = play(
        None, storage, policy=ProofPolicy.SELF, self_fence_bound_s=60,
        deadline_s=1.0, deadline_from=lambda seen: count(StorageDone, seen) > 0,
    )  # fmt: skip
    assert not played.verdict.success
    assert played.late
    assert played.verdict.proofs == (Proof.STORAGE,)
    assert any("self-fence bound of 60 s did not pass" in reason for reason in played.verdict.reasons)


def test_a_lun_that_failed_ends_the_wait_of_a_storage_policy() -> None:
    played = play(
        None,
        storage_says(WON, LunFailed("lun", "lun: dead"), StorageDone(1)),
        policy=ProofPolicy.STORAGE,
        deadline_s=60,
    )
    assert not played.verdict.success
    assert played.verdict.reasons == ("lun: dead",)
    assert played.took_s < SOON_S


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
    assert played.took_s < SOON_S
    assert len(played.pids) == 2
    assert all(gone_within(pid) for pid in played.pids)


def guarding(at: Path, *later: tuple[float, bool], undone: Path | None = None) -> Job:
    """A storage worker that says that it guards a path, and touches the file `at`.

    later: what it says then, each after so many seconds: that a guard key begins (True) or is undone (False).
    undone: a file that it touches before the last one.
    """

    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(Guarding("/dev/sda", begins=True))
        at.touch()
        for number, (seconds, begins) in enumerate(later, 1):
            time.sleep(seconds)
            if undone is not None and number == len(later):
                undone.touch()
            channel.send(Guarding("/dev/sda", begins=begins))
        hang(channel)

    return job


@pytest.mark.parametrize("unread", [False, True])
@pytest.mark.parametrize(("grace_s", "undone_after_s"), [(SOON_S, 0.8), (SOON_S, 1.8), (run.UNDO_GRACE_S, 60.0)])
def test_a_guard_key_that_is_being_undone_is_waited_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace_s: float, undone_after_s: float, unread: bool
) -> None:
    """Killed before, the storage worker would leave a key that lets this node write, though it may be fenced.

    unread: the run got no processor since the worker told that it begins."""

    def stops() -> bool:
        while unread and not (tmp_path / "begun").exists():
            time.sleep(0.01)
        return (tmp_path / "begun").exists()

    monkeypatch.setattr(run, "UNDO_GRACE_S", grace_s)
    job = guarding(tmp_path / "begun", (undone_after_s, False), undone=tmp_path / "undone")
    played = play(None, job, policy=ProofPolicy.STORAGE, interrupted=stops)
    assert (tmp_path / "undone").exists() is (undone_after_s < grace_s)
    assert played.late
    assert played.took_s < SOON_S


def test_a_guard_key_has_the_time_that_its_undoing_takes() -> None:
    assert run.UNDO_GRACE_S > UNDO_S


def test_once_a_guard_key_is_undone_nobody_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "UNDO_GRACE_S", 2 * SOON_S)
    job = guarding(tmp_path / "begun", (0.5, False))
    played = play(None, job, policy=ProofPolicy.STORAGE, interrupted=(tmp_path / "begun").exists)
    assert played.late
    assert played.took_s < SOON_S


def test_where_no_guard_key_is_being_undone_nobody_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "UNDO_GRACE_S", 2 * SOON_S)

    def job(channel: Channel) -> None:
        channel.receive()
        for begins in (True, False):
            channel.send(Guarding("/dev/sda", begins=begins))
        (tmp_path / "over").touch()
        hang(channel)

    played = play(None, job, policy=ProofPolicy.STORAGE, interrupted=(tmp_path / "over").exists)
    assert played.took_s < SOON_S


def test_a_child_that_floods_us_does_not_move_the_deadline() -> None:
    def flood(channel: Channel) -> None:
        channel.receive()
        while True:
            channel.send(SessionOpened())

    played = play(flood, None, deadline_s=0.5)
    assert played.took_s < SOON_S
    assert not played.verdict.success


@pytest.mark.parametrize("action", [Action.STATUS, Action.ON])
def test_a_storage_worker_that_has_nothing_to_do_is_not_waited_for(action: Action) -> None:
    """It is warmed up before it is known that the BMC alone is asked."""

    def says_on(channel: Channel) -> None:
        channel.receive()
        channel.send(SessionOpened())
        channel.send(ChassisObserved(PowerState.ON))
        channel.send(PowerDone())

    played = play(says_on, hang, action=action, deadline_s=60, warm=True)
    assert played.verdict.success
    assert played.took_s < SOON_S
    assert all(gone_within(pid) for pid in played.pids)


def test_an_interrupt_ends_it_at_once() -> None:
    flag = time.monotonic() + 0.3
    played = play(deaf, storage_says(then=hang), interrupted=lambda: time.monotonic() > flag, deadline_s=60)
    assert played.took_s < SOON_S
    assert not played.verdict.success
    assert all(gone_within(pid) for pid in played.pids)
