# SPDX-License-Identifier: Apache-2.0
"""Fences under load with random faults, each judged by the oracle: `python -m tests.lab.oracle_trials [--count 56]`.

Node B writes records by O_DIRECT as fast as the target takes them, and tries again whatever error it gets. Node A,
which reaches the LUNs over three paths under dm-multipath, fences it. In a simultaneous fence A writes, too, and B
fences it: the winner's victim is judged. oracle_faults.py says what disturbs them.

Whatever happens: once a fence was called a success, no record of the victim lands any more, also not after the paths,
the sessions and the array are back. A fence may fail only where the removal of the key was impossible until the
deadline. Then it is called again when all is repaired, and has to succeed.

It can be interrupted, and goes on where it was. What a trial draws depends on the seed and on its number. Moments are
fractions of what the last undisturbed fence took, since an emulated processor that is shared may be six times as slow.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from tests.trial_record import TrialRecord

from . import level2, oracle
from .agent import STATE, Caller, caller, write
from .guest import GuestError, Job
from .level2 import Level2Guest
from .oracle_faults import LUNS, PACE_S, PATHS, PATIENT_S, A, B, Fault, Plan, draw

SHAPE = level2.Shape(multipath=True)
_ORACLE = "python3 /run/lab/oracle.py"
_STARTED = "/run/lab/fence-started"
"""There as soon as the first agent starts: the moments of faults count from here."""
_REPAIR_S = 120
"""Until every session is back. iscsid tries again every few seconds."""
_MOST_BROKEN = 3
"""So many trials may be cut short one after the other by guest or harness."""


class Verdict(StrEnum):
    SUCCESS = "success"
    IMPOSSIBLE = "failed, proof impossible"
    FAULT = "fault"


class Trial(NamedTuple):
    """How one ended.

    told: what was drawn. rcs: by node that fenced, of its last run. again: exit status of the call after the repair,
    made where the first one failed as it may. mark, latest, violations: the oracle's on the winner's victim; 0 where no
    node won. writable: LUNs on which the victim could still write when all was repaired. fence_s: of the winner, else
    of the first fencer. broken: why the trial did not come to an end.
    """

    fault: str
    told: str = ""
    rcs: dict[str, int] = {}  # noqa: RUF012 - never changed
    again: int | None = None
    mark: int = 0
    latest: int = 0
    violations: int = 0
    writable: Sequence[int] = ()
    fence_s: float = 0.0
    may_succeed: bool = True
    may_fail: bool = False
    output: str = ""
    broken: str = ""

    @property
    def winners(self) -> list[str]:
        return [node for node, rc in self.rcs.items() if rc == 0]

    @property
    def faults(self) -> list[str]:
        """What is wrong; nothing, if all is well."""
        if self.broken:
            return [f"not played to its end: {self.broken}"]
        found = []
        if self.violations:
            found.append(f"{self.violations} records of the victim landed after the success")
        if self.writable:
            found.append(f"the victim writes to LUNs {self.writable} after the success")
        if (self.winners or self.again == 0) and not self.mark:
            found.append("the victim had not written: the trial proves nothing")
        if self.winners and not self.may_succeed:
            found.append(f"a success where no path was there: {self.output}")
        if len(self.winners) > 1:
            found.append(f"two successes: {self.output}")
        if not self.winners and not (self.may_fail and self.again == 0):
            found.append(f"no success: {self.rcs}, called again: {self.again}: {self.output}")
        return found

    @property
    def verdict(self) -> Verdict:
        if self.faults:
            return Verdict.FAULT
        return Verdict.SUCCESS if self.winners else Verdict.IMPOSSIBLE


def open_paths(guest: Level2Guest) -> None:
    """Gives node A its further paths, in its maps. A guest of SHAPE has two."""
    for path in range(2, PATHS):
        guest.login(A, path)
    disks = [Path(guest.sd(A, lun, path)).name for lun in range(guest.luns) for path in range(PATHS)]
    mapped = " && ".join(f"ls /sys/block/{disk}/holders/dm-* >/dev/null" for disk in disks)
    guest.run(f"for i in {{1..300}}; do {mapped} && exit; sleep 0.1; done 2>/dev/null; exit 1", check=True)
    guest.put("/run/lab/oracle.py", Path(oracle.__file__).read_bytes())


def trial(guest: Level2Guest, fault: Fault, chance: random.Random, pace_s: float = PACE_S) -> Trial:
    """One fence of B by A, or of each by the other. Leaves the sessions up and nothing running."""
    plan = draw(fault, chance, pace_s)
    callers = {A: Caller(guest, A, [guest.maps[lun] for lun in LUNS]), B: caller(guest, B, LUNS)}
    _prepare(guest)
    victims = {node: _other(node) for node in plan.fencers}
    writers = [
        guest.spawn(f"exec nice -n 10 {_ORACLE} write --again {callers[node].disks[0]} {node}")
        for node in victims.values()
    ]
    try:
        return _judged(guest, fault, plan, callers)
    finally:
        for writer in writers:
            if writer.poll() is None:
                guest.run(f"kill {writer.pid}")
                writer.wait(60)


def _judged(guest: Level2Guest, fault: Fault, plan: Plan, callers: dict[str, Caller]) -> Trial:
    victims = {node: _other(node) for node in plan.fencers}
    first = plan.fencers[0]
    started = f"until [ -e {_STARTED} ]; do sleep 0.02; done"
    try:
        if plan.before:
            guest.run(plan.before, check=True)
        disturbing = guest.spawn(f"{started}; {plan.meanwhile}") if plan.meanwhile else None
        jobs = {}
        for node in plan.fencers:
            when = f"touch {_STARTED}" if node == first else f"{started}; sleep {plan.lag_s:.3f}"
            agent = _agent(callers[node], victims[node], plan.options, plan.kill_after_s)
            jobs[node] = _spawn_fence(guest, node, victims[node], f"{when}; {agent}")
        ends = {node: _end(job) for node, job in jobs.items()}
        if disturbing is not None:
            disturbing.wait(60)
    finally:
        guest.run(f"date -s @{time.time():.3f} >/dev/null; {plan.after or ':'}")
    _wait_repaired(guest)
    outputs = [f"{node}: {end['output']}" for node, end in ends.items()]
    rcs = {node: int(end["rc"]) for node, end in ends.items()}
    judged = Trial(fault.value, plan.told, rcs, may_succeed=plan.may_succeed, may_fail=plan.may_fail)
    won = next((node for node, rc in rcs.items() if rc == 0), None)
    fence_s = ends[won or first].get("seconds", 0.0)
    if won is None and plan.may_fail:
        won = first
        agent = _agent(callers[won], victims[won], (f"--deadline={PATIENT_S}",), None)
        ends[won] = _end(_spawn_fence(guest, won, victims[won], agent))
        outputs.append(f"{won} again: {ends[won]['output']}")
        judged = judged._replace(again=int(ends[won]["rc"]))
        won = won if judged.again == 0 else None
    if won is not None:
        mark, victim = ends[won]["mark"] or 0, victims[won]
        time.sleep(1)  # for whatever the victim still has to write
        said = json.loads(guest.run(f"{_ORACLE} check {guest.backing(0)} {victim} {mark}", check=True).out)
        disks = callers[victim].disks
        judged = judged._replace(
            mark=mark,
            latest=said["latest"],
            violations=said["violations"],
            writable=[lun for lun in LUNS if write(guest, disks[lun]) == ""],
        )
    return judged._replace(fence_s=fence_s, output=" / ".join(outputs))


def _prepare(guest: Level2Guest) -> None:
    """Registers both on every path, A holds the reservation. No records of an earlier trial are there."""
    guest.forget_reservations()
    steps = [f"rm -f {_STARTED}", f"mkdir -p {STATE}/{A} {STATE}/{B}"]
    for lun in LUNS:
        steps += [f"sg_persist -n -o -I -S 0xa1 -Z {guest.sd(A, lun, path)}" for path in range(PATHS)]
        steps += [f"sg_persist -n -o -I -S 0xb1 -Z {guest.sd(B, lun)}"]
        steps += [f"sg_persist -n -o -R -T 5 -K 0xa1 {guest.sd(A, lun)}"]
    steps.append(f"fallocate --punch-hole --offset {level2.LUN_SIZE_MB - 48}MiB --length 48MiB {guest.backing(0)}")
    guest.run(" && ".join(steps), check=True)


def _agent(by: Caller, victim: str, options: Sequence[str], kill_after_s: float | None) -> str:
    agent = by.command("off", victim, *options)
    if kill_after_s is None:
        return agent
    return f"{agent.removeprefix('exec ')} & sleep {kill_after_s:.3f}; kill -9 $!; wait $!; {agent}"


def _spawn_fence(guest: Level2Guest, node: str, victim: str, agent: str) -> Job:
    """The mark is read on the storage side: a path of the caller may be lost, and the target away."""
    guest.put(f"/run/lab/fence-{node}", agent)
    return guest.spawn(f"exec {_ORACLE} fence --written {guest.backing(0)} {victim} -- sh /run/lab/fence-{node}")


def _end(job: Job) -> dict[str, Any]:
    done = job.wait(300)
    end: dict[str, Any] = json.loads(done.out) if done.rc == 0 else {"rc": 99, "mark": 0, "output": done.err}
    return end


def _wait_repaired(guest: Level2Guest) -> None:
    """Returns when every disk of the trial can be read, so that the victim could write if it were let."""
    disks = [guest.sd(A, lun, path) for lun in LUNS for path in range(PATHS)] + [guest.sd(B, lun) for lun in LUNS]
    read = "dd if=$disk of=/dev/null count=1 iflag=direct status=none 2>/dev/null"
    loop = f"for disk in {' '.join(disks)}; do until {read}; do sleep 0.2; done; done"
    done = guest.run(f"timeout {_REPAIR_S} bash -c '{loop}'", timeout_s=_REPAIR_S + 60)
    if done.rc:
        sessions = guest.run("iscsiadm -m session -P 1; lsscsi; dmesg | tail -n 30").out
        raise GuestError(f"a disk is not back after {_REPAIR_S} s\n{sessions}")


def _other(node: str) -> str:
    return B if node == A else A


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a fault, then what is wrong."""
    told = [
        "| fault | trials | succeeded | failed, proof impossible | faults | late records | fence, median and longest | "
        "trial, median |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    wrong = []
    for fault in Fault:
        played = [(row, decode(row)) for row in rows if row["fault"] == fault]
        if not played:
            continue
        verdicts = [each.verdict for _, each in played]
        fence_s = sorted(each.fence_s for _, each in played)
        trial_s = sorted(row["took_s"] for row, _ in played)
        cells = [
            fault,
            len(played),
            *(verdicts.count(verdict) for verdict in Verdict),
            sum(each.violations for _, each in played),
            f"{fence_s[len(fence_s) // 2]:.1f} s, {fence_s[-1]:.1f} s",
            f"{trial_s[len(trial_s) // 2]:.1f} s",
        ]
        told.append(f"| {' | '.join(map(str, cells))} |")
        wrong += [
            f"  trial {row['trial']}: {fault} ({each.told}): {said}" for row, each in played for said in each.faults
        ]
    return "\n".join([*told, "faults: " + ("none" if not wrong else "\n" + "\n".join(wrong))])


def decode(row: dict[str, Any]) -> Trial:
    return Trial(**{name: row[name] for name in Trial._fields})


def play(record: TrialRecord, seed: int, chosen: Sequence[Fault]) -> None:
    """Plays what is left. A guest in which a trial did not come to its end is given up for a fresh one.

    Raises GuestError where that happens to several, one after the other.
    """
    broken, pace_s = 0, PACE_S
    while record.left:
        with level2.restored(SHAPE) as guest:
            open_paths(guest)
            while record.left:
                number = len(record.rows)
                began = time.monotonic()
                fault = chosen[number % len(chosen)]
                try:
                    seen = trial(guest, fault, random.Random(f"{seed}/{number}"), pace_s)
                except (GuestError, ValueError, KeyError) as error:
                    said = f"{type(error).__name__}: {error}\nconsole: {guest.console()[-1500:]}"
                    seen = Trial(fault.value, broken=said)
                row = {"trial": number, **seen._asdict(), "verdict": seen.verdict.value}
                record.add({**row, "took_s": round(time.monotonic() - began, 1)}, " fences")
                if seen.faults:
                    print(
                        f"trial {number}: {fault} ({seen.told}): {'; '.join(seen.faults)}", file=sys.stderr, flush=True
                    )
                broken = broken + 1 if seen.broken else 0
                if broken == _MOST_BROKEN:
                    raise GuestError(f"{broken} trials in a row were not played to their end")
                if seen.broken:
                    break
                if fault is Fault.NONE:
                    pace_s = seen.fence_s


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.oracle_trials")
    parser.add_argument("--count", type=int, default=56)
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, default=Path(".trials/oracle-lab.jsonl"), help="what was played already")
    given = parser.parse_args()
    chosen = [fault for fault in Fault if given.only in fault]
    record = TrialRecord(given.record, {"seed": given.seed, "faults": chosen}, given.count)
    play(record, given.seed, chosen)
    print(table(record.rows))
    print(f"seed {given.seed}, {record.played}")
    return int(any(decode(row).faults for row in record.rows))


if __name__ == "__main__":
    sys.exit(main())
