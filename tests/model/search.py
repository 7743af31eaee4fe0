# SPDX-License-Identifier: Apache-2.0
"""Breadth-first search over all states of a scenario. The first trace that breaks something is a shortest one."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from tests.model.cluster import Cluster
from tests.model.procedures import Steps, product_in_steps
from tests.model.state import Move, Scenario, State


class Result(NamedTuple):
    """broken: what does not hold, "" where all holds; trace: how it comes to that. whole: all states were seen.

    late: agents that had not ended after STEPS_MOST steps.
    """

    scenario: str
    states: int
    moves: int
    local_states: int
    late: int
    took_s: float
    whole: bool
    broken: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        end = f"BROKEN: {self.broken}" if self.broken else "holds" if self.whole else "holds as far as it went"
        late = f", {self.late} late ends" if self.late else ""
        return (
            f"{self.scenario}: {self.states:,} states, {self.moves:,} moves, {self.local_states:,} local states"
            f"{late}, {self.took_s:.1f} s: {end}"
        )


def search(
    scenario: Scenario,
    states_most: int | None = None,
    tell: Callable[[str], None] = lambda _text: None,
    breaking: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Result:
    """Explores a scenario until something is broken, or nothing is left, or states_most were seen.

    breaking: breaks the product meanwhile (mutants.py).
    """
    began = told = time.monotonic()
    with product_in_steps(), breaking():
        steps = Steps(scenario.setting)
        cluster = Cluster(scenario, steps)
        packer = _Packer(scenario.setting.luns)
        first = packer.pack(cluster.first())
        cluster.late = 0
        came_from: dict[_Packed, _Packed | None] = {first: None}
        waiting = deque([first])
        moves = 0

        def result(whole: bool, broken: str = "", trace: tuple[str, ...] = ()) -> Result:
            took_s = time.monotonic() - began
            return Result(scenario.name, len(came_from), moves, len(steps), cluster.late, took_s, whole, broken, trace)

        while waiting:
            packed = waiting.popleft()
            for move in cluster.moves(packer.unpack(packed)):
                moves += 1
                if move.broken:
                    return result(False, move.broken, (*_trace(came_from, packed, cluster, packer), move.text))
                after = packer.pack(move.after)
                if after not in came_from:
                    came_from[after] = packed
                    waiting.append(after)
            if states_most is not None and len(came_from) >= states_most:
                return result(False)
            if (now := time.monotonic()) - told > 10:
                told = now
                tell(f"  {len(came_from):,} states, {len(waiting):,} waiting, {now - began:.0f} s")
        return result(True)


_Packed = tuple[int, ...]


class _Packer:
    """States as tuples of a few small numbers: most of their parts are the same in thousands of states."""

    def __init__(self, luns: int) -> None:
        self._luns = luns
        self._numbers: dict[object, int] = {}
        self._parts: list[Any] = []

    def pack(self, state: State) -> _Packed:
        parts = (*state.targets, *state.nodes, state.budget, (state.won, state.power, state.proofs))
        return tuple(map(self._number, parts))

    def _number(self, part: object) -> int:
        number = self._numbers.get(part)
        if number is None:
            number = self._numbers[part] = len(self._parts)
            self._parts.append(part)
        return number

    def unpack(self, packed: _Packed) -> State:
        parts = [self._parts[number] for number in packed]
        *rest, budget, pairs = parts
        return State(tuple(rest[: self._luns]), tuple(rest[self._luns :]), budget, *pairs)


def _trace(
    came_from: dict[_Packed, _Packed | None], last: _Packed, cluster: Cluster, packer: _Packer
) -> tuple[str, ...]:
    """What happened from the first state to the last one."""
    texts: list[str] = []
    at, before = last, came_from[last]
    while before is not None:
        found: Move = next(move for move in cluster.moves(packer.unpack(before)) if packer.pack(move.after) == at)
        texts.append(found.text)
        at, before = before, came_from[before]
    return tuple(reversed(texts))
