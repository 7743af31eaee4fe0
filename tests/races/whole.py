# SPDX-License-Identifier: Apache-2.0
"""The race between two whole agents: two processes, each through option parsing, login and its own worker."""

import random
import tempfile
import time
from pathlib import Path

from fencer.storage.look import guard_key
from fencer.storage.transport import ScsiStatus
from tests.agent_storage.nodes import Answer, Node, Witness, finish
from tests.races.contest import Outcome, Series


def run(urls: list[str], races: int, *, skew_s: float = 0.005, seed: int | None = None) -> Series:
    """Each node's data go through a session of its own, registered under the node's key, as its kernel's would."""
    dice = random.Random(seed)
    series = Series()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:  # journal writers end after the agents
        nodes = [Node(number, Path(directory), urls) for number in range(2)]
        for _ in range(races):
            series.add(*_race(nodes, skew_s, dice))
    return series


def _race(nodes: list[Node], skew_s: float, dice: random.Random) -> tuple[Outcome, int | None, float, object]:
    for node in nodes:
        node.forget()
        answer = node.unfence()
        assert answer.status == 0, answer.stderr
    kernels = [Witness(node.urls[0], f"kernel-{node.name}", node.key) for node in nodes]
    try:
        began = time.monotonic()
        first = dice.randrange(2)
        processes = {}
        for number in (first, 1 - first):
            processes[number] = nodes[number].start("off", nodes[1 - number].name, rank_slot=0, verbose=1)
            time.sleep(dice.uniform(0, skew_s))
        answers = [finish(processes[number]) for number in range(2)]
        took_s = time.monotonic() - began
        outcome, winner = _judge(nodes, kernels, answers)
        return outcome, winner, took_s, (kernels[0].keys().keys, answers)
    finally:
        for kernel in kernels:
            kernel.close()


def _judge(nodes: list[Node], kernels: list[Witness], answers: list[Answer]) -> tuple[Outcome, int | None]:
    # A race that was won lets power go, whatever the agent says in the end.
    won = [
        number for number in range(2) if answers[number].status == 0 or ": arbitration won" in answers[number].stderr
    ]
    if len(won) == 2:
        return Outcome.BOTH_WON, None
    if not won:
        return Outcome.NOBODY_WON, None
    winner, loser = won[0], 1 - won[0]
    if answers[loser].status != 1 or "the fence race is lost" not in answers[loser].stderr:
        return Outcome.SILENT_LOSER, winner
    if kernels[loser].write() is not ScsiStatus.RESERVATION_CONFLICT:
        return Outcome.LOSER_WRITES, winner
    if kernels[winner].write() is not ScsiStatus.GOOD:
        return Outcome.WINNER_CANNOT_WRITE, winner
    if {nodes[loser].key, guard_key(nodes[loser].key)} & set(kernels[winner].keys().keys):
        return Outcome.LOSER_REGISTERED, winner
    return Outcome.ONE_SURVIVOR, winner
