# SPDX-License-Identifier: Apache-2.0
"""What is measured: the same action by both agents, on the same ipmi_sim, and the agent alone on tgtd."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Command, Ended, Memory, Processes, memory, processes, run
from benchmarks.paired import Pairs, Spread, in_turns
from tests.rig.bmc import Bmc
from tests.rig.journal import own_journal
from tests.rig.target import Target
from tests.rig.udp_proxy import Passed, UdpProxy

PEER = "/usr/sbin/fence_ipmilan"
SUITE_3 = ("-C", "3")  # ipmi_sim has no other; without it ipmitool loses 10 to 14 s in each of its five runs
NO_WAIT = ("--power-wait=0",)

CLUSTER_CONF = """\
<cluster name="bench" config_version="1">
  <clusternodes><clusternode name="serv-0001" nodeid="1"/><clusternode name="serv-0002" nodeid="2"/></clusternodes>
</cluster>
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. before: what the chassis is when each run starts. peer: the options only the peer gets."""

    title: str
    action: str
    before: str
    text: str
    peer: tuple[str, ...]
    slow: bool = False

    @property
    def sends(self) -> bool:
        return self.action != "metadata"


ROWS = (
    Row("metadata", "metadata", "on", "</resource-agent>", ()),
    Row("status", "status", "on", "Status: ON", SUITE_3),
    Row("off, peer --power-wait=0", "off", "on", "Success: Powered OFF", SUITE_3 + NO_WAIT),
    Row("on, peer --power-wait=0", "on", "off", "Success: Powered ON", SUITE_3 + NO_WAIT),
    Row("reboot, peer --power-wait=0", "reboot", "on", "Success: Rebooted", SUITE_3 + NO_WAIT),
    Row("off", "off", "on", "Success: Powered OFF", SUITE_3, slow=True),
    Row("on", "on", "off", "Success: Powered ON", SUITE_3, slow=True),
    Row("reboot", "reboot", "on", "Success: Rebooted", SUITE_3, slow=True),
)
PLAIN = Row("reboot, peer without -C 3", "reboot", "on", "Success: Rebooted", (), slow=True)


@dataclass(frozen=True, slots=True)
class Compared:
    """One row's result. Costs are None where nothing is measured twice."""

    row: Row
    pairs: Pairs
    packets: tuple[Passed, Passed] | None
    processes: tuple[Processes, Processes] | None
    memory: tuple[Memory, Memory] | None


@dataclass(frozen=True, slots=True)
class StorageOff:
    """off by the disk alone, of a node registered on that many LUNs."""

    luns: int
    runs: int
    wall: Spread
    cpu: Spread


class WrongResult(RuntimeError):
    """A run did not do what is compared: its time means nothing."""


def our_agent() -> str:
    installed = Path(sys.executable).with_name("fence_halvm")
    return str(installed) if installed.exists() else str(shutil.which("fence_halvm"))


class Contest:
    """The two agents on one BMC."""

    def __init__(self, bmc: Bmc, proxy: UdpProxy) -> None:
        self._bmc = bmc
        self._proxy = proxy

    def compare(self, row: Row, runs: int, costs_too: bool = True) -> Compared:
        ours, theirs = self._commands(row, self._bmc.address, self._bmc.port)
        for warm_up in (ours,) if row.slow else (ours, theirs):
            self._once(row, warm_up)
        pairs = in_turns(lambda: self._once(row, ours), lambda: self._once(row, theirs), runs)
        if not costs_too or row.slow:
            return Compared(row, pairs, None, None, None)
        packets = None
        if row.sends:
            counted = self._commands(row, self._proxy.address, self._proxy.port)
            packets = (self._packets(row, counted[0]), self._packets(row, counted[1]))
        return Compared(
            row,
            pairs,
            packets,
            (self._started(row, ours), self._started(row, theirs)),
            (self._used(row, ours), self._used(row, theirs)),
        )

    def _commands(self, row: Row, address: str, port: int) -> tuple[Command, Command]:
        if not row.sends:
            return [our_agent(), "-o", row.action], [PEER, "-o", row.action]
        common = ["-a", address, "-u", str(port), "-P", "-l", "ADMIN", "-p", "ADMIN", "-o", row.action]
        return [our_agent(), f"--journal={own_journal()}", *common], [PEER, *common, *row.peer]

    def _once(self, row: Row, command: Command) -> Ended:
        self._bmc.power = row.before
        ended = run(command)
        if ended.status or row.text not in ended.stdout:
            raise WrongResult(
                f"{row.title}: {Path(command[0]).name}: exit status {ended.status}: {ended.stderr[-300:]}"
            )
        return ended

    def _packets(self, row: Row, command: Command) -> Passed:
        """Packets of a run that lost none: on a busy machine an answer may come after its question was repeated."""
        fewest: Passed | None = None
        for _ in range(3):
            self._proxy.reset_counts()
            self._once(row, command)
            passed = self._proxy.passed
            if fewest is None or passed.to_bmc < fewest.to_bmc:
                fewest = passed
        assert fewest is not None
        return fewest

    def _started(self, row: Row, command: Command) -> Processes:
        self._bmc.power = row.before
        return processes(command)

    def _used(self, row: Row, command: Command) -> Memory:
        seen = []
        for _ in range(3):
            self._bmc.power = row.before
            seen.append(memory(command))
        return Memory(max(each.largest_kib for each in seen), max(each.tree_kib for each in seen))


def storage_off(luns: int, runs: int, told: Callable[[str], None]) -> StorageOff:
    """Wall and CPU of fence_halvm -o off by the disk alone. Ranks are off: there is no race here."""
    with tempfile.TemporaryDirectory() as directory, Target(luns=luns, lun_size_bytes=1 << 20) as target:
        conf = Path(directory) / "cluster.conf"
        conf.write_text(CLUSTER_CONF)
        common = [
            our_agent(),
            f"--journal={own_journal()}",
            "-d",
            ",".join(target.urls),
            "-n",
            "serv-0001",
            "--cluster-conf",
            str(conf),
        ]
        common += ["--rank-slot=0", "-q"]
        _register(directory, common, "serv-0002")
        ended = []
        for number in range(runs + 1):
            _register(directory, common, "serv-0001")
            own = ["--local-node", "serv-0002", "--state-dir", f"{directory}/serv-0002"]
            once = run([*common, *own, "-o", "off"])
            if once.status or "Success: Powered OFF" not in once.stdout:
                raise WrongResult(f"off, {luns} LUNs: exit status {once.status}: {once.stderr[-300:]}")
            if number:  # the first one warms up
                ended.append(once)
        told(f"off by the disk alone, {luns} LUNs")
    return StorageOff(luns, runs, Spread.of(e.wall_s for e in ended), Spread.of(e.cpu_s for e in ended))


def _register(directory: str, common: Command, node: str) -> None:
    """As after a reboot of that node: what it noted in its last life is gone."""
    state = Path(directory) / node
    shutil.rmtree(state, ignore_errors=True)
    done = run([*common, "-n", node, "--local-node", node, "--state-dir", str(state), "-o", "on"])
    if done.status:
        raise WrongResult(f"on for {node}: {done.stderr[-300:]}")
