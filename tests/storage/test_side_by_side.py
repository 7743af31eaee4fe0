# SPDX-License-Identifier: Apache-2.0
"""Work on many LUNs at a time: what becomes of each is told, whatever the others do."""

import threading
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from fencer.observations import LunFailed, LunIsolated, Observation
from fencer.storage import procedure
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
            raise ZeroDivisionError("what nobody thought of")
        return (LunIsolated(name, True, False),)

    told = [what for message in _messages(names, work) for what in message]
    assert LunFailed("bad", "bad: unexpected ZeroDivisionError: what nobody thought of: please report this") in told
    assert len(told) == len(names)


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
