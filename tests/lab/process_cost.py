#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""process_cost SECONDS PID…: what these processes and all that they start use meanwhile, as a line of JSON.

Runs in a guest, on the standard library. cpu_s: user and system time, of children that have ended, too. each: the same
apart, by process in the order of their ids. pss_mb: their memory, what several share divided among them, at the end.
"""

import json
import os
import sys
import time
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def family(roots: set[int]) -> set[int]:
    """They and their descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found = set(roots) & parents.keys()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(pids: set[int]) -> dict[int, tuple[float, float]]:
    """User and system time by process."""
    used = {}
    for pid in sorted(pids):
        try:
            user, system, *ended = map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15])
        except OSError:
            continue
        used[pid] = (user + ended[0]) * TICK_S, (system + ended[1]) * TICK_S
    return used


def pss_mb(pids: set[int], what: str = "Pss") -> float:
    """what: a name in smaps_rollup. Pss_Anon leaves out the pages of files, which other programs may share."""
    kilobytes = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kilobytes += next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))
    return kilobytes / 1024


def main() -> None:
    seconds, roots = float(sys.argv[1]), {int(word) for word in sys.argv[2:]}
    before_s, began_s = cpu_s(family(roots)), time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began_s
    pids = family(roots)
    each = []
    for pid, used in cpu_s(pids).items():
        was = before_s.get(pid, (0.0, 0.0))
        each.append([round(now_s - then_s, 2) for now_s, then_s in zip(used, was, strict=True)])
    used_s = sum(map(sum, each))
    told = {"seconds": took_s, "cpu_s": used_s, "each": each, "pss_mb": pss_mb(pids), "processes": len(pids)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
