# SPDX-License-Identifier: Apache-2.0
"""What the sidecar uses: processor time and memory with 1, 8 and 64 LUNs, and how soon it feeds.

    python -m benchmarks.sidecar_cost [--before COMMIT] [--luns 1 8 64] [--paths 2] [--seconds 40] [--rounds 1]
        [--slower 1]

halvm-watchdogd's four processes at their default intervals, on plain files: a library that is preloaded has them answer
as disks do, after 0.2 ms (sidecar_disks.c; needs gcc). So libsgutils2, threads and system calls are what they are on a
node, and the kernel's SCSI layer and the target are left out. With --before, the tree of that commit takes turns with
this one. Run it as root, as the daemon runs, with nothing else on the machine.

With --slower N its processes together have the Nth part of one processor, as in an emulated guest (needs cgroup v1's
cpu controller).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.lab.process_cost import family, pss_mb

HERE = Path(__file__).parent
FEEDS_WITHIN_S = 120.0
SETTLES_S = 6.0
QUOTA_US = 1000


class NeverFedError(Exception):
    """It did not begin to feed in time."""


class Used(NamedTuple):
    """cpu: of one processor, in percent. each: the same for each process, the feeder first. pss_mb: of all of them.
    own_mb: of that, what is no page of a file. fed_s: from the start of the process to its first keepalive."""

    cpu: float
    each: tuple[float, ...]
    pss_mb: float
    own_mb: float
    fed_s: float


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sidecar_cost", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--before", default="", help="a commit to compare with")
    parser.add_argument("--luns", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--paths", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--slower", type=float, default=1.0, help="how many times as slow a processor it has")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sidecar-cost-", dir="/dev/shm") as directory:
        preload = f"{directory}/disks.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", preload, HERE / "sidecar_disks.c", "-ldl"], check=True)
        trees = {"now": HERE.parent}
        if given.before:
            trees = {given.before: _unpacked(given.before, Path(directory)), **trees}
        print("| LUNs | tree | CPU | feeder, supervisor, publisher, observer | PSS | of it no file | feeds after |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for number in range(given.rounds):
            for luns in given.luns:
                for name, tree in trees.items():
                    place = Path(directory) / f"{number}-{luns}-{name}"
                    try:
                        used = measure(tree, place, preload, luns, given.paths, given.seconds, given.slower)
                    except NeverFedError as error:
                        print(f"| {luns} x {given.paths} | {name} | | | | | {error} |", flush=True)
                        continue
                    each = ", ".join(f"{one:.2f}" for one in used.each)
                    print(
                        f"| {luns} x {given.paths} | {name} | {used.cpu:.2f} % | {each} | {used.pss_mb:.1f} MB "
                        f"| {used.own_mb:.1f} MB | {used.fed_s:.2f} s |",
                        flush=True,
                    )
    return 0


def _unpacked(commit: str, directory: Path) -> Path:
    tree = directory / "before"
    tree.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=HERE.parent, check=True, capture_output=True)
    subprocess.run(["tar", "x"], cwd=tree, check=True, input=archive.stdout)
    return tree


def measure(tree: Path, place: Path, preload: str, luns: int, paths: int, seconds: float, slower: float = 1.0) -> Used:
    """One run of one tree."""
    names = _disks(place, luns, paths)
    (place / "luns").write_text("".join(" ".join(each) + "\n" for each in names))
    (place / "watchdogd.toml").write_text(
        f'devices = {json.dumps([f"/dev/{each[0]}" for each in names])}\nwatchdog = "none"\nself_fence = "none"\n'
        f'local_node = "serv-0001"\nlocal_key = "0xabc1"\nstate_dir = "{place}"\nrecord_dir = "{place}"\n'
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ |= {"PYTHONPATH": str(tree), "LD_PRELOAD": preload}
    with ExitStack() as left, (place / "log").open("w") as log:
        join = left.enter_context(_slow_processor(slower)) if slower > 1.0 else ""
        began = time.monotonic()
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'{join}exec "$@"', "sh", sys.executable, HERE / "sidecar_on_files.py", place],
            env=environ, stdout=log, stderr=log,
        )  # fmt: skip
        return _measured(process, began, place, seconds)


@contextmanager
def _slow_processor(slower: float) -> Iterator[str]:
    """A group of processes that has the given part of one processor. Yields the shell's words for joining it."""
    group = Path(f"/sys/fs/cgroup/cpu/sidecar-cost-{os.getpid()}")
    group.mkdir()
    try:
        (group / "cpu.cfs_period_us").write_text(str(round(QUOTA_US * slower)))
        (group / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
        yield f"echo $$ >{group}/cgroup.procs; "
    finally:
        until = time.monotonic() + 10
        while (group / "cgroup.procs").read_text() and time.monotonic() < until:
            time.sleep(0.1)
        group.rmdir()


def _measured(process: "subprocess.Popen[bytes]", began: float, place: Path, seconds: float) -> Used:
    try:
        fed_s = _fed_s(place) - began
        time.sleep(SETTLES_S)
        pids = sorted(family({process.pid}))
        before, began = [_cpu_s(pid) for pid in pids], time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - began
        each = tuple(100 * (_cpu_s(pid) - was) / took_s for pid, was in zip(pids, before, strict=True))
        return Used(sum(each), each, pss_mb(set(pids)), pss_mb(set(pids), "Pss_Anon"), fed_s)
    except NeverFedError:
        raise
    except Exception:
        print((place / "log").read_text()[-2000:], file=sys.stderr)
        raise
    finally:
        process.terminate()
        process.wait(60)


def _disks(place: Path, luns: int, paths: int) -> list[list[str]]:
    """Files, and a sysfs for them."""
    names = [
        [f"sd{chr(97 + lun // 26)}{chr(97 + lun % 26)}{chr(97 + path)}" for path in range(paths)] for lun in range(luns)
    ]
    (place / "disks").mkdir(parents=True)
    for lun, each in enumerate(names, 1):
        for path, name in enumerate(each):
            (place / "disks" / name).write_bytes(bytes(4096))
            device = place / "devices" / f"{2 + path}:0:0:{lun}"
            device.mkdir(parents=True)
            (device / "wwid").write_text(f"naa.{lun:016x}\n")
            (place / "sys" / name).mkdir(parents=True)
            (place / "sys" / name / "device").symlink_to(device)
    return names


def _fed_s(place: Path) -> float:
    """When it began to feed (CLOCK_MONOTONIC)."""
    until = time.monotonic() + FEEDS_WITHIN_S
    while time.monotonic() < until:
        try:
            state = json.loads((place / "watchdogd.json").read_text())
        except (OSError, ValueError):
            state = {}
        if state.get("state") == "keepalive":
            return float(state["written_monotonic_s"])
        time.sleep(0.05)
    raise NeverFedError(f"not within {FEEDS_WITHIN_S:g} s: {'; '.join(state.get('reasons', ()))[:60]}...")


def _cpu_s(pid: int) -> float:
    """Of all its threads, those that have ended included: its clock (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


if __name__ == "__main__":
    sys.exit(main())
