# SPDX-License-Identifier: Apache-2.0
"""A failover at level 4: a fault, the steps until the volume is mounted on the survivor, and what is checked then."""

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import level4, records
from .guest import Guest
from .level3 import DISK, NODES, Cluster
from .user_cluster import boot_id, keys

FILE = f"{level4.MOUNT}/records"
LISTENER = "10.9.2.254"
"""The host's address in the management network."""
PORT = 5555
CONSOLE_CHARS = 20_000
WRITER = "/usr/local/sbin/records.py"

_STEPS = {
    "membership": r"corosync\S*: .*Sync left\[1\]",
    "fenced": r"pacemaker-fenced\S*: .*Operation '(reboot|off)' .*: OK",
    "lvm": r"pacemaker-controld\S*: .*Result of start operation for lvm on \S+: (ok|OK)",
    "mounted": r"pacemaker-controld\S*: .*Result of start operation for FS on \S+: (ok|OK)",
}
"""What the survivor's log says at the end of each step of a failover: ok by Pacemaker 2.1, OK by 3.0."""


class Times(NamedTuple):
    """Seconds from the fault to the end of each step, by the survivor's log. None: not in the log."""

    membership: float | None
    fenced: float | None
    lvm: float | None
    mounted: float | None


class Observed(NamedTuple):
    """The fault as it was made. boots: the boot ids of before.

    survivor: the node that takes the service over. With three nodes it is known after wait_taken_over.
    """

    victim: str
    survivor: str
    fault_s: float
    lead_s: float
    acknowledged: int
    boots: dict[str, str]


def acknowledged(cluster: Cluster) -> int:
    """The number of the last record that was acknowledged."""
    kept = (cluster.run_directory / "acknowledged").read_text().splitlines()
    return int(kept[-1].split()[1]) if kept else 0


@contextmanager
def restored(nodes: Sequence[str] = NODES) -> Iterator[Cluster]:
    """The running cluster, and a listener that keeps what is acknowledged."""
    with level4.restored(nodes) as cluster:
        listen(cluster)
        yield cluster


def listen(cluster: Cluster) -> None:
    """Keeps what is acknowledged, until the cluster's namespace ends."""
    kept = cluster.run_directory / "acknowledged"
    kept.touch()
    command = [sys.executable, records.__file__, "listen", LISTENER, str(PORT), str(kept)]
    with (cluster.run_directory / "listener.log").open("wb") as log_file:
        cluster.enclosure.start(command, log_file)


def start_writer(cluster: Cluster, node: str, count: int = 20) -> None:
    """Returns when so many further records have been acknowledged."""
    before = acknowledged(cluster)
    guest = cluster.nodes[node]
    guest.put(WRITER, Path(records.__file__).read_bytes())
    write = f"nice -n 5 python3 {WRITER} write {FILE} {LISTENER} {PORT}"
    guest.run(f"setsid nohup {write} >/dev/null 2>&1 </dev/null &", check=True)
    level4.wait_until("records are acknowledged", lambda: acknowledged(cluster) >= before + count, 180)


def others(cluster: Cluster, node: str) -> list[str]:
    return [each for each in cluster.nodes if each != node]


def other(node: str) -> str:
    """The peer, in a cluster of two."""
    (peer,) = set(NODES) - {node}
    return peer


def all_keys(cluster: Cluster) -> set[int]:
    """The node ids of all nodes, as user_cluster.keys names them."""
    return set(range(1, len(cluster.nodes) + 1))


def strike(cluster: Cluster, fault: Callable[[str], None]) -> Observed:
    """Lets the active node write, and makes the fault there."""
    victim = level4.active(cluster)
    survivor = others(cluster, victim)[0]
    start_writer(cluster, victim)
    lead_s = cluster.nodes[survivor].clock_lead_s()
    boots = {node: boot_id(cluster, node) for node in cluster.nodes}
    fault_s = time.time()
    fault(victim)
    return Observed(victim, survivor, fault_s, lead_s, acknowledged(cluster), boots)


def wait_taken_over(cluster: Cluster, seen: Observed, timeout_s: float = 600) -> Observed:
    """Returns when one of the others has it mounted and Pacemaker there knows it. The result names that node."""
    survivor = wait_started(cluster, others(cluster, seen.victim), timeout_s)
    return seen._replace(survivor=survivor, lead_s=cluster.nodes[survivor].clock_lead_s())


def wait_started(cluster: Cluster, nodes: Sequence[str], timeout_s: float = 600) -> str:
    """Returns the one of these nodes, which must run, that has the service, when Pacemaker there knows it."""
    owners: list[str] = []

    def started() -> bool:
        guests = [(node, cluster.nodes[node]) for node in nodes]
        owners[:] = [
            node for node, guest in guests if level4.mounted(guest) and level4.status(guest).started.get("FS") == node
        ]
        return bool(owners)

    level4.wait_until(
        f"{level4.MOUNT} is mounted on {' or '.join(nodes)}",
        started,
        timeout_s,
        lambda: "\n".join(log(cluster.nodes[node]) for node in nodes),
    )
    (owner,) = owners
    return owner


def missing_records(cluster: Cluster, survivor: str, up_to: int) -> list[int]:
    """Of the acknowledged records up to a number, those that the survivor does not find."""
    text = cluster.nodes[survivor].run(f"cat {FILE}", check=True).out
    there = {int(line.split()[0]) for line in text.splitlines()}
    return [number for number in range(1, up_to + 1) if number not in there]


def wait_back(cluster: Cluster, seen: Observed, timeout_s: float = 600, *, rebooted: bool = True) -> None:
    """Returns when the victim is a standby again: online, its key registered, every resource as it was."""
    survivor, end = cluster.nodes[seen.survivor], time.monotonic() + timeout_s

    def back() -> bool:
        if rebooted and boot_id(cluster, seen.victim) == seen.boots[seen.victim]:
            return False
        # With two paths each key is there twice.
        return set(keys(survivor)) == all_keys(cluster) and level4.settled(cluster, seen.survivor)

    level4.wait_until(f"{seen.victim} is back", back, end - time.monotonic(), lambda: _no_return(cluster, seen))


def _no_return(cluster: Cluster, seen: Observed) -> str:
    """What there is to know of a victim that does not come back."""
    power = f"{seen.victim}: {cluster.ipmitool(seen.victim, 'chassis', 'power', 'status')}"
    console = cluster.nodes[seen.victim].console()[-CONSOLE_CHARS:]
    history = cluster.nodes[seen.survivor].run("fence_halvm -o history --json").out
    return "\n".join([log(cluster.nodes[seen.survivor]), history, power, "its console:", console])


def check(cluster: Cluster, seen: Observed) -> None:
    """What must hold at the end of every failover, when the victim is back."""
    assert level4.active(cluster) == seen.survivor
    check_survivor(cluster, seen)
    check_file_systems(cluster.nodes[seen.victim])


def check_survivor(cluster: Cluster, seen: Observed) -> None:
    """The same as far as the nodes know it that were not the victim."""
    assert level4.mounted(cluster.nodes[seen.survivor])
    assert missing_records(cluster, seen.survivor, acknowledged(cluster)) == []
    for node in others(cluster, seen.victim):
        assert boot_id(cluster, node) == seen.boots[node], f"{node} was reset"
        check_file_systems(cluster.nodes[node])


def check_file_systems(node: Guest) -> None:
    """Also the local one: a node whose own disk is not what it wrote would show anything at all."""
    assert node.run("dmesg | grep -E 'EXT4-fs (error|warning)'").out == ""


def times(cluster: Cluster, seen: Observed) -> Times:
    """Read from the survivor's log. A step counts when it is seen after the fault the first time."""
    since = seen.fault_s + seen.lead_s
    lines = cluster.nodes[seen.survivor].run(f"journalctl -b --no-pager -o short-unix --since @{int(since)}").out
    found: dict[str, float | None] = dict.fromkeys(_STEPS)
    for line in lines.splitlines():
        at, _, text = line.partition(" ")
        for step, pattern in _STEPS.items():
            if found[step] is None and re.search(pattern, text) and float(at) >= since:
                found[step] = round(float(at) - since, 1)
    return Times(**found)


def warnings(node: Guest) -> list[str]:
    """What Pacemaker warns of that is no trouble: it takes each line that the agent writes to stderr for a warning.

    Without the agent's own errors and warnings, such as of a slow answer on an emulated processor.
    """
    lines = node.run(r"grep -aE '(warning|error): fence_halvm' /var/log/pacemaker/pacemaker.log").out.splitlines()
    return [line for line in lines if "ERROR:" not in line and "WARNING:" not in line]


def log(node: Guest) -> str:
    """The end of what the node has to say, for the message of a test that fails."""
    journal = "journalctl -b --no-pager -n 400 -o short-monotonic | grep -v qemu-ga"
    return node.run(f"crm_mon -1 -r -f; sg_persist -n -i -k {DISK}; {journal}").out
