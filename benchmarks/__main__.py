# SPDX-License-Identifier: Apache-2.0
"""fence_halvm beside fence_ipmilan: the same actions on the same simulated BMC, in turns.

    make bench    or    python -m benchmarks [--quick] [--markdown] [--runs N] [--slow-runs N]

Exit status 0 when every bar is met. Needs root (tgtd does), fence-agents, ipmitool, openipmi, tgt and strace.
"""

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import PEER, PLAIN, ROWS, Compared, Contest, storage_off
from benchmarks.measure import become_subreaper
from benchmarks.tables import as_markdown, as_text, tables
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import UdpProxy

LUNS = (1, 8, 64)
PACKETS_MOST = 12


def main() -> int:
    wanted = _arguments()
    if not Path(PEER).exists():
        print("fence_ipmilan is missing: apt-get install fence-agents", file=sys.stderr)
        return 1
    become_subreaper()
    with Bmc() as bmc, UdpProxy((bmc.address, bmc.port)) as proxy:
        contest = Contest(bmc, proxy)
        compared = []
        for row in ROWS:
            if wanted.quick and row.slow and row.action != "reboot":
                continue
            compared.append(contest.compare(row, wanted.slow_runs if row.slow else wanted.runs))
            _told(row.title)
        if wanted.plain_runs and not wanted.quick:
            compared.append(contest.compare(PLAIN, wanted.plain_runs))
            _told(PLAIN.title)
    storage = [] if os.geteuid() or wanted.quick else [storage_off(luns, wanted.slow_runs, _told) for luns in LUNS]
    show = as_markdown if wanted.markdown else as_text
    heading = _heading()
    print("\n".join(f"- {line}" if wanted.markdown else line for line in heading) + "\n")
    for table in tables(compared, storage):
        print(show(table))
    return _bars(compared, wanted.markdown)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="pairs of the quick rows")
    parser.add_argument("--slow-runs", type=int, default=5, help="pairs where the peer waits by default; storage runs")
    parser.add_argument(
        "--plain-runs", type=int, default=1, help="reboots by the peer without -C 3, over a minute each"
    )
    parser.add_argument("--quick", action="store_true", help="only what the bars need")
    parser.add_argument("--markdown", action="store_true", help="tables as docs/benchmarks.md holds them")
    return parser.parse_args()


def _told(what: str) -> None:
    print(f"measured: {what}", file=sys.stderr, flush=True)


def _heading() -> list[str]:
    """When and on what, without a name or path of this machine."""
    options = "".join(f" {word}" for word in sys.argv[1:])
    load = os.getloadavg()[1]
    peer = subprocess.run(["/usr/bin/python3", "--version"], capture_output=True, text=True, check=False).stdout.split()
    return [
        f"Command: `python -m benchmarks{options}`, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        f"Machine: {os.cpu_count()} cores, {_cpu()}, Linux {platform.release()}, load {load:.1f} over 5 minutes",
        f"fence_halvm on Python {platform.python_version()}; fence_ipmilan {_peer_version()} on Python {peer[-1]} "
        "with ipmitool; both on one ipmi_sim, whose chassis answers at once",
        "fence_ipmilan with -P, and -C 3 unless said otherwise; else the defaults of both",
        "Both run from bytecode, as installed; times are of whole processes, from start to exit",
    ]


def _cpu() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return " ".join(found[1].split()) if found else platform.machine()


def _peer_version() -> str:
    said = subprocess.run([PEER, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return said[0] if said else "of unknown version"


def _bars(compared: list[Compared], markdown: bool) -> int:
    by_title = {each.row.title: each for each in compared}
    quick, slow = by_title["reboot, peer --power-wait=0"], by_title["reboot"]
    assert quick.packets is not None
    ours = quick.packets[0]
    bars = [
        ("reboot, against defaults: at least 20 times as fast", slow.pairs.times.median, slow.pairs.times.median >= 20),
        ("reboot, against --power-wait=0: at least 2 times", quick.pairs.times.median, quick.pairs.times.median >= 2),
        ("metadata: not slower", by_title["metadata"].pairs.times.median, by_title["metadata"].pairs.times.median >= 1),
        (
            f"packets each way per reboot: at most {PACKETS_MOST}",
            max(ours.to_bmc, ours.to_client),
            max(ours.to_bmc, ours.to_client) <= PACKETS_MOST,
        ),
    ]
    print("**Bars**\n" if markdown else "Bars\n")
    for text, value, met in bars:
        print(f"{'-' if markdown else ' '} {text}: {value:.4g}, {'met' if met else 'MISSED'}")
    return 0 if all(met for _, _, met in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
