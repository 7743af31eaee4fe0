# SPDX-License-Identifier: Apache-2.0
"""What a monitor costs, as Pacemaker calls it: whole processes, in turns, beside the peers' or an earlier commit's.

    python -m benchmarks.monitor [--runs 21] [--before TREE]     (as root; needs what make bench needs)

The agent is laid out as a package does it, with its bytecode. The BMC is ipmi_sim, the LUN is tgtd's; this node and the
other one are registered on it. The peers are monitors of fence_ipmilan and of fence_scsi one after the other: a cluster
that uses both has two devices. fence_scsi's monitor starts sg_persist and sg_turs for their versions, and reads two
files; it asks no LUN.

TREE: a checkout of an earlier commit; then its agent is measured instead of the peers'.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.contest import PEER, WrongResult
from benchmarks.measure import Ended, become_subreaper, run
from benchmarks.paired import MS, Pairs, in_turns
from tests.rig.bmc import Bmc
from tests.rig.target import Target

PROJECT = Path(__file__).resolve().parents[1]
PRIVATE = "/usr/share/fence-halvm"
PYTHON = "/usr/bin/python3"
SCSI_PEER = "/usr/sbin/fence_scsi"
RUN = Path("/run")
COROSYNC = Path("/etc/corosync")
COROSYNC_CONF = """\
totem {
  version: 2
  cluster_name: bench
}
nodelist {
  node {
    ring0_addr: 192.0.2.1
    name: serv-0001
    nodeid: 1
  }
  node {
    ring0_addr: 192.0.2.2
    name: serv-0002
    nodeid: 2
  }
}
"""
_APART = "--in-a-mount-namespace"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor")
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--before", type=Path)
    parser.add_argument(_APART, dest="apart", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.apart:  # what is made below /run and /etc is seen by nothing else
        words = ["unshare", "--mount", sys.executable, "-m", "benchmarks.monitor", *sys.argv[1:], _APART]
        os.execvp(words[0], words)
    _make_ready()
    become_subreaper()
    with tempfile.TemporaryDirectory() as directory, Bmc() as bmc, Target(lun_size_bytes=1 << 20) as target:
        calls = _Calls(Path(directory), bmc, target)
        ours = laid_out(PROJECT, Path(directory) / "now")
        calls.prepare(ours)
        other = laid_out(given.before, Path(directory) / "then") if given.before else None
        print(f"| {given.runs} pairs | wall, ms | | times as fast | processor, ms | | times as little |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for title, action, storage, power in ROWS:
            if other is None and action != "monitor":
                continue

            def once(agent: str, action: str = action, storage: bool = storage, power: bool = power) -> Ended:
                return calls.agent(agent, action, storage=storage, power=power)

            def theirs(storage: bool = storage, power: bool = power) -> Ended:
                return once(other) if other is not None else calls.peers(storage=storage, power=power)

            def mine(once: Callable[[str], Ended] = once) -> Ended:
                return once(ours)

            mine(), theirs()
            _print(title, in_turns(mine, theirs, given.runs))
    return 0


ROWS = (
    ("monitor, BMC", "monitor", False, True),
    ("monitor, BMC and LUN", "monitor", True, True),
    ("monitor, LUN", "monitor", True, False),
    ("reboot, BMC", "reboot", False, True),
    ("off, BMC", "off", False, True),
    ("on, BMC and LUN", "on", True, True),
    ("status, BMC", "status", False, True),
    ("metadata", "metadata", False, False),
)
"""Title, action, by storage, by power. Actions other than monitor are compared with an earlier commit alone."""


class _Calls:
    """One call of each program. Each raises WrongResult where it does not succeed."""

    def __init__(self, directory: Path, bmc: Bmc, target: Target) -> None:
        self._directory = directory
        self._bmc = bmc
        self._luns = f"devices={target.urls[0]}\n"
        self._login = f"ip={bmc.address}\nipport={bmc.port}\nlogin=ADMIN\npasswd=ADMIN\n"

    def prepare(self, agent: str) -> None:
        for node in ("serv-0001", "serv-0002"):
            text = f"action=on\nnodename={node}\nlocal_node={node}\nstate_dir={self._directory}/{node}\njournal=none\n"
            self._succeeded(agent, run([agent], stdin=text + self._luns))

    def text(self, action: str, *, storage: bool, power: bool) -> str:
        """What is written to standard input. ``on`` is of this node itself, as unfencing is."""
        node = "serv-0002" if action == "on" else "serv-0001"
        own = f"local_node=serv-0002\nstate_dir={self._directory}/serv-0002\n"
        journal = f"journal={self._directory}/journal.db\n"
        means = self._luns * storage + self._login * power
        return f"action={action}\nnodename={node}\n" + own + journal + means

    def agent(self, agent: str, action: str, *, storage: bool, power: bool) -> Ended:
        self._bmc.power = "on"
        text = "action=metadata\n" if action == "metadata" else self.text(action, storage=storage, power=power)
        return self._succeeded(agent, run([agent], stdin=text))

    def peers(self, *, storage: bool, power: bool) -> Ended:
        walls, cpus = 0.0, 0.0
        words = ["-a", self._bmc.address, "-u", str(self._bmc.port), "-P", "-C", "3", "-l", "ADMIN", "-p", "ADMIN"]
        scsi = [SCSI_PEER, "-o", "monitor", "-d", "/dev/sda", "-n", "serv-0001"]
        for command in ([PEER, *words, "-o", "monitor"],) * power + (scsi,) * storage:
            ended = self._succeeded(command[0], run(command))
            walls, cpus = walls + ended.wall_s, cpus + ended.cpu_s
        return Ended(0, "", "", walls, cpus)

    @staticmethod
    def _succeeded(program: str, ended: Ended) -> Ended:
        if ended.status:
            raise WrongResult(f"{Path(program).name}: exit status {ended.status}: {ended.stderr[-300:]}")
        return ended


def laid_out(tree: Path, root: Path) -> str:
    """The path of the agent of a tree, installed below root as a package installs it."""
    install: list[str | Path] = [PYTHON, tree.resolve() / "packaging/install.py", "--root", root]
    subprocess.run(install, check=True, capture_output=True)
    subprocess.run([PYTHON, "-m", "compileall", "-q", root / PRIVATE[1:]], check=True)
    agent = root / "usr/sbin/fence_halvm"
    agent.write_text(agent.read_text().replace(f'"{PRIVATE}"', f'"{root}{PRIVATE}"'))
    return str(agent)


def _make_ready() -> None:
    """Lists the nodes, and makes what fence_scsi's unfencing leaves, in a mount namespace of this process."""
    for directory in (COROSYNC, RUN):
        subprocess.run(["mount", "-t", "tmpfs", "none", directory], check=True)
    (COROSYNC / "corosync.conf").write_text(COROSYNC_CONF)
    (RUN / "cluster.key").write_text("1234abcd\n")
    (RUN / "cluster.dev").write_text("/dev/sda\n")


def _print(title: str, pairs: Pairs) -> None:
    cells = (
        *(pairs.our_wall.text(0, MS), pairs.their_wall.text(0, MS), pairs.times.text(2)),
        *(pairs.our_cpu.text(0, MS), pairs.their_cpu.text(0, MS), pairs.cpu_times.text(2)),
    )
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
