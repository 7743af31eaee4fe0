# SPDX-License-Identifier: Apache-2.0
"""`off` by storage alone, beside fence_scsi, as whole processes on the same LUNs of a real LIO target.

    python -m benchmarks.storage_peer [--runs 5] [--luns 1 8 64] [--counted] [--markdown]

In one throwaway guest of the VM lab (level 2, `make lab`) the two programs take turns. Before each turn both nodes are
registered on every LUN, the caller holds the reservation, and nobody of the turn before is left at work: fence_halvm's
journal is written by a child that outlives it for a moment. One turn measures the time until the program has ended with
success. In another the victim meanwhile writes by O_DIRECT to the last LUN, every 20 ms (more would take the one
emulated CPU from the programs), and what is measured is the time until its first refused write. `active` is fence_halvm
again, where the volume group is active on the caller, which therefore waits for nobody's rank. The bare sequence is the
product's own commands on open descriptors, one LUN after the other, in a process that is running already: PREEMPT AND
ABORT, READ KEYS, READ RESERVATION. `python` is the interpreter of either program starting and ending.

--counted: in a guest whose clock counts instructions, a nanosecond each. What it takes the emulator to translate them
is not in it, nor how busy its host is: the figures hardly vary, and are nearer to a real processor's proportions.
"""

import argparse
import json
import mmap
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

BARS = {1: 5.0, 8: 15.0, 64: 50.0}
"""At least so many times as fast as fence_scsi, by the number of LUNs."""

WRITE_EVERY_S = 0.02

_IN_GUEST = Path("/run/lab/storage_peer.py")


# --- inside the guest ---------------------------------------------------------------------------------------------


class _Victim(threading.Thread):
    """Writes one block again and again. refused_at: monotonic seconds of the first write that failed."""

    def __init__(self, disk: str) -> None:
        super().__init__(daemon=True)
        self._disk = os.open(disk, os.O_WRONLY | os.O_DIRECT)
        self.refused_at: float | None = None

    def run(self) -> None:
        block = mmap.mmap(-1, 4096)
        try:
            while True:
                os.pwritev(self._disk, [block], 1 << 20)
                time.sleep(WRITE_EVERY_S)
        except OSError:
            self.refused_at = time.monotonic()
        finally:
            os.close(self._disk)


def _wait_until_alone() -> None:
    """Until neither program nor a child of theirs is left."""
    until = time.monotonic() + 30
    none_found = 1  # pgrep(1); more is an error
    while (status := subprocess.run(["pgrep", "-x", "fence_.*"], stdout=subprocess.DEVNULL).returncode) != none_found:
        if status > none_found:
            raise RuntimeError(f"pgrep: exit {status}")
        if time.monotonic() > until:
            raise RuntimeError("a program of the turn before is still at work")
        time.sleep(0.05)


def guest_main() -> int:
    import race  # type: ignore[import-not-found]

    from fencer.model import Deadline, ReservationKey, ReservationType

    runs = int(sys.argv[1])
    disks = {node: names.split(",") for node, _, names in (word.partition("=") for word in sys.argv[2:])}
    caller, victim = disks
    own, other = (ReservationKey(race.KEYS[node]) for node in (caller, victim))
    kind = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
    nexuses = race.open_nexuses(disks)

    def isolated() -> bool:
        deadline = Deadline.after(100)
        return all(
            nexus.read_keys(deadline).keys == (own,) and nexus.read_reservation(deadline).type is kind
            for nexus in nexuses[caller]
        )

    def bare() -> None:
        deadline = Deadline.after(100)
        for nexus in nexuses[caller]:
            nexus.preempt_and_abort(own, other, kind, deadline)
            nexus.read_keys(deadline)
            nexus.read_reservation(deadline)

    def program(command: list[str]) -> None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command}: exit {done.returncode}: {done.stdout}{done.stderr}")

    race.write_peer_files(caller, disks[caller], "/run/cluster")
    ours = race.agent_command(caller, victim, disks[caller])
    theirs = race.peer_command(victim, disks[caller])
    contestants: dict[str, tuple[str | None, Callable[[], None]]] = {
        "fence_halvm": (None, lambda: program(ours)),
        "active": (disks[caller][0], lambda: program(ours)),
        "fence_scsi": (None, lambda: program(theirs)),
        "bare": (None, bare),
    }
    for _ in range(runs):
        for name, (active, work) in contestants.items():
            race.prepare(nexuses)
            with race.active_on(active):
                _wait_until_alone()
                began = time.monotonic()
                work()
                took_s = time.monotonic() - began
                race.prepare(nexuses)
                _wait_until_alone()
                writing = _Victim(disks[victim][-1])
                writing.start()
                began = time.monotonic()
                work()
                writing.join(30)
            if not isolated() or writing.refused_at is None:
                raise RuntimeError(f"{name}: said success, but the victim is not isolated")
            print(json.dumps({"who": name, "seconds": took_s, "safe": writing.refused_at - began}), flush=True)
    for _ in range(runs):
        began = time.monotonic()
        program([sys.executable, "-c", "pass"])
        print(json.dumps({"who": "python", "seconds": time.monotonic() - began, "safe": 0}), flush=True)
    return 0


# --- on the host --------------------------------------------------------------------------------------------------


def measured(luns: tuple[int, ...], runs: int, counted: bool) -> dict[int, dict[str, dict[str, list[float]]]]:
    """By LUNs, then who, then what: seconds, in order."""
    from tests.lab import level2, product, race

    shape = level2.Shape(64 if max(luns) > 4 else 4, counted=counted)
    level2.make_snapshot(shape)
    found: dict[int, dict[str, dict[str, list[float]]]] = {}
    with level2.restored(shape) as guest:
        guest.put("/run/lab/race.py", Path(race.__file__).read_bytes())
        guest.put(str(_IN_GUEST), Path(__file__).read_bytes())
        guest.run("fence_halvm --version; fence_scsi -o metadata", check=True)  # read from the disk, once
        for count in luns:
            words = [f"{node}={','.join(guest.sd(node, lun) for lun in range(count))}" for node in level2.NODES]
            command = f"{product.PYTHON} {_IN_GUEST} {runs} {' '.join(words)}"
            print(f"{count} LUNs …", file=sys.stderr, flush=True)
            done = guest.run(command, timeout_s=600 * (runs + 1), check=True)
            rows = [json.loads(line) for line in done.out.splitlines()]
            found[count] = {
                who: {what: [row[what] for row in rows if row["who"] == who] for what in ("seconds", "safe")}
                for who in ("fence_halvm", "active", "fence_scsi", "bare", "python")
            }
    return found


_HEADINGS = (
    "LUNs", "fence_halvm", "active", "fence_scsi", "times as fast", "times, active", "bar", "bare", "python",
    "safe: fence_halvm", "safe: active", "safe: fence_scsi",
)  # fmt: skip


def _table(found: dict[int, dict[str, dict[str, list[float]]]]) -> list[list[str]]:
    rows = [[*_HEADINGS]]
    for count, whose in found.items():
        seconds, safe = ({who: each[what] for who, each in whose.items()} for what in ("seconds", "safe"))
        programs = ("fence_halvm", "active", "fence_scsi")
        times = (
            statistics.median(theirs / ours for theirs, ours in zip(seconds["fence_scsi"], seconds[who], strict=True))
            for who in programs[:2]
        )
        rows.append(
            [
                str(count),
                *(f"{statistics.median(seconds[who]):.2f} s" for who in programs),
                *(f"{each:.1f}" for each in times),
                f"{BARS[count]:g}" if count in BARS else "",
                f"{statistics.median(seconds['bare']) * 1000:.0f} ms",
                f"{statistics.median(seconds['python']):.2f} s",
                *(f"{statistics.median(safe[who]):.2f} s" for who in programs),
            ]
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage_peer")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--luns", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--counted", action="store_true", help="by a clock that counts instructions")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    rows = _table(measured(tuple(given.luns), given.runs, given.counted))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print(f"| {' | '.join(cells)} |" if given.markdown else "  ".join(cells))
        if given.markdown and number == 0:
            print("|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    return 0


if __name__ == "__main__":
    sys.exit(guest_main() if _IN_GUEST.exists() else main())
