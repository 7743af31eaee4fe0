"""Fences under load with random faults, each judged by the oracle: `python -m tests.lab.oracle_trials [--count 50]`.

Node B writes records by O_DIRECT as fast as the target takes them, node A fences it. The fault of a trial is one of:
none; the agent is killed by SIGKILL at a random moment and run again; B fences A at the same time; the target drops
every iSCSI session, and both nodes log in again by themselves. Whatever happens: once a fence was called a success, no
record of the victim lands any more.
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
    """How one ended. rc: of A's fence (the last run); mark, latest, violations: the oracle's, where rc is 0."""

    fault: Fault
    rc: int
    other_rc: int | None
    mark: int | None
    latest: int
    violations: int
    output: str

    @property
    def faults(self) -> list[str]:
        """What is wrong; nothing, if all is well."""
        found = []
        if self.violations:
            found.append(f"{self.violations} records of the victim landed after the success")
        if self.rc == 0 and not self.mark:
            found.append("the victim had not written: the trial proves nothing")
        if self.other_rc is None and self.rc != 0 and self.fault is not Fault.SESSIONS_DROPPED:
            found.append(f"the fence failed: {self.output}")
        if self.other_rc is not None and (self.rc == 0) + (self.other_rc == 0) != 1:
            found.append(f"not one winner: {self.rc}, {self.other_rc}: {self.output}")
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
    """One fence of B by A. Leaves the sessions up and nothing running."""
    guest.put("/run/lab/oracle.py", Path(oracle.__file__).read_bytes())
    a, b = _prepare(guest)
    writer = guest.spawn(f"exec {_ORACLE} write {b.disks[0]} {B}")
    time.sleep(0.5)
    agent = a.command("off", B, _PATIENT).removeprefix("exec ")
    moment_s = chance.uniform(0.1, 2.5)
    if fault is Fault.KILLED:
        agent = f"sh -c '{agent} & sleep {moment_s:.3f}; kill -9 $!; wait $!; {agent}'"
    if fault is Fault.SESSIONS_DROPPED:
        drop = f"sleep {moment_s:.3f}; echo 0 >{_PORTAL_GROUP}/enable; sleep 0.5; echo 1 >{_PORTAL_GROUP}/enable"
        dropping = guest.spawn(drop)
    fencing = guest.spawn(f"exec {_ORACLE} fence {a.disks[0]} {B} -- {agent}")
    other_rc = None
    if fault is Fault.SIMULTANEOUS:
        other_rc = guest.run(f"sleep {moment_s / 5:.3f}; {b.command('off', A, _PATIENT)}", timeout_s=200).rc
    done = fencing.wait(300)
    if fault is Fault.SESSIONS_DROPPED:
        dropping.wait(60)
    fenced: dict[str, Any] = json.loads(done.out) if done.rc == 0 else {"rc": done.rc, "output": done.err}
    time.sleep(1)  # for whatever the victim still has to write
    mark = fenced.get("mark") or 0
    judged = json.loads(guest.run(f"{_ORACLE} check {guest.backing(0)} {B} {mark}", check=True).out)
    if writer.poll() is None:
        guest.run(f"kill {writer.pid}")
        writer.wait(60)
    counts = judged["violations"] if fenced["rc"] == 0 else 0
    return Trial(fault, fenced["rc"], other_rc, mark, judged["latest"], counts, fenced["output"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.oracle_trials")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    trials: list[Trial] = []
    with level2.restored(level2.Shape()) as guest:
        for number in range(given.count):
            trials.append(trial(guest, list(Fault)[number % len(Fault)], chance))
            last = trials[-1]
            told = "; ".join(last.faults) or f"exit {last.rc}, {last.mark} records before, none after"
            print(f"{number + 1} of {given.count}: {last.fault}: {told}", file=sys.stderr, flush=True)
    for fault in Fault:
        these = [each for each in trials if each.fault is fault]
        wins = sum(each.rc == 0 for each in these)
        print(f"{fault}: {len(these)} fences, {wins} successes of A, violations {sum(e.violations for e in these)}")
    bad = [f"{each.fault}: {said}" for each in trials for said in each.faults]
    print("faults: " + ("none" if not bad else "\n  ".join(["", *bad])))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
