# SPDX-License-Identifier: Apache-2.0
"""Both nodes fence each other with the cluster network cut between them, one a random moment later."""

import random
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from fencer.storage.arbitration import slot_s

from .guest import GuestError, Job
from .level3 import NODES, Cluster, Link
from .user_cluster import (
    agent,
    ended,
    fence_command,
    fence_ipmilan,
    forget_records,
    generation,
    install,
    keys,
    revive,
    start_writer,
    unfence,
    violations,
)

A, B = NODES


class Side(NamedTuple):
    """A node's part in a race. rc: None where it was shot before its agent ended. started_s, identified_s: when it was
    called, and when it had found its LUNs, by the host's clock, from the start of the race; its console kept that."""

    node: str
    rc: int | None
    started_s: float
    identified_s: float | None
    said: str

    @property
    def says_lost(self) -> bool:
        return "the fence race is lost" in self.said


class Race(NamedTuple):
    """steps: by how much the PR generation moved. left: node ids registered afterwards. powered: afterwards."""

    active: str | None
    skew_s: float
    sides: tuple[Side, Side]
    steps: int
    left: tuple[int, ...]
    powered: tuple[str, ...]
    records_after: int

    @property
    def winner(self) -> Side | None:
        won = [side for side in self.sides if side.rc == 0]
        return won[0] if len(won) == 1 else None

    @property
    def active_in_time(self) -> bool:
        """Whether the node with the volume group active had found its LUNs while the other still waited its rank.

        0.15 s are for the commands themselves, on an emulated CPU.
        """
        if self.active is None:
            return False
        other = next(side for side in self.sides if side.node != self.active)
        ours = next(side.identified_s for side in self.sides if side.node == self.active)
        theirs = other.identified_s
        if theirs is None:
            return ours is not None  # shot before it had found anything
        head_start_s = slot_s(theirs - other.started_s) * (1 + NODES.index(other.node))
        return ours is not None and ours < theirs + head_start_s - 0.15

    @property
    def faults(self) -> list[str]:
        if self.winner is None:
            return [f"not one winner: {self.sides}"]
        winner = self.winner.node
        loser = next(side for side in self.sides if side.node != winner)
        found = []
        if self.powered != (winner,):
            found.append(f"powered afterwards: {self.powered}")
        if loser.rc is not None and not loser.says_lost:
            found.append(f"the loser does not say so: {loser}")
        if self.steps != 1 or self.left != (NODES.index(winner) + 1,):
            found.append(f"the loser wrote, or the winner more than needed: {self.steps} steps, keys of {self.left}")
        if self.records_after:
            found.append(f"{self.records_after} records of the loser after the success")
        if self.active_in_time and winner != self.active:
            found.append(f"{self.active} had the volume group active, was there in time and lost: {self.sides}")
        return found


_STAMPED = """sleep $(awk "BEGIN {{ t = {at:.3f} - $EPOCHREALTIME; print (t > 0 ? t : 0) }}")
{agent} 2>&1 | while IFS= read -r line; do
  line="$EPOCHREALTIME $line"; echo "$line"; echo "RACE $line" >/dev/ttyS0
done
exit ${{PIPESTATUS[1]}}"""
"""Also to the console, which outlives the node."""


def race(cluster: Cluster, active: str | None, order: Sequence[str], skew_s: float) -> Race:
    """One race of two nodes that are up and registered. Leaves the loser off and the winner's writer stopped."""
    for node in NODES:
        mounted = cluster.nodes[node].run("mountpoint -q /srv/ha").rc == 0
        if mounted and node != active:
            cluster.deactivate(node)
        if not mounted and node == active:
            cluster.activate(node)
    forget_records(cluster)
    writers = {node: start_writer(cluster, node) for node in NODES}
    before = generation(cluster.nodes[A])
    consoles = {node: len(cluster.nodes[node].console()) for node in NODES}
    cluster.cut(A, Link.CLUSTER)
    try:
        leads = {node: cluster.nodes[node].clock_lead_s() for node in NODES}
        began = time.time() + 6  # the oracle looks through its records first
        jobs = {}
        for node, later_s in zip(order, (0.0, skew_s), strict=True):
            other = B if node == A else A
            at = began + later_s + leads[node]
            command = _STAMPED.format(at=at, agent=agent(other, "off", verbose="1", deadline="120"))
            jobs[node] = cluster.nodes[node].spawn(fence_command(other, command))
        ends = _all_ended(cluster, jobs)
    finally:
        cluster.heal(A, Link.CLUSTER)
    sides = []
    for node, started_s in zip(order, (0.0, skew_s), strict=True):
        said = cluster.nodes[node].console()[consoles[node] :]
        stamps = [line.partition("RACE ")[2] for line in said.splitlines() if "identified" in line]
        identified_s = float(stamps[0].split()[0]) - leads[node] - began if stamps else None
        outcome = ends[node]
        sides.append(
            Side(
                node,
                outcome["rc"] if outcome else None,
                started_s,
                identified_s,
                outcome["output"] if outcome else said,
            )
        )
    powered = tuple(node for node in NODES if cluster.is_powered(node))
    winner = next((side.node for side in sides if side.rc == 0), powered[0] if powered else A)
    loser = B if winner == A else A
    outcome = ends[winner]
    after = violations(cluster, loser, outcome["mark"] or 0) if outcome and outcome["rc"] == 0 else 0
    steps, left = generation(cluster.nodes[winner]) - before, tuple(keys(cluster.nodes[winner]))
    cluster.nodes[winner].run(f"kill {writers[winner].pid}")
    return Race(active, round(skew_s, 3), (sides[0], sides[1]), steps, left, powered, after)


def _all_ended(cluster: Cluster, jobs: dict[str, Job]) -> dict[str, dict[str, Any] | None]:
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(lambda node: ended(cluster, node, jobs[node]), jobs), strict=True))


def races(cluster: Cluster, count: int, chance: random.Random) -> list[Race]:
    install(cluster)
    played: list[Race] = []
    for number in range(count):
        for node in NODES:
            if played and cluster.is_powered(node):
                continue  # the winner is registered as before
            if not cluster.is_powered(node):
                revive(cluster, node)
            unfence(cluster, node)
        played.append(race(cluster, (A, B, None)[number % 3], chance.sample(NODES, 2), chance.uniform(0, 1)))
        _show_race(played[-1])
    return played


def _show_race(each: Race) -> None:
    first, second = each.sides
    winner = each.winner.node if each.winner else "?"
    loser = next(side for side in each.sides if side.node != winner)
    end = (
        "said that it lost" if loser.says_lost else "shot before it could say" if loser.rc is None else f"rc {loser.rc}"
    )
    starts = f"{first.node}, {second.node} {each.skew_s:.2f} s later"
    found = " ".join(f"{side.node} {side.identified_s:.2f}" for side in each.sides if side.identified_s is not None)
    print(
        f"| {each.active or '-'} | {starts} | {found} | {winner} | {end} | "
        f"{each.records_after} | {'; '.join(each.faults) or 'none'} |",
        flush=True,
    )


def peer_races(cluster: Cluster, count: int, chance: random.Random) -> None:
    """The same by fence_ipmilan, which knows no arbiter. Prints who had power afterwards."""
    install(cluster)
    for _ in range(count):
        for node in NODES:
            if not cluster.is_powered(node):
                revive(cluster, node)
        order, skew_s = chance.sample(NODES, 2), chance.uniform(0, 1)
        cluster.cut(A, Link.CLUSTER)
        try:
            leads = {node: cluster.nodes[node].clock_lead_s() for node in NODES}
            began = time.time() + 3
            jobs = {}
            for node, later_s in zip(order, (0.0, skew_s), strict=True):
                command = fence_ipmilan(B if node == A else A)
                stamped = _STAMPED.format(at=began + later_s + leads[node], agent=command)
                jobs[node] = cluster.nodes[node].spawn(f"bash -c {shlex.quote(stamped)}")
            ends = {node: _rc(cluster, node, job) for node, job in jobs.items()}
        finally:
            cluster.heal(A, Link.CLUSTER)
        powered = [node for node in NODES if cluster.is_powered(node)]
        told = ", ".join(f"{node}: {rc}" for node, rc in ends.items())
        print(
            f"| {order[0]}, {order[1]} {skew_s:.2f} s later | {told} | {', '.join(powered) or 'nobody'} |", flush=True
        )


def _rc(cluster: Cluster, node: str, job: Job) -> str:
    try:
        return f"exit {job.wait(120).rc}"
    except GuestError:
        cluster.wait_powered(node, on=False)
        return "shot"
