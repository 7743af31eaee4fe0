# SPDX-License-Identifier: Apache-2.0
"""Work on many LUNs at a time: what becomes of each is told, whatever the others do."""

import threading
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from fencer.model import Deadline
from fencer.observations import LunFailed, LunIsolated, Observation
from fencer.storage import procedure, thread_start
from fencer.storage.logical_unit import LogicalUnit


class _Nobody:
    """A LUN that blows up, answers late, or answers: what the work makes of it is all that matters here."""

    def __init__(self, name: str) -> None:
        self.name = name


def _messages(names: Sequence[str], work: Callable[[str], tuple[Observation, ...]]) -> list[tuple[Observation, ...]]:
    """What is told, in the order in which it is told. It grows while the work is done."""
    told: list[tuple[Observation, ...]] = []

    def emit(*what: Observation) -> None:
        told.append(what)

    luns = [cast("LogicalUnit", _Nobody(name)) for name in names]
    procedure._side_by_side(luns, lambda lun: procedure._ended(lun, lambda each: work(each.name)), emit)
    return told


@pytest.mark.parametrize("names", [["bad"], ["bad", "a", "b"]])
def test_a_surprise_on_one_lun_is_told_as_its_failure(names: list[str]) -> None:
    def work(name: str) -> tuple[Observation, ...]:
        if name == "bad":
            raise ZeroDivisionError("a fault of ours")
        return (LunIsolated(name, True, False),)

    told = [what for message in _messages(names, work) for what in message]
    assert LunFailed("bad", "bad: unexpected ZeroDivisionError: a fault of ours: please report this") in told
    assert len(told) == len(names)


def test_a_surprise_in_a_look_is_told_and_not_waited_for() -> None:
    class Lun(_Nobody):
        wwid = property(lambda self: self.name)

        def look(self, _deadline: object) -> None:
            raise ZeroDivisionError("a fault of ours")

    luns = [cast("LogicalUnit", Lun(name)) for name in "ab"]
    found: list[object] = []
    thread = threading.Thread(
        target=lambda: found.extend(look for _, look in procedure.looks_of(luns, Deadline.after(60))), daemon=True
    )
    thread.start()
    thread.join(30)
    text = "unexpected ZeroDivisionError: a fault of ours: please report this"
    assert list(map(str, found)) == [f"a: {text}", f"b: {text}"]


def test_a_thread_that_cannot_be_started_for_a_moment_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    start, refused = thread_start.start_new_thread, [0]

    def no_task_is_left(work: Callable[..., object], arguments: tuple[object, ...]) -> None:
        refused[0] += 1
        if refused[0] % 3:
            raise RuntimeError("can't start new thread")
        start(work, arguments)

    monkeypatch.setattr(thread_start, "start_new_thread", no_task_is_left)
    told = [
        what for message in _messages(["a", "b"], lambda name: (LunIsolated(name, True, False),)) for what in message
    ]
    assert sorted(what.lun for what in told if isinstance(what, LunIsolated)) == ["a", "b"]


def test_ends_are_told_together_and_the_late_one_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure, "LINGER_S", 1.0)  # a busy machine may take long to start 100 threads
    others_told = threading.Event()

    def work(name: str) -> tuple[Observation, ...]:
        if name == "late" and not others_told.wait(30):
            return (LunFailed(name, "the others were kept back"),)
        return (LunIsolated(name, True, False),)

    names = [*(f"{number}" for number in range(100)), "late"]
    luns = [cast("LogicalUnit", _Nobody(name)) for name in names]
    told: list[tuple[Observation, ...]] = []

    def emit(*what: Observation) -> None:
        told.append(what)
        if sum(map(len, told)) == 100:
            others_told.set()

    procedure._side_by_side(luns, lambda lun: work(lun.name), emit)
    assert told[-1] == (LunIsolated("late", True, False),)
    assert {what.lun for message in told for what in message if isinstance(what, LunIsolated)} == set(names)
    assert len(told) < 50, "hardly any end was told together with another"


def test_few_luns_have_their_turns_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once on a slow processor, and each would run out of its time."""
    monkeypatch.setattr(procedure, "SLOW_S", 60.0)  # none counts as slow, whatever else the machine does
    three, counting = threading.Barrier(3, timeout=30), threading.Lock()
    now = most = 0

    def work(lun: LogicalUnit) -> tuple[Observation, ...]:
        nonlocal now, most
        with counting:
            now += 1
            most = max(most, now)
        three.wait()
        with counting:
            now -= 1
        return (LunIsolated(lun.name, True, False),)

    told: list[Observation] = []
    names = [f"{number}" for number in range(39)]
    luns = [cast("LogicalUnit", _Nobody(name)) for name in names]
    procedure._side_by_side(luns, work, lambda *what: told.extend(what), 3)
    assert {what.lun for what in told if isinstance(what, LunIsolated)} == set(names)
    assert most == 3


def test_luns_that_are_slow_make_room_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure, "SLOW_S", 0.05)
    others = threading.Event()

    def work(lun: LogicalUnit) -> tuple[Observation, ...]:
        if lun.name == "last":
            others.set()
        elif not others.wait(30):
            return (LunFailed(lun.name, "the last one did not have its turn"),)
        return (LunIsolated(lun.name, True, False),)

    told: list[Observation] = []
    luns = [cast("LogicalUnit", _Nobody(name)) for name in (*(f"{number}" for number in range(40)), "last")]
    procedure._side_by_side(luns, work, lambda *what: told.extend(what), 2)
    assert [what for what in told if isinstance(what, LunFailed)] == []
    assert len(told) == 41
