# SPDX-License-Identifier: Apache-2.0
"""Plays at level 4 in which the cluster is changed while its service runs: maintenance, an upgrade, another LUN.

The change stops nothing and fences no node. Then the active node is powered down, which is a failover as ever.
"""

import json
import time
from typing import Any, NamedTuple

from . import debian_packages, failovers, level4, plays, reconfigured
from .failovers import Observed
from .fence_plays import check_content, check_findings, proofs
from .guest import Guest
from .level3 import NODES, Cluster
from .level4 import SERVICE
from .plays import Play, switch
from .product import PACKAGES
from .user_cluster import boot_id, keys

SIDECAR = "halvm-watchdogd"
SNAPSHOT = "/run/fence-halvm/watchdogd.json"
SECOND_DISK = "/dev/sdc"
NEWLY_STARTED_S = 30
"""Until Pacemaker has looked at a service that it takes over from maintenance, and has not started it again."""


class Running(NamedTuple):
    """What must go on. writer: pid of the program that writes records; mount: mountinfo's id; sidecar: pid."""

    writer: int
    mount: int
    sidecar: int
    boots: dict[str, str]


def running(cluster: Cluster, node: str) -> Running:
    """Of the active node. A file system that was unmounted, be it for a moment, ends the writer and has another id."""
    guest = cluster.nodes[node]
    writer = int(guest.run("pgrep -f '^python3 .*/records.py write'", check=True).out)
    mount = int(guest.run(f"grep ' {level4.MOUNT} ' /proc/self/mountinfo", check=True).out.split()[0])
    return Running(writer, mount, sidecar(guest)["pid"], {name: boot_id(cluster, name) for name in NODES})


def sidecar(guest: Guest) -> dict[str, Any]:
    snapshot: dict[str, Any] = json.loads(guest.run(f"cat {SNAPSHOT}", check=True).out)
    return snapshot


def wait_feeding(guest: Guest, after_pid: int = 0, luns: int = 1) -> None:
    """Returns when a sidecar with another pid feeds, and each of so many LUNs is registered."""

    def feeds() -> bool:
        now = sidecar(guest)
        registered = [lun["registration"] == "registered" for lun in now["luns"]]
        return now["pid"] != after_pid and now["state"] == "keepalive" and registered == [True] * luns

    level4.wait_until(
        f"{guest.name}: the sidecar feeds", feeds, 300, lambda: guest.run(f"{SIDECAR} status; cat {SNAPSHOT}").out
    )


def wait_records(cluster: Cluster, count: int = 20) -> None:
    """Returns when so many further records have been acknowledged."""
    before = failovers.acknowledged(cluster)
    level4.wait_until("records are acknowledged", lambda: failovers.acknowledged(cluster) >= before + count, 180)


def stop_writer(cluster: Cluster, node: str, pid: int) -> None:
    cluster.nodes[node].run(f"kill {pid}", check=True)


def assert_no_fence(cluster: Cluster) -> None:
    for guest in cluster.nodes.values():
        assert level4.history(guest, "fence") == [], guest.name


def power_down(cluster: Cluster, writer: int) -> Observed:
    """The failover at the end. writer: the pid of the program that has written so far."""
    stop_writer(cluster, level4.active(cluster), writer)
    return plays.power_down(cluster)


# --- maintenance ------------------------------------------------------------------------------------------------------


def maintenance(cluster: Cluster) -> Observed:
    """maintenance-mode, corosync and Pacemaker restarted on one node after the other, while the service goes on."""
    active = level4.active(cluster)
    failovers.start_writer(cluster, active)
    before = running(cluster, active)
    reconfigured.push(cluster, "property set maintenance-mode=true", resources=SERVICE)
    for node in (active, failovers.other(active)):
        _restart_cluster_stack(cluster, node)
        wait_records(cluster)
        assert running(cluster, active) == before
        assert keys(cluster.nodes[node]) == [1, 2]
    for guest in cluster.nodes.values():
        assert check_findings(guest) == ["fault: maintenance-mode is on: nothing is recovered"]
    reconfigured.push(cluster, "property set maintenance-mode=false")
    time.sleep(NEWLY_STARTED_S)
    level4.wait_settled(cluster, active)
    wait_records(cluster)
    assert running(cluster, active) == before
    assert_no_fence(cluster)
    check_content(cluster)
    return power_down(cluster, before.writer)


def _restart_cluster_stack(cluster: Cluster, node: str) -> None:
    guest, peer = cluster.nodes[node], cluster.nodes[failovers.other(node)]
    guest.run("systemctl stop pacemaker corosync", timeout_s=300, check=True)
    level4.wait_until("the peer sees it gone", lambda: node not in level4.status(peer).online, 180)
    guest.run("systemctl start corosync pacemaker", timeout_s=300, check=True)
    level4.wait_settled(cluster, node, resources=SERVICE)


# --- upgrade ----------------------------------------------------------------------------------------------------------


def upgrade(cluster: Cluster) -> Observed:
    """The next version of the package on the standby, then, after a move of the service, on the other node."""
    packages = debian_packages.packages_directory()
    # Until now it was only unpacked, as the lab does at each boot.
    level4.on_all(cluster, f"systemctl disable lab-product && dpkg --install {PACKAGES}/fence-halvm_*.deb")
    for guest in cluster.nodes.values():
        guest.put(f"/root/{debian_packages.SUCCESSOR}", (packages / debian_packages.SUCCESSOR).read_bytes())
    first = level4.active(cluster)
    second = failovers.other(first)
    failovers.start_writer(cluster, first)
    before = running(cluster, first)
    _upgrade(cluster.nodes[second])
    wait_records(cluster)
    assert running(cluster, first) == before
    stop_writer(cluster, first, before.writer)
    move(cluster, first)
    failovers.start_writer(cluster, second)
    before = running(cluster, second)
    _upgrade(cluster.nodes[first])
    wait_records(cluster)
    assert running(cluster, second) == before
    assert_no_fence(cluster)
    level4.wait_settled(cluster, second)
    check_content(cluster)
    assert all(version(guest) == "99" for guest in cluster.nodes.values())
    return power_down(cluster, before.writer)


def _upgrade(guest: Guest) -> None:
    """What runs goes on from memory; the restart, with the cluster running, takes the new program and the new unit."""
    pid = sidecar(guest)["pid"]
    guest.run(f"dpkg --install /root/{debian_packages.SUCCESSOR}", timeout_s=600, check=True)
    assert sidecar(guest)["pid"] == pid
    guest.run(f"systemctl restart {SIDECAR}", timeout_s=300, check=True)
    wait_feeding(guest, after_pid=pid)
    shown = guest.run(f"systemctl show --property Description --value {SIDECAR}", check=True).out.strip()
    assert shown == debian_packages.NEW_DESCRIPTION
    guest.run("systemctl is-active pacemaker corosync", check=True)


def version(guest: Guest) -> str:
    return guest.run("dpkg-query --show --showformat '${Version}' fence-halvm", check=True).out


def move(cluster: Cluster, away_from: str) -> None:
    """Moves the service as `pcs node standby` does, and lets the node be a standby afterwards."""
    guest, target = cluster.nodes[away_from], failovers.other(away_from)
    standby = f"crm_attribute --node {away_from} --name standby"
    guest.run(f"{standby} --update on", timeout_s=120, check=True)
    failovers.wait_started(cluster, [target])
    guest.run(f"{standby} --delete", timeout_s=120, check=True)
    level4.wait_applied(cluster, target)
    assert level4.active(cluster) == target


# --- another LUN ------------------------------------------------------------------------------------------------------

_EXPORT = """
set -eu
unit=/sys/kernel/config/target/core/fileio_1/lun1 backing=/run/lio/lun1.img
lun=/sys/kernel/config/target/iscsi/iqn.2026-11.lab:shared/tpgt_1/lun/lun_1
truncate -s 64M $backing
mkdir $unit
echo fd_dev_name=$backing,fd_dev_size=67108864,fd_buffered_io=1 >$unit/control
echo fa11000000000000000000001 >$unit/wwn/vpd_unit_serial
echo 1 >$unit/enable
mkdir $lun
ln -s $unit $lun/port
"""
"""As lab-target makes the first one."""


def second_lun(cluster: Cluster) -> Observed:
    """The volume group grows by a LUN while the service runs. The fence removes the victim's key from both."""
    # Fenced with off and by both proofs, so that the keys can be looked at before the victim registers again.
    reconfigured.push(cluster, *reconfigured.options(cluster, proof="all", pcmk_reboot_action="off"))
    active = level4.active(cluster)
    failovers.start_writer(cluster, active)
    before = running(cluster, active)
    cluster.storage.run(_EXPORT, check=True)
    rescan = f"iscsiadm -m session --rescan && udevadm wait --timeout=60 {SECOND_DISK}"
    level4.on_all(cluster, rescan)
    cluster.nodes[active].run(f"pvcreate {SECOND_DISK} && vgextend shared_vg {SECOND_DISK}", check=True)
    _check_both_registered(cluster)
    wait_records(cluster)
    assert running(cluster, active) == before
    assert_no_fence(cluster)
    check_content(cluster)
    stop_writer(cluster, active, before.writer)

    def repair(node: str) -> None:
        survivor = failovers.other(node)
        own = [NODES.index(survivor) + 1]
        guest = cluster.nodes[survivor]
        assert not cluster.is_powered(node)
        assert keys(guest) == keys(guest, SECOND_DISK) == own
        switch(cluster, node, "on")

    seen = plays.play(cluster, lambda node: switch(cluster, node, "off"), repair)
    assert proofs(cluster, seen.survivor) == [{"storage", "power"}]
    _check_both_registered(cluster)
    return seen


def _check_both_registered(cluster: Cluster) -> None:
    """Each sidecar finds the second LUN in its own time."""
    for guest in cluster.nodes.values():
        wait_feeding(guest, luns=2)
    for guest in cluster.nodes.values():
        assert keys(guest) == keys(guest, SECOND_DISK) == [1, 2]


PLAYS: dict[str, Play] = {
    "maintenance": maintenance,
    "upgrade": upgrade,
    "second LUN": second_lun,
}
