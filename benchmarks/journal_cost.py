# SPDX-License-Identifier: Apache-2.0
"""What the journal costs a call: whole processes with and without it, in turns, on one ipmi_sim.

python -m benchmarks.journal_cost [RUNS]
"""

import argparse
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.contest import our_agent
from fencer.journal.file import Journal
from tests.rig.bmc import Bmc

RUNS = 30


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.journal_cost", description="What the journal costs a call."
    )
    parser.add_argument("runs", type=int, nargs="?", default=RUNS)
    runs = parser.parse_args().runs
    with Bmc("127.0.6.1") as bmc, tempfile.TemporaryDirectory() as directory:
        kept, locked = f"{directory}/journal.db", f"{directory}/locked.db"
        once(bmc, "off", kept)  # makes it, and warms caches up
        holder = lock(locked)
        print("| action | no journal | journal | journal locked |\n| --- | ---: | ---: | ---: |")
        for action in ("off", "monitor", "status"):
            took: dict[str, list[float]] = {"none": [], kept: [], locked: []}
            for _ in range(runs):
                for path, times in took.items():
                    times.append(once(bmc, action, path))
            print(f"| {action} | " + " | ".join(cell(times) for times in took.values()) + " |")
        holder.close()
        print(f"\n{len(list(Journal(kept).events()))} events recorded")


def lock(path: str) -> sqlite3.Connection:
    """A journal that another process has locked."""
    journal = Journal(path)
    journal.open()
    journal.close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return holder


def once(bmc: Bmc, action: str, path: str) -> float:
    """Seconds from start to the end of its output and its exit."""
    bmc.power = "on"
    words = ["-a", bmc.address, "-u", str(bmc.port), "-l", "ADMIN", "-p", "ADMIN", "-o", action]
    began = time.perf_counter()
    subprocess.run([our_agent(), f"--journal={path}", *words], capture_output=True, check=True, cwd=Path("/"))
    return time.perf_counter() - began


def cell(times: list[float]) -> str:
    """Median and the ninth decile, in milliseconds."""
    ordered = sorted(times)
    return f"{statistics.median(ordered) * 1000:.0f} ({ordered[len(ordered) * 9 // 10] * 1000:.0f})"


if __name__ == "__main__":
    main()
