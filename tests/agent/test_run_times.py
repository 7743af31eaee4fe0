# SPDX-License-Identifier: Apache-2.0
"""When Run tries again, and how long it waits: for a BMC, for storage, for a bound that nothing waits for."""

import time
from pathlib import Path

import pytest

from fencer.agent import run
from fencer.agent.orders import LookAgain, Looked, PowerOrder, Seen, StorageOrder
from fencer.agent.plan import make_plan
from fencer.agent.request import Caller, Request, StorageRequest, Timing
from fencer.agent.run import Run
from fencer.model import Action, BmcSettings, ChassisCommand, Deadline, PowerState, ProofPolicy, ReservationKey, Secret
from fencer.observations import (
    ArbitrationResult,
    BmcIdentified,
    ChassisCommanded,
    ChassisObserved,
    Noted,
    PowerDone,
    PowerFailed,
    SessionOpened,
    StorageDone,
)
from fencer.storage.settings import StorageSettings
from fencer.worker import Channel, Workers
from tests.rig.plays import ISOLATED, SOON_S, WON, Job, after, count, looks, obedient_power, play, storage_says
from tests.test_worker import deaf

_BMC = BmcSettings("bmc", 623, b"", Secret(b""))


def failing_until(at: float, failure: Job) -> Job:
    """A BMC that fails so until then, and works afterwards."""

    def job(channel: Channel) -> None:
        (obedient_power if time.monotonic() >= at else failure)(channel)

    return job


def no_answer(channel: Channel) -> None:
    assert isinstance(channel.receive(), PowerOrder)
    channel.send(PowerFailed("bmc: no answer", final=False))


def dies(channel: Channel) -> None:
    channel.receive()


@pytest.mark.parametrize("failure", [no_answer, dies, deaf])
def test_a_bmc_is_tried_again_also_when_a_login_has_had_its_time(failure: Job) -> None:
    """Silent, without an answer, or with a child that died: none of these is final before the deadline."""
    comes = time.monotonic() + 1.5
    played = play(failing_until(comes, failure), None, login_timeout_s=0.5, login_limit_s=3.0)
    assert played.verdict.success, played.verdict.reasons


def test_two_attempts_at_a_bmc_have_a_pause_between_them() -> None:
    deadline_s = run.RETRY_PAUSE_S - 0.1
    played = play(no_answer, None, deadline_s=deadline_s, deadline_from=lambda seen: count(PowerFailed, seen) > 1)
    assert len(played.pids) == 2
    assert not played.verdict.success


@pytest.mark.parametrize(("comes_s", "patience_s", "counts"), [(0.5, SOON_S, True), (60.0, run.PATIENCE_S, False)])
def test_storage_has_a_moment_to_finish_when_power_has_settled_it(
    monkeypatch: pytest.MonkeyPatch, comes_s: float, patience_s: float, counts: bool
) -> None:
    """Enough for LUNs that answer, and no more: a survivor waits to take over."""
    monkeypatch.setattr(run, "PATIENCE_S", patience_s)
    monkeypatch.setattr(run, "LOOK_GOOD_S", SOON_S)

    def slow(channel: Channel) -> None:
        question = channel.receive()
        assert isinstance(question, LookAgain)
        channel.send(Looked(question.number, ArbitrationResult.WON, "", time.monotonic()))
        after(comes_s, ISOLATED, StorageDone(1))(channel)

    played = play(obedient_power, storage_says(WON, then=slow))
    assert played.verdict.success
    assert (ISOLATED in played.seen) is counts
    assert played.took_s < SOON_S


def test_nothing_waits_for_a_self_fence_that_is_no_proof() -> None:
    """A diagnostic interrupt ends with its answer: no bound has to pass after the LUNs were isolated."""

    def interrupt(channel: Channel) -> None:
        channel.receive()
        channel.receive()
        channel.send(SessionOpened())
        channel.receive()
        time.sleep(0.5)  # so that storage is proved before
        channel.send(ChassisCommanded(ChassisCommand.DIAG))
        channel.send(PowerDone())

    storage = storage_says(WON, ISOLATED, StorageDone(1), then=looks())
    played = play(interrupt, storage, action=Action.DIAG, self_fence_bound_s=60.0, deadline_s=SOON_S + 10)
    assert played.verdict.success, played.verdict.reasons
    assert played.took_s < SOON_S


@pytest.mark.parametrize("age_s", [None, 0.0, 7.5])
def test_ranks_are_counted_from_the_call(age_s: float | None) -> None:
    """Its order to the storage worker has the start of the call, with that of the interpreter."""

    def job(channel: Channel) -> None:
        order = channel.receive()
        assert isinstance(order, StorageOrder)
        channel.send(Seen((WON, ISOLATED, StorageDone(round((time.monotonic() - order.began_s) * 10)))))

    storage = StorageRequest(StorageSettings(("lun",), None, ReservationKey(1)), ReservationKey(2))
    plan = make_plan(Request(Action.OFF, Caller.CLUSTER, "victim", False, ProofPolicy.STORAGE, storage=storage))
    age = {} if age_s is None else {"age_s": age_s}
    facts = Run(plan, Deadline.after(SOON_S), Workers(deaf, job), lambda _: None, **age).execute()
    assert facts.luns is not None
    assert 0 <= facts.luns / 10 - (age_s or 0.0) < SOON_S


def test_without_a_signal_a_run_is_not_interrupted() -> None:
    plan = make_plan(Request(Action.STATUS, Caller.CLUSTER, "victim", False, ProofPolicy.POWER, bmc=_BMC))
    one = Run(plan, Deadline.after(SOON_S), Workers(_on, deaf), lambda _: None)
    assert one.execute().states == [PowerState.ON]
    assert not one.late


def _on(channel: Channel) -> None:
    channel.receive()
    time.sleep(0.2)
    channel.send(SessionOpened())
    channel.send(ChassisObserved(PowerState.ON))
    channel.send(PowerDone())


@pytest.mark.parametrize(("retry_on", "tries"), [(0, 1), (1, 1), (3, 3)])
def test_the_order_says_how_often_on_is_tried(retry_on: int, tries: int) -> None:
    def job(channel: Channel) -> None:
        order = channel.receive()
        assert isinstance(order, PowerOrder)
        channel.send(SessionOpened())
        channel.send(Noted(f"{order.timing.on_tries} tries"))
        channel.send(ChassisObserved(PowerState.ON))
        channel.send(PowerDone())

    timing = Timing(retry_on=retry_on)
    request = Request(Action.ON, Caller.CLUSTER, "victim", False, ProofPolicy.POWER, bmc=_BMC, timing=timing)
    facts = Run(make_plan(request), Deadline.after(SOON_S), Workers(job, deaf), lambda _: None).execute()
    assert [note.text for note in facts.notes] == [f"{tries} tries"]


def test_a_bmc_that_says_who_it_is_where_nobody_asked_is_tried_again(tmp_path: Path) -> None:
    def job(channel: Channel) -> None:
        if (tmp_path / "tried").exists():
            obedient_power(channel)
            return
        (tmp_path / "tried").touch()
        channel.receive()
        channel.send(SessionOpened())
        channel.send(BmcIdentified(b"0123456789abcdef", 17, fell_back=False))
        channel.send(PowerFailed("bmc: lost", final=False))

    played = play(job, None)
    assert played.verdict.success
    assert PowerFailed("bmc: lost", final=False) in played.seen, "the first attempt did not get so far"


@pytest.mark.parametrize(("power_timeout_s", "retry_on"), [(20.0, 1), (2.0, 6)])
def test_a_node_that_is_off_has_the_time_of_all_tries_to_come_on(power_timeout_s: float, retry_on: int) -> None:
    def job(channel: Channel) -> None:
        channel.receive()
        channel.send(SessionOpened())
        channel.send(ChassisObserved(PowerState.OFF))
        time.sleep(3.2)  # longer than one try of 2 s may take
        channel.send(ChassisObserved(PowerState.ON))
        channel.send(PowerDone())

    timing = Timing(power_timeout_s=power_timeout_s, retry_on=retry_on)
    request = Request(Action.REBOOT, Caller.CLUSTER, "victim", False, ProofPolicy.POWER, bmc=_BMC, timing=timing)
    facts = Run(make_plan(request), Deadline.after(SOON_S), Workers(job, deaf), lambda _: None).execute()
    assert facts.states == [PowerState.OFF, PowerState.ON]


def test_a_silent_bmc_has_the_time_of_a_login_once_storage_has_settled_it() -> None:
    storage = storage_says(WON, ISOLATED, StorageDone(1))
    played = play(deaf, storage, policy=ProofPolicy.ANY, login_timeout_s=1.5, deadline_s=SOON_S + 20)
    assert played.verdict.success
    assert 1.0 < played.took_s < SOON_S
