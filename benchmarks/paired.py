# SPDX-License-Identifier: Apache-2.0
"""Two programs run in turns, A B A B, so that what else the machine does hits both; figures about such runs."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.measure import Ended

MS = 1e-3
"""A unit for times in seconds."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int, unit: float = 1.0) -> str:
        """The median and, in brackets, the smallest and the largest, each divided by unit."""
        median, least, most = (value / unit for value in (self.median, self.least, self.most))
        return f"{median:.{digits}f} ({least:.{digits}f}-{most:.{digits}f})"


@dataclass(frozen=True, slots=True)
class Pairs:
    """wall and cpu in seconds, ours and theirs. times: how often as long as ours theirs took, pair by pair."""

    runs: int
    our_wall: Spread
    our_cpu: Spread
    their_wall: Spread
    their_cpu: Spread
    times: Spread
    cpu_times: Spread


def in_turns(ours: Callable[[], Ended], theirs: Callable[[], Ended], runs: int) -> Pairs:
    """The order changes from pair to pair, so that neither always finds the machine as the other one left it."""
    pairs: list[tuple[Ended, Ended]] = []
    for number in range(runs):
        if number % 2:
            second = theirs()
            pairs.append((ours(), second))
        else:
            first = ours()
            pairs.append((first, theirs()))
    return Pairs(
        runs,
        Spread.of(a.wall_s for a, _ in pairs),
        Spread.of(a.cpu_s for a, _ in pairs),
        Spread.of(b.wall_s for _, b in pairs),
        Spread.of(b.cpu_s for _, b in pairs),
        Spread.of(b.wall_s / a.wall_s for a, b in pairs),
        Spread.of(b.cpu_s / a.cpu_s for a, b in pairs),
    )
