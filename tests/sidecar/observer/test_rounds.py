# SPDX-License-Identifier: Apache-2.0
"""Turns that share threads: none waits for one that hangs."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.sidecar.observer import rounds
from fencer.sidecar.observer.rounds import SIDE_BY_SIDE, Rounds, next_on_grid, start_thread

WAIT_S = 60.0


@given(st.floats(0, 1e7), st.floats(0.05, 60))
def test_what_is_next_on_the_grid_is_soon_and_later(now: float, interval_s: float) -> None:
    assert now < next_on_grid(now, interval_s) <= now + interval_s * (1 + 1e-6) + 1e-6


class Watched:
    """Rounds in threads of this process, and the thread that watches over them."""

    def __init__(self) -> None:
        self.settled, self.started, self.woken = 0, 0, 0
        self.may_start = True
        self.heard = threading.Condition()
        self.starved = False
        # A turn that hangs waits for a lock here, which a thread without a processor does, too.
        self.rounds = Rounds(self.settle, 0.5, self.wake, time.monotonic, self.start, lambda _: self.starved)
        self.ended = threading.Event()
        self.hung: list[threading.Event] = []
        start_thread(self.watch, "watch")

    def settle(self) -> None:
        with self.heard:
            self.settled += 1
            self.heard.notify_all()

    def wake(self) -> None:
        self.woken += 1

    def start(self, job: Callable[[], None], name: str) -> None:
        if not self.may_start:
            raise RuntimeError("can't start new thread")
        self.started += 1
        start_thread(job, name)

    def watch(self) -> None:
        while not self.ended.wait(0.01):
            self.rounds.relieve(time.monotonic())

    def hang(self) -> threading.Event:
        """Adds a turn that hangs."""
        release = threading.Event()
        self.hung.append(release)

        def turn() -> None:
            release.wait(WAIT_S)

        self.rounds.add(turn, 0.0)
        return release

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not true():
            assert time.monotonic() < end
            time.sleep(0.005)


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    for release in watched.hung:
        release.set()
    watched.rounds.end()
    watched.ended.set()


def test_a_turn_comes_again_when_it_says_and_no_more_when_it_says_none(watched: Watched) -> None:
    times: list[float] = []

    def turn() -> float | None:
        times.append(time.monotonic())
        return times[-1] + 0.05 if len(times) < 3 else None

    watched.rounds.add(turn, 0.0)
    watched.until(lambda: len(times) == 3 and watched.settled > 0)
    assert times[1] >= times[0] + 0.05 and times[2] >= times[1] + 0.05
    assert not watched.rounds.is_busy


def test_turns_that_are_due_together_are_taken_by_one_thread_and_settled_once(watched: Watched) -> None:
    threads, at_s = set[int](), time.monotonic() + 0.3
    watched.rounds.add(lambda: None, 0.0)
    watched.until(lambda: watched.settled == 1)
    for _ in range(50):
        watched.rounds.add(lambda: threads.add(threading.get_ident()), at_s)  # type: ignore[func-returns-value]
    watched.until(lambda: watched.settled == 2)
    assert len(threads) == 1


def test_no_turn_waits_for_those_that_hang(watched: Watched) -> None:
    for _ in range(40):
        watched.hang()
    served = threading.Event()
    watched.rounds.add(lambda: served.set(), 0.0)  # type: ignore[func-returns-value]
    assert served.wait(WAIT_S)
    assert watched.rounds.is_busy


def test_threads_that_are_not_needed_any_more_end(watched: Watched) -> None:
    for _ in range(10):
        watched.hang()
    watched.until(lambda: watched.rounds._threads >= 10)
    for release in watched.hung:
        release.set()
    watched.until(lambda: watched.rounds._threads <= 1)
    served = threading.Event()
    watched.rounds.add(lambda: served.set(), 0.0)  # type: ignore[func-returns-value]
    assert served.wait(WAIT_S)


def test_a_turn_that_hung_comes_again_by_the_thread_that_is_left(watched: Watched) -> None:
    """That one waits with nothing due, and the one that is back is not needed."""
    release, again, other = threading.Event(), threading.Event(), threading.Event()

    def hung() -> float | None:
        if release.is_set():
            again.set()
            return None
        release.wait(WAIT_S)
        return time.monotonic() + 0.05

    watched.rounds.add(hung, 0.0)
    watched.until(lambda: watched.rounds.is_busy)
    watched.rounds.add(lambda: other.set(), 0.0)  # type: ignore[func-returns-value]
    assert other.wait(WAIT_S)
    watched.until(lambda: watched.rounds._waits)
    release.set()
    assert again.wait(WAIT_S)


def test_slow_turns_are_taken_side_by_side_but_by_few_threads(watched: Watched) -> None:
    left = threading.Semaphore(0)

    def slow() -> None:
        time.sleep(0.03)
        left.release()

    for _ in range(100):
        watched.rounds.add(slow, 0.0)
    for _ in range(100):
        assert left.acquire(timeout=WAIT_S)
    assert 1 < watched.started <= 2 * SIDE_BY_SIDE


def test_threads_that_wait_for_the_processor_make_no_more_of_them(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "HANGS_S", 60.0)
    watched.starved = True
    for _ in range(40):
        watched.hang()
    watched.until(lambda: watched.rounds.is_busy)
    time.sleep(0.5)
    assert watched.started <= SIDE_BY_SIDE


def test_a_thread_that_has_not_begun_yet_is_not_taken_for_one_that_hangs() -> None:
    jobs: list[Callable[[], None]] = []
    slow = Rounds(lambda: None, 0.5, lambda: None, lambda: 10.0, lambda job, _: jobs.append(job))
    for _ in range(40):
        slow.add(lambda: None, 0.0)
    for number in range(5):
        slow.relieve(10.0 + number)
    assert len(jobs) == 1


def test_a_turn_that_lasts_is_not_waited_for_whatever_it_waits_for(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "HANGS_S", 0.5)
    watched.starved = True
    watched.hang()
    watched.until(lambda: watched.rounds.is_busy)
    time.sleep(2 * rounds.LATE_S)  # now it may be starved; what is late from here on makes no thread before it hangs
    served = threading.Event()
    watched.rounds.add(lambda: served.set(), time.monotonic())  # type: ignore[func-returns-value]
    assert served.wait(WAIT_S)
    assert watched.started == 2


def test_a_thread_that_cannot_be_started_is_tried_again(watched: Watched) -> None:
    watched.may_start = False
    served = threading.Event()
    watched.rounds.add(lambda: served.set(), 0.0)  # type: ignore[func-returns-value]
    assert not served.wait(0.1)
    watched.may_start = True
    assert served.wait(WAIT_S)


def test_a_turn_that_is_sooner_than_what_is_watched_for_wakes_the_watching_thread() -> None:
    watched = Watched()
    watched.ended.set()
    now = time.monotonic()
    assert watched.rounds.check_at_s(now, now + 1.0) == now + 1.0
    watched.rounds.add(lambda: None, now + 0.9)
    assert watched.woken == 0
    watched.rounds.add(lambda: None, now + 0.1)
    assert watched.woken == 1
    assert watched.rounds.check_at_s(now, now + 1.0) == pytest.approx(now + 0.15)
