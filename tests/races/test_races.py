# SPDX-License-Identifier: Apache-2.0
"""Thirty races of each kind; `make race` runs the 500."""

import os
import random

import pytest

from tests.races import contest, whole
from tests.rig.target import Target

pytestmark = [pytest.mark.peer, pytest.mark.skipif(os.geteuid() != 0, reason="tgtd must run as root")]


@pytest.mark.parametrize("relogin", [False, True], ids=["registered", "after-a-relogin"])
@pytest.mark.parametrize("strangers", [False, True], ids=["as-expected", "under-other-keys"])
def test_exactly_one_survives(relogin: bool, strangers: bool) -> None:
    with Target() as target:
        series = contest.run([[target.url()]] * 3, 30, relogin=relogin, strangers=strangers, seed=1)
    assert series.clean, series.table("races")


def test_the_node_that_does_the_work_wins_when_ranks_are_on() -> None:
    with Target() as target, contest.Agents([[target.url()]] * 3, slot_s=0.1) as agents:
        dice = random.Random(2)
        for active in (0, 1):
            outcome, winner, _, what = agents.race(0.005, dice, active=active)
            assert (outcome, winner) == (contest.Outcome.ONE_SURVIVOR, active), what


@pytest.mark.slow
def test_of_two_whole_agents_one_survives() -> None:
    with Target() as target:
        series = whole.run([target.url()], 3, seed=3)
    assert series.clean, series.table("whole")
