"""Long trials at level 3, with power that is really cut: `python -m tests.lab.level3_trials race|oracle|time [COUNT]`.

* race: both nodes fence each other with the cluster network cut between them, one a random moment later.
* oracle: fences under load with random faults; no record of a victim may land after a success.
* time: from the call to the victim's last write that landed, for fence_halvm and its peers.

A node that was switched off comes back from its snapshot's memory instead of a cold boot: /run is empty and the LUN has
no registration of that boot, in a fourth of the time. The tests, which import from here, boot cold where it matters.
"""

import argparse
import json
import random
import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from . import bmc, level3, oracle
from .guest import Guest, GuestError, Job, Result, make_disk
from .level3 import DISK, NODES, Cluster, Link, bmc_address
from .places import PROJECT

A, B = NODES
ORACLE = "python3 /run/lab/oracle.py"
BACKING = "/run/lio/lun0.img"
PASSWORD_SCRIPT = "/etc/cluster/bmc-password"
RANK_SLOT_S = 0.25


# --- the cluster as a user has it ---------------------------------------------------------------------------------


def cluster_conf() -> str:
    """The cluster that this project is for, with the lab's addresses."""
    nodes = devices = ""
    for number, node in enumerate(NODES, 1):
        nodes += f"""
    <clusternode name="{node}" nodeid="{number}">
      <fence><method name="bmc-and-disk"><device name="halvm{number}"/></method></fence>
      <unfence><device name="halvm{number}" action="on"/></unfence>
    </clusternode>"""
        devices += f"""
    <fencedevice name="halvm{number}" agent="fence_halvm" ipaddr="{bmc_address(node)}" login="{bmc.USER}"
                 passwd_script="{PASSWORD_SCRIPT}" lanplus="1" vg="shared_vg"/>"""
    return f"""<?xml version="1.0"?>
<cluster name="lvm-cluster" config_version="2">
  <cman two_node="1" expected_votes="1"/>
  <clusternodes>{nodes}
  </clusternodes>
  <fencedevices>{devices}
  </fencedevices>
</cluster>
"""


def install(cluster: Cluster, *nodes: str) -> None:
    """Configuration and oracle on these nodes, or on all, and the oracle on the storage side."""
    for node in nodes or NODES:
        guest = cluster.nodes[node]
        guest.run("mkdir -p /etc/cluster /run/lab", check=True)
        guest.put("/etc/cluster/cluster.conf", cluster_conf())
        guest.put(PASSWORD_SCRIPT, f"#!/bin/sh\necho {bmc.PASSWORD}\n")
        guest.run(f"chmod 700 {PASSWORD_SCRIPT}", check=True)
        guest.put("/run/lab/oracle.py", Path(oracle.__file__).read_bytes())
    if not nodes:
        cluster.storage.put("/run/lab/oracle.py", Path(oracle.__file__).read_bytes())


def words(target: str, action: str, **options: str) -> str:
    """What fenced writes to the agent's standard input for a device of that cluster.conf."""
    given = {"agent": "fence_halvm", "nodename": target, "action": action, "ipaddr": bmc_address(target)}
    given |= {"login": bmc.USER, "passwd_script": PASSWORD_SCRIPT, "lanplus": "1", "vg": "shared_vg"} | options
    return "".join(f"{name}={value}\n" for name, value in given.items() if value)


def agent(target: str, action: str, **options: str) -> str:
    """A shell command that calls the agent as fenced does."""
    return f"printf %s {shlex.quote(words(target, action, **options))} | fence_halvm"


def unfence(cluster: Cluster, node: str, **options: str) -> Result:
    result = cluster.nodes[node].run(agent(node, "on", **options))
    if result.rc:
        raise GuestError(f"{node}: unfencing failed: {result}")
    return result


def keys(guest: Guest) -> list[int]:
    """The node ids of the keys that are registered, one a nexus."""
    lines = guest.run(f"sg_persist -n -i -k {DISK}", check=True).out.splitlines()
    return sorted(int(line, 16) & 0xFFFFFFFF for line in lines if line.strip().startswith("0x"))


def generation(guest: Guest) -> int:
    first = guest.run(f"sg_persist -n -i -k {DISK}", check=True).out.partition("generation=")[2]
    return int(first.split()[0].rstrip(",;"), 16)


# --- load and judgement -------------------------------------------------------------------------------------------


def latest(cluster: Cluster, node: str) -> int:
    return int(cluster.storage.run(f"{ORACLE} latest {BACKING} {node}", check=True).out)


def forget_records(cluster: Cluster) -> None:
    """No records of an earlier trial: there is nothing to take for this one's, and nothing to search through."""
    start = level3.LUN_SIZE_MB - 48
    cluster.storage.run(f"fallocate --punch-hole --offset {start}MiB --length 48MiB {BACKING}", check=True)


def start_writer(cluster: Cluster, node: str) -> Job:
    """Returns when records of this run have landed."""
    before = latest(cluster, node)
    writer = cluster.nodes[node].spawn(f"exec nice -n 19 {ORACLE} write {DISK} {node}")
    end = time.monotonic() + 120
    while latest(cluster, node) <= before:
        if time.monotonic() > end:
            raise GuestError(f"{node} writes nothing: {writer.poll()}")
    return writer


def fence_command(victim: str, command: str) -> str:
    """The fence under the oracle's eyes: it prints a line of JSON with rc, mark, seconds and output."""
    return f"{ORACLE} fence {DISK} {victim} -- bash -c {shlex.quote(command)}"


def fence(cluster: Cluster, caller: str, victim: str, command: str) -> dict[str, Any]:
    done = cluster.nodes[caller].run(fence_command(victim, command), timeout_s=300, check=True)
    outcome: dict[str, Any] = json.loads(done.out)
    return outcome


def violations(cluster: Cluster, victim: str, mark: int) -> int:
    """How many records of the victim landed after the mark. Waits for what it may still have to write."""
    time.sleep(1)
    return int(
        json.loads(cluster.storage.run(f"{ORACLE} check {BACKING} {victim} {mark}", check=True).out)["violations"]
    )


def refused(cluster: Cluster, node: str, *, buffered: bool = False) -> str:
    """Tries to write to an unused place; empty when that succeeds, else the complaint."""
    how = "conv=fsync" if buffered else "oflag=direct"
    place = (level3.LUN_SIZE_MB - 56) << 8
    return cluster.nodes[node].run(f"dd if=/dev/zero of={DISK} bs=4096 count=1 seek={place} status=none {how}").err


# --- power --------------------------------------------------------------------------------------------------------


def boot_id(cluster: Cluster, node: str) -> str:
    return cluster.nodes[node].run("cat /proc/sys/kernel/random/boot_id", check=True).out.strip()


def boot(cluster: Cluster, node: str) -> None:
    """Waits for a node that is being powered on, cold, and gives it what a boot loses."""
    cluster.nodes[node].wait_booted(240)
    install(cluster, node)


def revive(cluster: Cluster, node: str) -> None:
    """Power off and on; the node continues from its snapshot's memory and disk."""
    guest = cluster.nodes[node]
    if cluster.is_powered(node):
        cluster.ipmitool(node, "chassis", "power", "off")
        cluster.wait_powered(node, on=False)
    (guest.directory / "root.qcow2").unlink()
    make_disk(guest.directory, level3.snapshot_directory() / f"{node}.qcow2", "qcow2")
    (guest.directory / "resume").touch()
    cluster.ipmitool(node, "chassis", "power", "on")
    guest.wait_loaded()
    guest.qmp("cont")
    guest.wait_ready()
    guest.wake(with_product=True)
    # Its iSCSI session is from before: reading waits until that has been given up and made anew.
    read = f"dd if={DISK} of=/dev/null bs=4096 count=1 iflag=direct status=none"
    guest.run(f"for i in 1 2 3 4 5; do timeout 30 {read} && exit 0; sleep 1; done; exit 1", check=True)
    install(cluster, node)


# --- the race -----------------------------------------------------------------------------------------------------


class Side(NamedTuple):
    """A node's part in a race. rc: None where it was shot before its agent ended. identified_s: when it had found its
    LUNs, by the host's clock, from the start of the race; its console kept that."""

    node: str
    rc: int | None
    identified_s: float | None
    said: str

    @property
    def says_lost(self) -> bool:
        return "the fence race is lost" in self.said


class Race(NamedTuple):
    """steps: by how much the PR generation moved. left: node ids registered afterwards. powered: afterwards."""

    active: str | None
    skew_s: float
    sides: tuple[Side, Side]
    steps: int
    left: tuple[int, ...]
    powered: tuple[str, ...]
    records_after: int

    @property
    def winner(self) -> Side | None:
        won = [side for side in self.sides if side.rc == 0]
        return won[0] if len(won) == 1 else None

    @property
    def active_in_time(self) -> bool:
        """Whether the node with the volume group active had found its LUNs while the other still waited its rank.

        0.15 s are for the commands themselves, on an emulated CPU.
        """
        times = {side.node: side.identified_s for side in self.sides}
        if self.active is None:
            return False
        other = B if self.active == A else A
        ours, theirs = times[self.active], times[other]
        if theirs is None:
            return ours is not None  # shot before it had found anything
        return ours is not None and ours < theirs + RANK_SLOT_S * (1 + NODES.index(other)) - 0.15

    @property
    def faults(self) -> list[str]:
        if self.winner is None:
            return [f"not one winner: {self.sides}"]
        winner = self.winner.node
        loser = next(side for side in self.sides if side.node != winner)
        found = []
        if self.powered != (winner,):
            found.append(f"powered afterwards: {self.powered}")
        if loser.rc is not None and not loser.says_lost:
            found.append(f"the loser does not say so: {loser}")
        if self.steps != 1 or self.left != (NODES.index(winner) + 1,):
            found.append(f"the loser wrote, or the winner more than needed: {self.steps} steps, keys of {self.left}")
        if self.records_after:
            found.append(f"{self.records_after} records of the loser after the success")
        if self.active_in_time and winner != self.active:
            found.append(f"{self.active} had the volume group active, was there in time and lost: {self.sides}")
        return found


_STAMPED = """sleep $(awk "BEGIN {{ t = {at:.3f} - $EPOCHREALTIME; print (t > 0 ? t : 0) }}")
{agent} 2>&1 | while IFS= read -r line; do
  line="$EPOCHREALTIME $line"; echo "$line"; echo "RACE $line" >/dev/ttyS0
done
exit ${{PIPESTATUS[1]}}"""
"""Also to the console, which outlives the node."""


def race(cluster: Cluster, active: str | None, order: Sequence[str], skew_s: float) -> Race:
    """One race of two nodes that are up and registered. Leaves the loser off and the winner's writer stopped."""
    for node in NODES:
        mounted = cluster.nodes[node].run("mountpoint -q /srv/ha").rc == 0
        if mounted and node != active:
            cluster.deactivate(node)
        if not mounted and node == active:
            cluster.activate(node)
    forget_records(cluster)
    writers = {node: start_writer(cluster, node) for node in NODES}
    before = generation(cluster.nodes[A])
    consoles = {node: len(cluster.nodes[node].console()) for node in NODES}
    cluster.cut(A, Link.CLUSTER)
    try:
        leads = {node: cluster.nodes[node].clock_lead_s() for node in NODES}
        began = time.time() + 6  # the oracle looks through its records first
        jobs = {}
        for node, later_s in zip(order, (0.0, skew_s), strict=True):
            other = B if node == A else A
            at = began + later_s + leads[node]
            command = _STAMPED.format(at=at, agent=agent(other, "off", verbose="1", deadline="120"))
            jobs[node] = cluster.nodes[node].spawn(fence_command(other, command))
        with ThreadPoolExecutor(2) as pool:
            ends = dict(zip(jobs, pool.map(lambda node: _end(cluster, node, jobs[node]), jobs), strict=True))
    finally:
        cluster.heal(A, Link.CLUSTER)
    sides = []
    for node in order:
        said = cluster.nodes[node].console()[consoles[node] :]
        stamps = [line.partition("RACE ")[2] for line in said.splitlines() if "identified" in line]
        identified_s = float(stamps[0].split()[0]) - leads[node] - began if stamps else None
        outcome = ends[node]
        sides.append(
            Side(node, outcome["rc"] if outcome else None, identified_s, outcome["output"] if outcome else said)
        )
    powered = tuple(node for node in NODES if cluster.is_powered(node))
    winner = next((side.node for side in sides if side.rc == 0), powered[0] if powered else A)
    loser = B if winner == A else A
    outcome = ends[winner]
    after = violations(cluster, loser, outcome["mark"] or 0) if outcome and outcome["rc"] == 0 else 0
    steps, left = generation(cluster.nodes[winner]) - before, tuple(keys(cluster.nodes[winner]))
    cluster.nodes[winner].run(f"kill {writers[winner].pid}")
    return Race(active, round(skew_s, 3), (sides[0], sides[1]), steps, left, powered, after)


def _end(cluster: Cluster, node: str, job: Job) -> dict[str, Any] | None:
    """What the oracle says of this node's fence; None where the node was switched off under it."""
    try:
        done = job.wait(300)
    except GuestError:
        cluster.wait_powered(node, on=False)
        return None
    outcome: dict[str, Any] = (
        json.loads(done.out) if done.rc == 0 else {"rc": 99, "mark": None, "output": done.out + done.err}
    )
    return outcome


def races(cluster: Cluster, count: int, chance: random.Random) -> list[Race]:
    install(cluster)
    played: list[Race] = []
    for number in range(count):
        for node in NODES:
            if played and cluster.is_powered(node):
                continue  # the winner is registered as before
            if not cluster.is_powered(node):
                revive(cluster, node)
            unfence(cluster, node)
        played.append(race(cluster, (A, B, None)[number % 3], chance.sample(NODES, 2), chance.uniform(0, 1)))
        _show_race(played[-1])
    return played


def _show_race(each: Race) -> None:
    first, second = each.sides
    winner = each.winner.node if each.winner else "?"
    loser = next(side for side in each.sides if side.node != winner)
    end = (
        "said that it lost" if loser.says_lost else "shot before it could say" if loser.rc is None else f"rc {loser.rc}"
    )
    starts = f"{first.node}, {second.node} {each.skew_s:.2f} s later"
    found = " ".join(f"{side.node} {side.identified_s:.2f}" for side in each.sides if side.identified_s is not None)
    print(
        f"| {each.active or '-'} | {starts} | {found} | {winner} | {end} | "
        f"{each.records_after} | {'; '.join(each.faults) or 'none'} |",
        flush=True,
    )


# --- the oracle ---------------------------------------------------------------------------------------------------


class Fault(StrEnum):
    """What is done to a fence."""

    LOSS = "30 % packet loss to the BMC, each way"
    VICTIMS_PATH = "the victim's storage path cut and healed"
    CALLERS_PATH = "the caller's storage path cut and healed"
    KILLED = "agent killed and run again"
    SIMULTANEOUS = "simultaneous fence"


class Trial(NamedTuple):
    fault: Fault
    proof: str
    caller: str
    rcs: dict[str, int | None]
    """By node that fenced; None where it was shot."""
    mark: int
    records_after: int
    said: str

    @property
    def succeeded(self) -> bool:
        return 0 in self.rcs.values()

    @property
    def faults(self) -> list[str]:
        found = []
        if self.records_after:
            found.append(f"{self.records_after} records of the victim landed after the success")
        if self.succeeded and not self.mark:
            found.append("the victim had not written: this proves nothing")
        if list(self.rcs.values()).count(0) > 1:
            found.append(f"two winners: {self.rcs}")
        if not self.succeeded and self.fault is not Fault.CALLERS_PATH:
            found.append(f"the fence failed: {self.said}")
        return found


_PROXY = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.rig.udp_proxy import UdpProxy
with UdpProxy((sys.argv[2], 623), address="10.9.2.254", drop=0.3, seed=int(sys.argv[3])) as proxy:
    print(proxy.port, flush=True)
    time.sleep(3600)
"""


def _lossy_port(cluster: Cluster, node: str, seed: int) -> str:
    log = cluster.run_directory / f"proxy-{node}-{seed}"
    with log.open("wb") as output:
        command = [sys.executable, "-c", _PROXY, str(PROJECT), bmc_address(node), str(seed)]
        cluster.enclosure.start(command, output)
    end = time.monotonic() + 10
    while not log.read_text().strip().isdigit():
        if time.monotonic() > end:
            raise GuestError(f"no proxy: {log.read_text()}")
        time.sleep(0.05)
    return log.read_text().strip()


def trial(cluster: Cluster, fault: Fault, chance: random.Random) -> Trial:
    """One fence of two nodes that are up and registered."""
    caller, victim = chance.sample(NODES, 2)
    proof = chance.choice(["power", "any", "all"])
    moment_s, long_s = chance.uniform(0.2, 4), chance.uniform(0.5, 3)
    forget_records(cluster)
    writers = {node: start_writer(cluster, node) for node in NODES}
    options = {"proof": proof, "deadline": "120"}
    if fault is Fault.LOSS:
        options |= {"ipaddr": "10.9.2.254", "ipport": _lossy_port(cluster, victim, chance.randrange(1 << 16))}
    command = agent(victim, "off", **options)
    if fault is Fault.KILLED:
        cluster.nodes[caller].put("/run/lab/words", words(victim, "off", **options))
        once = "fence_halvm </run/lab/words"
        command = f"{once} & sleep {moment_s:.3f}; kill -9 $!; wait $!; {once}"
    jobs = {caller: cluster.nodes[caller].spawn(fence_command(victim, command))}
    if fault is Fault.SIMULTANEOUS:
        other = agent(caller, "off", **options)
        jobs[victim] = cluster.nodes[victim].spawn(fence_command(caller, f"sleep {moment_s / 8:.3f}; {other}"))
    cut = {Fault.VICTIMS_PATH: victim, Fault.CALLERS_PATH: caller}.get(fault)

    def disturb() -> None:
        if cut:
            time.sleep(moment_s)
            cluster.cut(cut, Link.STORAGE)
            time.sleep(long_s)
            cluster.heal(cut, Link.STORAGE)

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    with ThreadPoolExecutor(2) as pool:
        ends = dict(zip(jobs, pool.map(lambda node: _end(cluster, node, jobs[node]), jobs), strict=True))
    disturbing.join()
    rcs = {node: outcome["rc"] if outcome else None for node, outcome in ends.items()}
    winner = next((node for node, rc in rcs.items() if rc == 0), None)
    mark, after = 0, 0
    if winner:
        won = ends[winner]
        assert won is not None
        mark = won["mark"] or 0
        after = violations(cluster, B if winner == A else A, mark)
    for node, writer in writers.items():
        if cluster.is_powered(node):
            cluster.nodes[node].run(f"kill {writer.pid}")
    said = " / ".join(f"{node}: {outcome['output'] if outcome else 'shot'}" for node, outcome in ends.items())
    return Trial(fault, proof, caller, rcs, mark, after, said)


def trials(cluster: Cluster, count: int, chance: random.Random) -> list[Trial]:
    install(cluster)
    made: list[Trial] = []
    fenced: set[str] = set()
    for number in range(count):
        for node in NODES:
            if node in fenced or not cluster.is_powered(node):
                revive(cluster, node)
            elif made:
                continue  # registered as before
            unfence(cluster, node)
        made.append(trial(cluster, list(Fault)[number % len(Fault)], chance))
        each = made[-1]
        # Whoever was aimed at may be shut out although the fence was not a success.
        fenced = {B if node == A else A for node in each.rcs}
        print(
            f"| {each.fault} | {each.proof} | {each.caller} | {each.rcs} | {each.mark} | {each.records_after} | "
            f"{'; '.join(each.faults) or 'none'} |",
            flush=True,
        )
        if not each.succeeded:
            print(f"  {each.said}", file=sys.stderr, flush=True)
    return made


# --- time to safe -------------------------------------------------------------------------------------------------

_NEWEST = """
import sys; sys.path.insert(0, "/run/lab"); import oracle
print(max(r[2] for region in (1, 2) for r in oracle.records("{backing}", region) if r[0] == "{node}"))
"""
_SCSI = f"fence_scsi -d {DISK}"
_IPMILAN = f"fence_ipmilan -a {bmc_address(B)} -l {bmc.USER} -p {bmc.PASSWORD} -P -C {bmc.CIPHER_SUITE}"


class Method(NamedTuple):
    """A way to fence serv-0002 from serv-0001."""

    name: str
    command: str
    dead_bmc: bool = False
    peer: bool = False
    """Registered by fence_scsi."""


METHODS = (
    Method("fence_halvm, BMC and LUN (default)", agent(B, "off")),
    Method("fence_halvm, storage alone", agent(B, "off", ipaddr="")),
    Method("fence_halvm, proof=any, BMC dead", agent(B, "off", proof="any"), dead_bmc=True),
    Method("fence_halvm, BMC alone", agent(B, "off", vg="")),
    Method("fence_ipmilan", f"{_IPMILAN} -o off"),
    Method("fence_scsi", f"{_SCSI} -o off -k b1", peer=True),
    Method("fence_ipmilan, then fence_scsi; BMC dead", f"{_IPMILAN} -o off; {_SCSI} -o off -k b1", True, True),
)


class Timing(NamedTuple):
    safe_s: float
    told_s: float
    rc: int


def time_to_safe(cluster: Cluster, method: Method) -> Timing:
    """Two nodes that are up. The times are counted from the call, by one clock."""
    survivor, victim = cluster.nodes[A], cluster.nodes[B]
    if method.peer:
        for node, key in ((survivor, "a1"), (victim, "b1")):
            node.run(f"{_SCSI} -o on -k {key}", check=True)
    else:
        for name in NODES:
            unfence(cluster, name)
    forget_records(cluster)
    start_writer(cluster, B)
    leads = {node.name: node.clock_lead_s() for node in (survivor, victim)}
    if method.dead_bmc:
        cluster.cut_bmc(B)
    try:
        call = f"echo $EPOCHREALTIME; {method.command} >/dev/null 2>&1; echo $? $EPOCHREALTIME"
        start, rc, end = survivor.run(call, timeout_s=200, check=True).out.split()
    finally:
        if method.dead_bmc:
            cluster.heal_bmc(B)
    time.sleep(1)
    script = _NEWEST.format(backing=BACKING, node=B)
    newest = float(cluster.storage.run(f"python3 -c {shlex.quote(script)}", check=True).out)
    began = float(start) - leads[A]
    return Timing(newest - leads[B] - began, float(end) - leads[A] - began, int(rc))


def times(cluster: Cluster, count: int) -> None:
    install(cluster)
    for method in METHODS:
        taken: list[Timing] = []
        for _ in range(count):
            taken.append(time_to_safe(cluster, method))
            cluster.nodes[A].run(f"sg_persist -n -o -I -S 0xa1 {DISK}; sg_persist -n -o -C -K 0xa1 {DISK}")
            cluster.nodes[A].run("rm -rf /run/fence-halvm")
            revive(cluster, B)
        safe, told = (sorted(getattr(each, name) for each in taken) for name in ("safe_s", "told_s"))
        middle = len(taken) // 2
        rcs = ", ".join(sorted({str(each.rc) for each in taken}))
        print(
            f"| {method.name} | {safe[middle]:.2f} ({safe[0]:.2f}-{safe[-1]:.2f}) | "
            f"{told[middle]:.2f} ({told[0]:.2f}-{told[-1]:.2f}) | {rcs} |",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.level3_trials")
    parser.add_argument("what", choices=["race", "oracle", "time"])
    parser.add_argument("count", type=int, nargs="?", default=10)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    bad: list[str] = []
    with level3.restored() as cluster:
        if given.what == "time":
            times(cluster, given.count)
            return 0
        play: dict[str, Callable[[], Sequence[Race | Trial]]] = {
            "race": lambda: races(cluster, given.count, chance),
            "oracle": lambda: trials(cluster, given.count, chance),
        }
        results = play[given.what]()
        bad = [fault for each in results for fault in each.faults]
    print(f"{len(results)} played, faults: " + ("none" if not bad else "\n  ".join(["", *bad])))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
