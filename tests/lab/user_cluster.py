# SPDX-License-Identifier: Apache-2.0
"""Level 3 as its user has it: cluster.conf, calls as fenced makes them, writers under the oracle's eyes, power."""

import json
import shlex
import time
from pathlib import Path
from typing import Any

from . import bmc, level3, oracle
from .guest import Guest, GuestError, Job, Result, make_disk
from .level3 import DISK, NODES, Cluster, bmc_address

ORACLE = "python3 /run/lab/oracle.py"
BACKING = "/run/lio/lun0.img"
PASSWORD_SCRIPT = "/etc/cluster/bmc-password"


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
    given |= {"login": bmc.USER, "passwd_script": PASSWORD_SCRIPT, "lanplus": "1", "vg": "shared_vg"}
    given |= {"verbose": "1"} | options  # or a success says nothing on stderr
    return "".join(f"{name}={value}\n" for name, value in given.items() if value)


def agent(target: str, action: str, **options: str) -> str:
    """A shell command that calls the agent as fenced does."""
    return f"printf %s {shlex.quote(words(target, action, **options))} | fence_halvm"


def fence_ipmilan(target: str) -> str:
    """The peer's command for the same BMC."""
    given = f"-a {bmc_address(target)} -l {bmc.USER} -p {bmc.PASSWORD} -P -C {bmc.CIPHER_SUITE}"
    return f"fence_ipmilan {given} -o off"


def unfence(cluster: Cluster, node: str, **options: str) -> Result:
    result = cluster.nodes[node].run(agent(node, "on", **options))
    if result.rc:
        raise GuestError(f"{node}: unfencing failed: {result}")
    return result


def keys(guest: Guest, disk: str = DISK) -> list[int]:
    """The node ids of the keys that are registered, one a nexus."""
    lines = guest.run(f"sg_persist -n -i -k {disk}", check=True).out.splitlines()
    return sorted(int(line, 16) & 0xFFFFFFFF for line in lines if line.strip().startswith("0x"))


def generation(guest: Guest) -> int:
    first = guest.run(f"sg_persist -n -i -k {DISK}", check=True).out.partition("generation=")[2]
    return int(first.split()[0].rstrip(",;"), 16)


def ended(cluster: Cluster, node: str, job: Job) -> dict[str, Any] | None:
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
