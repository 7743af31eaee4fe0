# SPDX-License-Identifier: Apache-2.0
"""Fences under load with random faults, each judged by the oracle: `python -m tests.lab.oracle_trials [--count 50]`.

Node B writes records by O_DIRECT as fast as the target takes them, node A fences it. The fault of a trial is one of:
none; the agent is killed by SIGKILL at a random moment and run again; A writes, too, and B fences it at the same time
(the winner's victim is judged); the target drops every iSCSI session, and both nodes log in again by themselves.
Whatever happens: once a fence was called a success, no record of the victim lands any more.
"""

import argparse
import json
import random
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from . import level2, oracle
from .agent import STATE, Caller, caller
from .guest import Job
from .level2 import NODES, Level2Guest

A, B = NODES
LUNS = (0, 1)
_ORACLE = "python3 /run/lab/oracle.py"
_PORTAL_GROUP = "/sys/kernel/config/target/iscsi/iqn.2026-11.lab:shared/tpgt_1"
_PATIENT = "--deadline=100"


class Fault(StrEnum):
    """What is done to a fence."""

    NONE = "none"
    KILLED = "agent killed and run again"
    SIMULTANEOUS = "simultaneous fence"
    SESSIONS_DROPPED = "sessions dropped"


class Trial(NamedTuple):
    """How one ended. rcs: by node that fenced, of its last run. mark, latest, violations: the oracle's on the winner's
    victim; 0 where nobody won."""

    fault: Fault
    rcs: dict[str, int]
    mark: int
    latest: int
    violations: int
    output: str

    @property
    def winners(self) -> list[str]:
        return [node for node, rc in self.rcs.items() if rc == 0]

    @property
    def faults(self) -> list[str]:
        """What is wrong; nothing, if all is well."""
        found = []
        if self.violations:
            found.append(f"{self.violations} records of the victim landed after the success")
        if self.winners and not self.mark:
            found.append("the victim had not written: the trial proves nothing")
        if len(self.winners) != 1 and self.fault is not Fault.SESSIONS_DROPPED:
            found.append(f"not one success: {self.rcs}: {self.output}")
        return found


def _prepare(guest: Level2Guest) -> tuple[Caller, Caller]:
    guest.forget_reservations()
    a, b = caller(guest, A, LUNS), caller(guest, B, LUNS)
    steps = [f"mkdir -p {STATE}/{A} {STATE}/{B}"]
    for ours, theirs in zip(a.disks, b.disks, strict=True):
        steps += [f"sg_persist -n -o -I -S 0xa1 -Z {ours}", f"sg_persist -n -o -I -S 0xb1 -Z {theirs}"]
        steps += [f"sg_persist -n -o -R -T 5 -K 0xa1 {ours}"]
    # No records of an earlier trial: there is nothing to take for this one's, and nothing to search through.
    steps.append(f"fallocate --punch-hole --offset {level2.LUN_SIZE_MB - 48}MiB --length 48MiB {guest.backing(0)}")
    guest.run(" && ".join(steps), check=True)
    return a, b


def trial(guest: Level2Guest, fault: Fault, chance: random.Random) -> Trial:
    """One fence of B by A, or of each by the other. Leaves the sessions up and nothing running."""
    guest.put("/run/lab/oracle.py", Path(oracle.__file__).read_bytes())
    callers = dict(zip(NODES, _prepare(guest), strict=True))
    order = chance.sample(NODES, 2) if fault is Fault.SIMULTANEOUS else [A]
    victims = [_other(node) for node in order]
    writers = [guest.spawn(f"exec {_ORACLE} write {callers[node].disks[0]} {node}") for node in victims]
    time.sleep(0.5)
    moment_s = chance.uniform(0.1, 2.5)
    if fault is Fault.SESSIONS_DROPPED:
        drop = f"sleep {moment_s:.3f}; echo 0 >{_PORTAL_GROUP}/enable; sleep 0.5; echo 1 >{_PORTAL_GROUP}/enable"
        dropping = guest.spawn(drop)
    jobs = {}
    for node, victim, later_s in zip(order, victims, (0.0, moment_s / 5), strict=False):
        agent = callers[node].command("off", victim, _PATIENT).removeprefix("exec ")
        if fault is Fault.KILLED:
            agent = f"sh -c '{agent} & sleep {moment_s:.3f}; kill -9 $!; wait $!; {agent}'"
        fence = f"{_ORACLE} fence {callers[node].disks[0]} {victim} -- {agent}"
        jobs[node] = guest.spawn(f"sleep {later_s:.3f}; exec {fence}")
    ends = {node: _end(job) for node, job in jobs.items()}
    if fault is Fault.SESSIONS_DROPPED:
        dropping.wait(60)
    time.sleep(1)  # for whatever the victim still has to write
    winner = next((node for node, end in ends.items() if end["rc"] == 0), None)
    mark, judged = 0, {"latest": 0, "violations": 0}
    if winner is not None:
        mark = ends[winner]["mark"] or 0
        judged = json.loads(guest.run(f"{_ORACLE} check {guest.backing(0)} {_other(winner)} {mark}", check=True).out)
    for writer in writers:
        if writer.poll() is None:
            guest.run(f"kill {writer.pid}")
            writer.wait(60)
    said = " / ".join(f"{node}: {end['output']}" for node, end in ends.items())
    rcs = {node: int(end["rc"]) for node, end in ends.items()}
    return Trial(fault, rcs, mark, judged["latest"], judged["violations"], said)


def _end(job: Job) -> dict[str, Any]:
    done = job.wait(300)
    end: dict[str, Any] = json.loads(done.out) if done.rc == 0 else {"rc": 99, "mark": 0, "output": done.err}
    return end


def _other(node: str) -> str:
    return B if node == A else A


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.oracle_trials")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    trials: list[Trial] = []
    chosen = [fault for fault in Fault if given.only in fault]
    with level2.restored(level2.Shape()) as guest:
        for number in range(given.count):
            trials.append(trial(guest, chosen[number % len(chosen)], chance))
            last = trials[-1]
            told = "; ".join(last.faults) or f"{last.rcs}, {last.mark} records before, none after"
            print(f"{number + 1} of {given.count}: {last.fault}: {told}", file=sys.stderr, flush=True)
    for fault in chosen:
        these = [each for each in trials if each.fault is fault]
        wins = [sum(node in each.winners for each in these) for node in NODES]
        judged = sum(each.mark > 0 for each in these)
        late = sum(each.violations for each in these)
        print(
            f"{fault}: {len(these)} trials, successes of {A} {wins[0]}, of {B} {wins[1]}, judged {judged}, late {late}"
        )
    bad = [f"{each.fault}: {said}" for each in trials for said in each.faults]
    print("faults: " + ("none" if not bad else "\n  ".join(["", *bad])))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
