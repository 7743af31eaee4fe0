# SPDX-License-Identifier: Apache-2.0
"""What a trial of the oracle draws, and how its end is classified. No guest."""

import random

import pytest

from .oracle_faults import A, B, Fault, draw
from .oracle_trials import Trial, Verdict, decode, table

_SUCCESS = Trial(Fault.NONE.value, rcs={A: 0}, mark=9, latest=9)
_IMPOSSIBLE = Trial(Fault.ALL_PATHS.value, rcs={A: 1}, again=0, mark=9, latest=9, may_succeed=False, may_fail=True)


@pytest.mark.parametrize("fault", Fault)
def test_a_plan_depends_on_the_seed_only(fault: Fault) -> None:
    assert draw(fault, random.Random("1/7")) == draw(fault, random.Random("1/7"))
    assert fault in (Fault.NONE,) or draw(fault, random.Random("1/7")) != draw(fault, random.Random("1/8"))


def test_a_fence_may_fail_only_where_all_paths_are_lost() -> None:
    for fault in Fault:
        for number in range(20):
            plan = draw(fault, random.Random(number))
            assert plan.may_fail is (fault is Fault.ALL_PATHS)
            assert plan.may_succeed or plan.may_fail


@pytest.mark.parametrize(
    ("trial", "verdict"),
    [
        (_SUCCESS, Verdict.SUCCESS),
        (_SUCCESS._replace(rcs={A: 1, B: 0}), Verdict.SUCCESS),
        (_IMPOSSIBLE, Verdict.IMPOSSIBLE),
        (_SUCCESS._replace(latest=10, violations=1), Verdict.FAULT),
        (_SUCCESS._replace(writable=[1]), Verdict.FAULT),
        (_SUCCESS._replace(mark=0, latest=0), Verdict.FAULT),
        (_SUCCESS._replace(rcs={A: 0, B: 0}), Verdict.FAULT),
        (_SUCCESS._replace(rcs={A: 1}), Verdict.FAULT),
        (_SUCCESS._replace(broken="GuestError: still running"), Verdict.FAULT),
        (_IMPOSSIBLE._replace(again=1), Verdict.FAULT),
        (_IMPOSSIBLE._replace(may_fail=False), Verdict.FAULT),
        (_IMPOSSIBLE._replace(rcs={A: 0}, again=None), Verdict.FAULT),
        (_IMPOSSIBLE._replace(violations=1), Verdict.FAULT),
    ],
)
def test_a_trial_is_classified(trial: Trial, verdict: Verdict) -> None:
    assert trial.verdict is verdict


def test_a_row_is_read_back_and_counted() -> None:
    bad = _SUCCESS._replace(violations=3)
    rows = [{"trial": n, **each._asdict(), "took_s": 8.0} for n, each in enumerate((_SUCCESS, bad, _IMPOSSIBLE))]
    assert [decode(row) for row in rows] == [_SUCCESS, bad, _IMPOSSIBLE]
    told = table(rows)
    assert "| none | 2 | 1 | 0 | 1 | 3 |" in told
    assert "trial 1: none (): 3 records of the victim landed" in told
