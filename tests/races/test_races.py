# SPDX-License-Identifier: Apache-2.0
"""Thirty races of each kind; `make race` runs the 500, and with RACES=10000 the trial."""

import json
import os
import random
from pathlib import Path

import pytest

from tests.races import contest, whole
from tests.races.trial import Trial
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
def test_a_trial_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    record = tmp_path / "races.jsonl"
    assert Trial(20, 0.005, 4, record).run()
    whole = record.read_text().splitlines(keepends=True)
    record.write_text("".join(whole[:8]) + whole[8][:10])  # torn in the eighth race
    assert Trial(20, 0.005, 4, record).run()
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert [row["race"] for row in rows[1:]] == list(range(20))
    kinds = [row["kind"] for row in rows[1:]]
    assert kinds == [json.loads(line)["kind"] for line in whole[1:]]
    assert "an agent killed" in kinds
    with pytest.raises(SystemExit, match="of another trial"):
        Trial(20, 0.005, 5, record).run()


@pytest.mark.slow
def test_of_two_whole_agents_one_survives() -> None:
    with Target() as target:
        series = whole.run([target.url()], 3, seed=3)
    assert series.clean, series.table("whole")
