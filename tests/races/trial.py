# SPDX-License-Identifier: Apache-2.0
"""Thousands of races of mixed kinds: `make race RACES=10000`. It can be interrupted, and goes on where it was.

Ranks are off, the skew is 0 to 5 ms. Three races in ten come after a relogin of both nodes, and in one in ten an agent
is killed at a random moment and called again. What each race drew depends on the seed and on the number of the race.
"""

import random
from pathlib import Path

from tests.races.contest import Agents, Outcome, Series
from tests.rig.target import Target
from tests.trial_record import TrialRecord

RELOGIN_SHARE, KILLED_SHARE = 0.3, 0.1
KILL_WITHIN_S = 0.008
"""A race of two takes 3 to 6 ms, so that some are over before."""

REGISTERED, RELOGIN, KILLED = "registered", "after a relogin", "an agent killed"


def bar_is_kept(kind: str, outcome: Outcome) -> bool:
    """Whether a race ended as it must: exactly one survivor unless an agent was killed, never two."""
    return outcome is Outcome.ONE_SURVIVOR or (kind == KILLED and outcome is Outcome.NOBODY_WON)


class Trial:
    """record: the file that keeps what was played."""

    def __init__(self, races: int, skew_s: float, seed: int, record: Path) -> None:
        self._races, self._skew_s, self._seed, self._record = races, skew_s, seed, record
        self._series = {kind: Series() for kind in (REGISTERED, RELOGIN, KILLED)}
        self._broken = 0

    def run(self) -> bool:
        """Plays the races that are left. True where the bar was kept in all."""
        record = TrialRecord(
            self._record, {"seed": self._seed, "races": self._races, "skew_s": self._skew_s}, self._races
        )
        for row in record.rows:
            self._add(row, f"race {row['race']}")
        with Target() as target, Agents([[target.url()]] * 3) as agents:
            for number in range(len(record.rows), self._races):
                kind, outcome, winner, took_s, what = self._race(agents, number)
                row = {"race": number, "kind": kind, "outcome": outcome.name, "winner": winner, "took_s": took_s}
                self._add(row, what)
                record.add(row, f" races, {self._broken} not as they must be")
        for kind, series in self._series.items():
            print(series.table(kind))
        print(f"seed {self._seed}, {record.played}: ", end="")
        print("the bar was kept" if not self._broken else f"{self._broken} races broke the bar")
        return not self._broken

    def _race(self, agents: Agents, number: int) -> tuple[str, Outcome, int | None, float, object]:
        dice = random.Random(f"{self._seed}/{number}")
        relogin, killed = dice.random() < RELOGIN_SHARE, dice.random() < KILLED_SHARE
        outcome, winner, took_s, what = agents.race(
            self._skew_s, dice, relogin=relogin, kill_within_s=KILL_WITHIN_S + self._skew_s if killed else None
        )
        if outcome is Outcome.HUNG:
            for node in (0, 1):
                agents.kill(node)
        return KILLED if killed else RELOGIN if relogin else REGISTERED, outcome, winner, took_s, what

    def _add(self, row: dict[str, object], what: object) -> None:
        kind, outcome, winner, took_s = str(row["kind"]), Outcome[str(row["outcome"])], row["winner"], row["took_s"]
        assert isinstance(took_s, float)
        assert winner is None or isinstance(winner, int)
        self._series[kind].add(outcome, winner, took_s, (f"race {row['race']}", what))
        self._broken += not bar_is_kept(kind, outcome)
