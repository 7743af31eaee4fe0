# SPDX-License-Identifier: Apache-2.0
"""Random days of a node's life: no self-fence while storage is well, none missed when it is not.

`make days` plays 10,000, and a year on one node.
"""

import os

import pytest

from fencer.sidecar.lun_state import LunStates
from fencer.sidecar.policy import Policy
from tests.sidecar.simulated_day import Happening, judge, play, play_lives, random_day, random_days, shrink

DAYS = int(os.environ.get("DAYS", "300"))
AT_ONCE = 20  # in one test: some seconds, also where ten times as many processes run as there are cores


@pytest.mark.parametrize("seed", range(10))
def test_a_random_day(seed: int) -> None:
    assert judge(seed) == ""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(10, DAYS, AT_ONCE))
def test_random_days(first: int) -> None:
    assert [fault for fault in map(judge, range(first, min(first + AT_ONCE, DAYS))) if fault] == []


LOST = Happening("lost", 500.0, 1e9, 0, hangs=False)
TAKE_OVER = Happening("take-over", 900.0, 30.0, 1, hangs=False)
PREEMPTED = Happening("preempted", 500.0, 0.0, 0, hangs=False)


def test_a_node_that_lives_ten_days_and_boots_in_between() -> None:
    assert play_lives(random_days(50, 10)) == ("", 4)


def test_a_fault_after_the_boot_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Policy, "_grace", lambda _self, _now, met: None if met else 0.0)
    fault, fences = play_lives([PREEMPTED, TAKE_OVER._replace(at_s=2000.0)])
    assert fault.startswith("false")
    assert fences == 1


def test_a_policy_without_grace_is_found_and_the_day_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Policy, "_grace", lambda _self, _now, met: None if met else 0.0)
    day = [*(one for one in random_day(3) if one.kind in ("reload", "pvs")), TAKE_OVER]
    assert play(day).startswith("false")
    assert shrink(day) == [TAKE_OVER]


def test_a_policy_that_never_fences_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Policy, "_grace", lambda _self, _now, _met: None)
    assert play([LOST]).startswith("missed")


def test_a_policy_that_requires_a_lun_that_left_the_group_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(self: LunStates, listed: object) -> None:
        before = dict(self._luns)
        original(self, listed)  # type: ignore[arg-type]
        self._luns = {**before, **self._luns}

    original = LunStates._list
    monkeypatch.setattr(LunStates, "_list", keep)
    day = [Happening("extend", 100.0, 1.0, 0, hangs=False), Happening("reduce", 400.0, 0.0, 0, hangs=False)]
    assert play(day).startswith("false")
