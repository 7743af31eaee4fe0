# SPDX-License-Identifier: Apache-2.0
"""How long a run that ends waits for a storage worker that undoes a guard key, exactly (tests/rig/clocked_run.py)."""

import pytest

from fencer.agent import run
from fencer.agent.orders import Guarding
from fencer.model import ProofPolicy
from fencer.storage.guarded_registration import UNDO_S
from tests.agent.clocked_plays import about, plan
from tests.rig.clocked_run import ClockedRun, Part, PlayedWorker, silent


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> ClockedRun:
    return ClockedRun(monkeypatch)


STORAGE_ALONE = plan(policy=ProofPolicy.STORAGE, bmc=None, storage=True)
STOP_S = 5.0
"""When these runs are interrupted."""


def guards(*later: tuple[float, object]) -> Part:
    """Begins a guard key as soon as it is ordered. later: what it says then, and how long after the interrupt."""

    def part(worker: PlayedWorker, message: object) -> None:
        worker.says(Guarding("/dev/sda", begins=True))
        for after_s, what in later:
            worker.says(what, after_s=STOP_S + after_s)

    return part


def held_for(clocked: ClockedRun, part: Part) -> float:
    """How long after the interrupt the storage worker was ended."""
    _, workers = clocked.play(
        STORAGE_ALONE, storage=part, interrupted=lambda: clocked.clock.since_start >= STOP_S - 0.001
    )
    (worker,) = workers.all_storage
    assert worker.dropped_at is not None
    return worker.dropped_at - STOP_S


BEGUN, UNDONE = Guarding("/dev/sda", begins=True), Guarding("/dev/sda", begins=False)


@pytest.mark.parametrize("undone_after_s", [0.5, 1.1, 1.9, UNDO_S])
def test_a_guard_key_is_waited_for_until_it_is_undone(clocked: ClockedRun, undone_after_s: float) -> None:
    """Killed before, the storage worker would leave a key that lets this node write, though it may be fenced."""
    assert held_for(clocked, guards((undone_after_s, UNDONE))) == about(undone_after_s)


def test_it_is_not_waited_for_much_longer_than_its_undoing_may_take(clocked: ClockedRun) -> None:
    assert UNDO_S < held_for(clocked, guards()) < UNDO_S + 0.6


def test_a_second_guard_key_has_what_is_left_of_the_time(clocked: ClockedRun) -> None:
    assert held_for(clocked, guards((1.0, UNDONE), (1.0, BEGUN))) == about(run.UNDO_GRACE_S)


def test_of_two_guard_keys_each_is_waited_for(clocked: ClockedRun) -> None:
    """Also where little time is left when the first of them is undone."""
    other = "/dev/sdb"
    part = guards((0.1, Guarding(other, begins=True)), (1.6, UNDONE), (1.9, Guarding(other, begins=False)))
    assert held_for(clocked, part) == about(1.9)


@pytest.mark.parametrize("takes_s", [1.5, 60.0])
def test_a_machine_that_stands_still_meanwhile_ends_the_wait(clocked: ClockedRun, takes_s: float) -> None:
    """Its time is over when the run goes on."""

    def part(worker: PlayedWorker, message: object) -> None:
        worker.says(BEGUN)
        worker.says(BEGUN, after_s=STOP_S + 1.0, takes_s=takes_s)

    assert held_for(clocked, part) == about(1.0 + takes_s)


def test_a_storage_worker_that_ends_while_it_undoes_is_not_waited_for(clocked: ClockedRun) -> None:
    assert held_for(clocked, guards((0.7, None))) == about(0.7)


@pytest.mark.parametrize("part", [silent, guards((-1.0, UNDONE))])
def test_where_there_is_no_guard_key_nothing_is_waited_for(clocked: ClockedRun, part: Part) -> None:
    assert held_for(clocked, part) == about(0.0)
