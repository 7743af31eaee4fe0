# SPDX-License-Identifier: Apache-2.0
"""Level 3: the ordinary life of a node with the sidecar under systemd: boot, reboot, rescue, upgrade, and what it waits
for. The watchdog never resets it, and afterwards it is registered and armed again."""

from collections.abc import Iterator

import pytest

from .conftest import require
from .debian_packages import NEW_DESCRIPTION, PACKAGE, SUCCESSOR
from .installed_disk import CLUSTER_UNITS, NODE, SHUTDOWN_TIMEOUT_S, STORAGE_UNITS, TIMEOUT_S, UNIT
from .installed_node import MAP, InstalledNode
from .level3 import Cluster, Link, snapshot_directory

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(1200)]

TWICE = [1, pytest.param(2, marks=pytest.mark.long)]
NOWAYOUT = "/etc/modprobe.d/nowayout.conf"


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator[InstalledNode]:
    """It has booted, and may still be starting its services."""
    require(snapshot_directory(), ("dh", "dpkg-buildpackage", "git"))
    node = InstalledNode(cluster)
    yield node
    node.close()


@pytest.mark.parametrize("time", TWICE)
def test_a_boot_after_a_power_cut(node: InstalledNode, time: int) -> None:
    """The fixture has booted once."""
    if time > 1:
        node.power_cycle()
    node.wait_feeding()
    node.assert_not_reset()


@pytest.mark.parametrize("time", TWICE)
def test_a_reboot_in_order(node: InstalledNode, time: int) -> None:
    """Pacemaker stops first, then the sidecar, and only then goes anything that the storage needs."""
    node.wait_feeding()
    node.reboot()
    node.wait_feeding()
    events = node.stop_events()
    assert ("stopped", "pacemaker.service") in events
    assert events.index(("stopped", "pacemaker.service")) < events.index(("stopping", UNIT))
    for unit in STORAGE_UNITS:
        assert events.index(("stopped", UNIT)) < events.index(("stopping", unit)), events
    assert node.guest.run("halvm-watchdogd last").out == "no self-fence is on record\n"
    node.assert_not_reset()


@pytest.mark.parametrize("time", TWICE)
def test_rescue_and_back(node: InstalledNode, time: int) -> None:
    before = node.wait_feeding()
    node.isolate("rescue.target")
    assert node.property(UNIT, "ActiveState") == "inactive"
    assert node.watchdog("state") == "inactive"
    assert node.property("pacemaker.service", "ActiveState") == "inactive"
    node.isolate("multi-user.target")
    after = node.wait_feeding(after_pid=before["pid"])
    assert [lun["name"] for lun in after["luns"]] == [MAP]  # LVM shows the map also to the unit
    node.assert_not_reset()


@pytest.mark.parametrize("package", [SUCCESSOR, pytest.param(PACKAGE, marks=pytest.mark.long)])
def test_an_upgrade_of_the_package(node: InstalledNode, package: str) -> None:
    """What runs goes on from memory, and the restart takes the new program and the new unit."""
    before = node.wait_feeding()
    node.guest.run(f"dpkg --install /root/{package}", check=True, timeout_s=600)
    after = node.wait_feeding()
    assert after["pid"] == before["pid"]
    assert after["watchdog"]["keepalives"] > before["watchdog"]["keepalives"]
    assert node.property(UNIT, "NeedDaemonReload") == "no"
    assert (node.property(UNIT, "Description") == NEW_DESCRIPTION) == (package == SUCCESSOR)
    node.guest.run(f"systemctl restart {UNIT}", check=True)
    node.wait_feeding(after_pid=before["pid"])
    node.assert_not_reset()


@pytest.mark.long
def test_a_boot_without_storage(node: InstalledNode) -> None:
    """The node joins its cluster and runs no service. When the storage is there, it is registered and armed."""
    node.power_cycle(between=lambda: node.cluster.cut(NODE, Link.STORAGE))
    try:
        state = node.wait_state("starting")
        node.wait("corosync-quorumtool -s | grep 'Quorate: *Yes'", "it is no member")
        node.wait("systemctl is-active pacemaker", "Pacemaker has not been started")
        assert not state["watchdog"]["armed"] and state["reasons"]
        assert node.property(UNIT, "ActiveState") == "active"
        units = ("open-iscsi.service", UNIT, *CLUSTER_UNITS)
        there = {unit: int(node.property(unit, "StateChangeTimestampMonotonic")) / 1e6 for unit in units}
        print({unit: f"{seconds:.1f} s" for unit, seconds in there.items()})
        assert there["corosync.service"] < there["open-iscsi.service"]  # it tries to log in for two minutes
    finally:
        node.cluster.heal(NODE, Link.STORAGE)
    node.guest.run("systemctl start open-iscsi", check=True)
    node.wait_feeding()
    node.assert_not_reset()


@pytest.mark.long
def test_a_watchdog_whose_driver_came_too_late_for_the_unit(node: InstalledNode) -> None:
    """systemd gives the devices that exist at the start. The sidecar ends (75), is started again, and has it."""
    guest = node.guest
    node.wait_feeding()
    guest.run(f"systemctl stop {UNIT} && modprobe -r i6300esb && systemctl start {UNIT}", check=True)
    try:
        state = node.wait_state("starting")
        node.wait("grep -q 'no watchdog device' /run/fence-halvm/watchdogd.json", "it misses no device")
        assert node.property(UNIT, "ActiveState") == "active"  # nothing waits for it
        guest.run("modprobe ipmi_watchdog && udevadm settle", check=True)
        watchdog = node.wait_state("keepalive", after_pid=state["pid"])["watchdog"]
        assert watchdog["armed"] and watchdog["device"] == "/dev/watchdog"
        log = guest.run(f"journalctl -b -u {UNIT} --no-pager").out
        assert "status=75" in log and "its driver came after this service" in log
        assert int(node.property(UNIT, "NRestarts")) >= 1
    finally:
        guest.run(f"systemctl stop {UNIT}; modprobe -r ipmi_watchdog; modprobe i6300esb; systemctl start {UNIT}")
    node.wait_feeding()
    node.assert_not_reset()


@pytest.mark.long
def test_reboot_and_rescue_with_nowayout(node: InstalledNode) -> None:
    """Nothing disarms the device: the stop leaves it shutdown_timeout_s, and the next start takes that back."""
    node.guest.run(f"echo options i6300esb nowayout=1 >{NOWAYOUT}", check=True)
    try:
        node.reboot()
        node.wait_feeding()
        assert node.watchdog("nowayout") == "1"
        node.isolate("rescue.target")
        assert (node.watchdog("state"), node.watchdog("timeout")) == ("active", str(SHUTDOWN_TIMEOUT_S))
        assert node.resets.wait(TIMEOUT_S + 10) is None
        node.isolate("multi-user.target")
        node.wait_feeding()
        assert node.watchdog("timeout") == str(TIMEOUT_S)
        node.reboot()
        node.wait_feeding()
    finally:
        node.guest.run(f"rm {NOWAYOUT}", check=True)
    assert f"resets this node in {SHUTDOWN_TIMEOUT_S} s" in node.guest.run(f"journalctl -b -1 -u {UNIT}").out
    node.reboot()
    node.wait_feeding()
    node.assert_not_reset()
