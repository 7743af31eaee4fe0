# SPDX-License-Identifier: Apache-2.0
"""Whole fences of a victim that is on, beside those of an earlier commit, in turns, with default ranks.

    python -m benchmarks.fence_before TREE [--runs 11] [--luns 0 1 8 64]

TREE is a checkout of the earlier commit with its own virtualenv (`make venv` in it). The BMC is ipmi_sim, the LUNs are
tgtd's; 0 LUNs: by the BMC alone. Both agents run with --power-wait=0. Prints Markdown, in milliseconds on the wall.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.contest import CLUSTER_CONF, WrongResult, our_agent
from benchmarks.measure import run
from tests.rig.bmc import Bmc
from tests.rig.target import Target

TEXTS = {"off": "Success: Powered OFF", "reboot": "Success: Rebooted"}


class _Nodes:
    """serv-0002 fences serv-0001, which is registered and on before each fence."""

    def __init__(self, directory: Path, bmc: Bmc, urls: list[str]) -> None:
        self._directory = directory
        self._bmc = bmc
        self._urls = urls
        self._conf = directory / "cluster.conf"
        self._conf.write_text(CLUSTER_CONF)

    def fence(self, agent: str, action: str) -> float:
        """Seconds on the wall. Raises WrongResult if it failed."""
        self._bmc.power = "on"
        if self._urls:
            self._register("serv-0001")
        command = [agent, f"--journal={self._directory}/journal.db", "-a", self._bmc.address, "-u", str(self._bmc.port)]
        command += ["-l", "ADMIN", "-p", "ADMIN", "--power-wait=0", "-o", action, *self._luns("serv-0002", "serv-0001")]
        ended = run(command)
        if ended.status or TEXTS[action] not in ended.stdout:
            raise WrongResult(f"{agent} -o {action}: exit status {ended.status}: {ended.stderr[-300:]}")
        return ended.wall_s

    def register_caller(self) -> None:
        if self._urls:
            self._register("serv-0002")

    def _register(self, node: str) -> None:
        shutil.rmtree(self._directory / node, ignore_errors=True)
        ended = run([our_agent(), "--journal=none", "-q", "-o", "on", *self._luns(node, node)])
        if ended.status:
            raise WrongResult(f"on for {node}: {ended.stderr[-300:]}")

    def _luns(self, local: str, target: str) -> list[str]:
        if not self._urls:
            return []
        words = ["-d", ",".join(self._urls), "-n", target, "--cluster-conf", str(self._conf)]
        return [*words, "--local-node", local, "--state-dir", str(self._directory / local)]


def _pairs(nodes: _Nodes, before: str, action: str, runs: int) -> list[tuple[float, float]]:
    """Before and now, in seconds. The order changes from pair to pair; the first pair warms up and is left out."""
    nodes.register_caller()
    found = []
    for number in range(runs + 1):
        took = {
            agent: nodes.fence(agent, action) for agent in ((before, our_agent()), (our_agent(), before))[number % 2]
        }
        found.append((took[before], took[our_agent()]))
    return found[1:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fence_before")
    parser.add_argument("tree", type=Path)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--luns", type=int, nargs="+", default=[0, 1, 8, 64])
    given = parser.parse_args()
    before = str(given.tree.resolve() / ".venv/bin/fence_halvm")
    print("| action, LUNs | before | now | median difference, pair by pair |\n| --- | ---: | ---: | ---: |")
    with Bmc() as bmc:
        for luns in given.luns:
            with (
                tempfile.TemporaryDirectory() as directory,
                Target(luns=max(luns, 1), lun_size_bytes=1 << 20) as target,
            ):
                nodes = _Nodes(Path(directory), bmc, target.urls if luns else [])
                for action in TEXTS:
                    pairs = _pairs(nodes, before, action, given.runs)
                    then, now, more = (
                        statistics.median(values) * 1000
                        for values in ((a for a, _ in pairs), (b for _, b in pairs), (b - a for a, b in pairs))
                    )
                    print(f"| {action}, {luns} | {then:.0f} ms | {now:.0f} ms | {more:+.0f} ms |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
