# SPDX-License-Identifier: Apache-2.0
"""How long Run waits, and for what: exactly, on a clock that only its own waits move."""

import math
from dataclasses import dataclass

import pytest

from fencer.agent.orders import Go, Login, LookAgain, Looked, PowerOrder, Seen, StorageOrder
from fencer.agent.plan import Plan
from fencer.agent.request import Timing
from fencer.model import (
    Action,
    ArbitrationMode,
    KnownBmc,
    PowerState,
    ProofPolicy,
)
from fencer.observations import (
    BmcIdentified,
    ChassisObserved,
    LunFailed,
    PowerDone,
    PowerFailed,
    SelfFenceDue,
    SessionOpened,
    StorageDone,
)
from tests.agent.clocked_plays import ALL, BMC, IDENTIFIED, about, after_a_failure, obedient, plan, storage
from tests.rig.clocked_run import Clock, ClockedRun, PlayedWorker
from tests.rig.plays import ISOLATED, WON


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> ClockedRun:
    return ClockedRun(monkeypatch)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_deadline_ends_it(clocked: ClockedRun) -> None:
    one, workers = clocked.play(plan(), deadline_s=3.3)
    assert (one.late, workers.all_power[0].dropped_at) == (True, about(3.3))
    assert workers.all_power[0].dropped_at >= 3.3


def test_so_it_does_where_the_machine_stood_still_before_a_wait(clocked: ClockedRun) -> None:
    """Nothing is waited for then."""

    def stands_still() -> bool:
        clocked.clock.now += 60.0 if 1.0 < clocked.clock.since_start < 2.0 else 0.0
        return False

    one, workers = clocked.play(plan(), deadline_s=30.0, interrupted=stands_still)
    assert one.late
    assert workers.all_power[0].dropped_at == about(61.0)


def test_an_interrupt_is_noticed_within_half_a_second(clocked: ClockedRun) -> None:
    one, workers = clocked.play(plan(), interrupted=lambda: clocked.clock.since_start > 0.7)
    assert one.late
    assert workers.all_power[0].dropped_at == about(1.0)


def test_a_run_that_is_not_late_says_so(clocked: ClockedRun) -> None:
    one, _ = clocked.play(plan(), power=obedient())
    assert not one.late


def test_a_power_worker_has_a_moment_to_log_out(clocked: ClockedRun) -> None:
    _, workers = clocked.play(plan(), deadline_s=3.3)
    (power,) = workers.all_power
    assert power.ended_within is not None
    assert 0.1 < power.ended_within < 1.0


def test_a_power_worker_that_is_left_alone_may_log_out(clocked: ClockedRun) -> None:
    """Storage has proved it, and the target may be back since."""
    proved = plan(storage=True, policy=ProofPolicy.ANY)
    one, workers = clocked.play(proved, power=obedient(lets_in_after_s=2.0), storage=storage((0.0, ALL), looks=None))
    (power,) = workers.all_power
    assert power.ended_within is not None
    assert 0.1 < power.ended_within < 1.0
    assert [note.text for note in one.facts.notes] == [
        "victim: it is fenced, and may be back since: its power is left alone"
    ]


@pytest.mark.parametrize(
    "each",
    [
        plan(Action.MONITOR, storage=True),
        plan(storage=True, arbitration=ArbitrationMode.OFF),
        plan(storage=True, policy=ProofPolicy.SELF, bmc=None, self_fence_bound_s=6.0),
    ],
    ids=["monitor", "no race", "no power"],
)
def test_a_storage_worker_that_nobody_can_have_a_question_for_is_ended(clocked: ClockedRun, each: Plan) -> None:
    _, workers = clocked.play(each, power=obedient(lets_in_after_s=6.0), storage=storage((2.0, ALL)))
    assert workers.all_storage[0].dropped_at == about(2.0)
    assert clocked.clock.since_start == about(8.0 if each.power is None else 6.0)


def test_where_the_bmc_says_it_no_storage_worker_is_started(clocked: ClockedRun) -> None:
    _, workers = clocked.play(plan(Action.STATUS, storage=True), power=obedient())
    assert (len(workers.all_power), workers.all_storage) == (1, [])


# --- attempts at the BMC ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_s", [None, 0.2, 0.45])
def test_the_next_attempt_begins_half_a_second_after_the_last(clocked: ClockedRun, noise_s: float | None) -> None:
    """Whatever the storage worker says meanwhile."""
    noise = storage(*[] if noise_s is None else [(1.0 + noise_s, (LunFailed("lun", "dead"),))])
    stopped = plan(storage=True, policy=ProofPolicy.POWER)
    _, workers = clocked.play(stopped, power=after_a_failure(), storage=noise, deadline_s=3.0)
    assert workers.all_power[1].began == about(1.5)
    assert workers.all_power[1].began >= 1.5


def test_a_login_has_its_limit_from_the_order(clocked: ClockedRun) -> None:
    timing = Timing(login_limit_s=3.3)
    one, workers = clocked.play(plan(timing=timing), deadline_s=9.0)
    assert [worker.began for worker in workers.all_power] == [0.0, about(3.8), about(7.6)]
    assert [failure.final for failure in one.facts.power_failures] == [False, False]
    assert one.facts.power_failures[0].reason == "bmc: Timed out: login: no session within 3.3 s (login_timeout)"


def test_a_gated_login_has_its_limit_from_the_permission(clocked: ClockedRun) -> None:
    timing = Timing(login_limit_s=3.3)
    luns = storage((5.0, (IDENTIFIED,)))
    _, workers = clocked.play(plan(storage=True, timing=timing), storage=luns, deadline_s=11.0)
    assert [worker.began for worker in workers.all_power] == [0.0, about(8.8)]
    assert [type(order) for order in workers.all_power[0].orders] == [PowerOrder, Login]
    assert workers.all_power[0].told[1][0] == about(5.0)
    assert [type(order) for order in workers.all_power[1].orders] == [PowerOrder, Login]


def test_a_login_that_has_no_limit_is_not_begun_anew(clocked: ClockedRun) -> None:
    _, workers = clocked.play(plan(timing=Timing(login_limit_s=math.inf)), deadline_s=90.0)
    assert len(workers.all_power) == 1


def test_a_session_ends_the_limit_of_its_login(clocked: ClockedRun) -> None:
    part = obedient(lets_in_after_s=3.0, off_after_s=3.0)
    one, workers = clocked.play(plan(timing=Timing(login_limit_s=3.3)), power=part)
    assert (len(workers.all_power), one.facts.power_done) == (1, True)


def test_who_answers_is_only_compared_where_a_guid_is_asked_for(clocked: ClockedRun) -> None:
    known = [KnownBmc(b"0123456789abcdef", "remedy"), KnownBmc(None, ""), None]
    for each in known:
        fails = [True]

        def part(worker: PlayedWorker, message: object, fails: list[bool] = fails) -> None:
            if fails:
                fails.pop()
                worker.says(BmcIdentified(b"fedcba9876543210", 17, fell_back=False))
                worker.says(PowerFailed("bmc: lost", final=False))
            else:
                obedient()(worker, message)

        _, workers = clocked.play(plan(bmc=BMC._replace(known=each)), power=part)
        order = workers.all_power[1].orders[0]
        assert isinstance(order, PowerOrder)
        asked = order.settings.known
        if each is None:
            assert asked is None
        else:
            assert asked is not None
            assert asked.guid == (each.guid or b"fedcba9876543210")


# --- the look before power goes ---------------------------------------------------------------------------------------


def test_a_look_is_good_for_a_second(clocked: ClockedRun) -> None:
    """Until then; one that is read later is repeated."""
    ages = [1.5, 1.02, 0.9]

    def part(worker: PlayedWorker, message: object) -> None:
        if isinstance(message, LookAgain):
            worker.says(Looked(message.number, WON.result, "", worker.clock() - ages.pop(0)))
        else:
            storage((0.0, ALL))(worker, message)

    _, workers = clocked.play(plan(storage=True), power=obedient(), storage=part)
    (worker,) = workers.all_storage
    assert [order.number for order in worker.orders[1:] if isinstance(order, LookAgain)] == [1, 2, 3]
    assert ages == []
    (go,) = [order for order in workers.all_power[0].orders if isinstance(order, Go)]
    assert go.looked_at_s is not None
    assert workers.all_power[0].told[-1][0] + Clock.START_S - go.looked_at_s == about(0.9)


def test_an_answer_for_an_attempt_that_is_over_lets_no_other_one_go(clocked: ClockedRun) -> None:
    """The first attempt breaks down while the arbiter is being looked at; the second one is not let in yet."""

    def power(worker: PlayedWorker, message: object) -> None:
        if isinstance(message, Login):
            second = bool(played_power)
            played_power.append(worker)
            worker.says(SessionOpened(), after_s=3.0 if second else 0.0)
            if not second:
                worker.says(PowerFailed("Timed out", final=False), after_s=0.1)
        elif isinstance(message, Go):
            worker.says(ChassisObserved(PowerState.OFF), PowerDone())

    def luns(worker: PlayedWorker, message: object) -> None:
        if isinstance(message, StorageOrder):
            worker.says(Seen(ALL))
        elif isinstance(message, LookAgain):
            worker.says(
                Looked(message.number, WON.result, "", worker.clock() + 2.0), after_s=2.0 if message.number == 1 else 0
            )

    played_power: list[PlayedWorker] = []
    one, workers = clocked.play(plan(storage=True), power=power, storage=luns)
    assert one.facts.power_done
    second = workers.all_power[1]
    assert [type(order) for order in second.orders] == [PowerOrder, Login, Go]
    assert second.told[2][0] == about(0.1 + 0.5 + 3.0)
    assert [type(order) for order in workers.all_storage[0].orders] == [StorageOrder, LookAgain, LookAgain]


def test_a_storage_worker_that_ends_between_two_attempts_at_the_bmc_begins_no_race(clocked: ClockedRun) -> None:
    """It is played again where power is to be let go: a win from now would grow old until then."""
    first: list[PlayedWorker] = []

    def luns(worker: PlayedWorker, message: object) -> None:
        storage((0.0, (IDENTIFIED, WON)))(worker, message)
        if not first:
            first.append(worker)
            worker.says(None, after_s=1.2)

    part = after_a_failure(1.0, then=obedient(lets_in_after_s=5.0))
    one, workers = clocked.play(plan(storage=True), power=part, storage=luns)
    assert [worker.began for worker in workers.all_storage] == [0.0, about(1.5 + 5.0)]
    assert one.facts.power_done


# --- a self-fence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_s", [(), (0.3, 7.1)])
def test_a_self_fence_is_due_after_its_bound(clocked: ClockedRun, noise_s: tuple[float, ...]) -> None:
    """Counted from when storage was proved, whatever the BMC says meanwhile."""

    def power(worker: PlayedWorker, message: object) -> None:
        for each in noise_s if isinstance(message, PowerOrder) else ():
            worker.says(ChassisObserved(PowerState.ON), after_s=2.0 + each)

    due = plan(storage=True, policy=ProofPolicy.SELF, self_fence_bound_s=7.3)
    clocked.play(due, power=power, storage=storage((2.0, ALL)))
    (at_s,) = clocked.when(SelfFenceDue(7.3))
    assert at_s == about(9.3)
    assert at_s >= 2.0 + 7.3


# --- patience with one side when the other has settled it -------------------------------------------------------------


@pytest.mark.parametrize(("after_s", "counts"), [(0.0, True), (0.8, True), (1.3, False)])
def test_storage_has_a_second_more_when_power_has_settled_it(clocked: ClockedRun, after_s: float, counts: bool) -> None:
    luns = storage((0.0, (IDENTIFIED, WON)), (4.0 + after_s, (ISOLATED, StorageDone(1))))
    power = obedient(lets_in_after_s=4.0)
    one, workers = clocked.play(plan(storage=True), power=power, storage=luns)
    assert bool(one.facts.isolated) is counts
    assert not one.late
    assert workers.all_storage[0].dropped_at == about(4.0 + min(after_s, 1.0))


@dataclass
class Settled:
    """A run whose storage worker proves it after 2 s, while its power worker hangs in a session."""

    power_timeout_s: float
    power_wait_s: float
    retry_on: int
    ends_at: float


@pytest.mark.parametrize(
    "each",
    [
        Settled(20.0, 0.0, 1, 2 + 20 + 1),
        Settled(4.0, 3.0, 1, 2 + 10 + 1),
        Settled(4.0, 3.0, 0, 2 + 10 + 1),
        Settled(4.0, 3.0, 3, 2 + 30 + 1),
    ],
)
def test_a_power_worker_with_a_session_has_the_time_of_what_it_does(clocked: ClockedRun, each: Settled) -> None:
    """Of all its tries to switch the node on again, so that one that stays off is reported as such."""

    def power(worker: PlayedWorker, message: object) -> None:
        if isinstance(message, Login):
            worker.says(SessionOpened())

    timing = Timing(power_timeout_s=each.power_timeout_s, power_wait_s=each.power_wait_s, retry_on=each.retry_on)
    settled = plan(Action.REBOOT, storage=True, policy=ProofPolicy.ANY, timing=timing)
    one, workers = clocked.play(settled, power=power, storage=storage((0.0, (IDENTIFIED, WON)), (2.0, ALL[2:])))
    assert workers.all_power[0].dropped_at == about(each.ends_at)
    assert not one.late


@pytest.mark.parametrize(("login_timeout_s", "ends_at"), [(9.7, 9.7), (1.0, 2.0)])
def test_a_silent_bmc_has_the_time_of_a_login_from_the_start(
    clocked: ClockedRun, login_timeout_s: float, ends_at: float
) -> None:
    timing = Timing(login_timeout_s=login_timeout_s)
    settled = plan(storage=True, policy=ProofPolicy.ANY, timing=timing)
    one, workers = clocked.play(settled, storage=storage((2.0, ALL)))
    assert workers.all_power[0].dropped_at == about(ends_at)
    assert not one.late


@pytest.mark.parametrize("fails_after_s", [2.4, 2.8])
def test_a_bmc_that_is_to_be_tried_again_is_not_waited_for_as_one_that_is_over(
    clocked: ClockedRun, fails_after_s: float
) -> None:
    """Between two attempts there is no power worker, and power is not over."""
    timing = Timing(login_timeout_s=9.7)
    settled = plan(storage=True, policy=ProofPolicy.ANY, timing=timing)
    _, workers = clocked.play(settled, power=after_a_failure(fails_after_s), storage=storage((2.0, ALL)))
    assert len(workers.all_power) == 2
    assert any(isinstance(order, Go) for order in workers.all_power[1].orders)


# --- what it says -----------------------------------------------------------------------------------------------------


def test_what_is_observed_has_its_time_since_the_start(clocked: ClockedRun) -> None:
    clocked.play(plan(), power=obedient(lets_in_after_s=3.0, off_after_s=4.0))
    assert clocked.when(SessionOpened()) == [about(3.0)]
    assert clocked.when(PowerDone()) == [about(7.0)]


@pytest.mark.parametrize("age_s", [None, 0.0, 7.5])
def test_a_storage_order_says_when_the_call_began(clocked: ClockedRun, age_s: float | None) -> None:
    alone = plan(policy=ProofPolicy.STORAGE, bmc=None, storage=True)
    _, workers = clocked.play(alone, deadline_s=1.0, **({} if age_s is None else {"age_s": age_s}))
    (order,) = workers.all_storage[0].orders
    assert isinstance(order, StorageOrder)
    assert order.began_s == Clock.START_S - (age_s or 0.0)
