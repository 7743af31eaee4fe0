# SPDX-License-Identifier: Apache-2.0
"""The lab is what it says: the tests of the product rest on these."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .level2 import NODES, Level2Guest, portal
from .level3 import DISK, Cluster, Link
from .places import PROJECT
from .product import PACKAGES

A, B = NODES
WRITE = "dd if=/dev/zero of={} bs=4096 count=1 oflag=direct"


def test_two_initiator_names_are_two_nexuses(guest: Level2Guest) -> None:
    guest.forget_reservations()
    a, b = guest.sd(A, 0), guest.sd(B, 0)
    for disk, key in ((a, "0xa1"), (b, "0xb1")):
        guest.run(f"sg_persist -n -o -I -S {key} {disk}", check=True)
    status = guest.run(f"sg_persist -n -i -s {b}", check=True).out
    assert "0xa1" in status
    assert "0xb1" in status
    assert f"iqn.2026-11.lab:{A}" in status
    assert f"iqn.2026-11.lab:{B}" in status


def test_a_preempted_node_writes_no_more(guest: Level2Guest) -> None:
    guest.forget_reservations()
    a, b = guest.sd(A, 1), guest.sd(B, 1)
    setup = (
        f"sg_persist -n -o -I -S 0xa1 {a} && sg_persist -n -o -I -S 0xb1 {b} && sg_persist -n -o -R -T 5 -K 0xa1 {a}"
    )
    guest.run(setup, check=True)
    guest.run(WRITE.format(b), check=True)
    guest.run(f"sg_persist -n -o -A -T 5 -K 0xa1 -S 0xb1 {a}", check=True)
    assert "Invalid exchange" in guest.run(WRITE.format(b)).err  # EBADE
    guest.run(WRITE.format(a), check=True)


def test_forgetting_leaves_nothing(guest: Level2Guest) -> None:
    guest.run(f"sg_persist -n -o -I -S 0xa1 {guest.sd(A, 2)}", check=True)
    guest.forget_reservations()
    for node in NODES:
        assert "NO registered" in guest.run(f"sg_persist -n -i -k {guest.sd(node, 2)}", check=True).out


def test_the_product_is_installed(guest: Level2Guest) -> None:
    assert guest.run("/usr/sbin/fence_halvm -o metadata", check=True).out.startswith("<?xml")


@pytest.mark.slow
def test_the_packages_install_with_what_the_guest_has(guest: Level2Guest) -> None:
    """By dpkg, which checks what they depend on. In other tests what they install was unpacked beforehand."""
    guest.run(f"dpkg -i {PACKAGES}/*.deb", timeout_s=400, check=True)
    assert guest.run("dpkg -V fence-halvm fence-halvm-exporter", check=True).out == ""
    assert guest.run("/usr/sbin/fence_halvm -o metadata", check=True).out.startswith("<?xml")


def test_a_cut_path_hangs_and_comes_back(guest: Level2Guest) -> None:
    read = f"timeout 30 dd if={guest.sd(B, 3)} of=/dev/null bs=4096 count=1 iflag=direct"
    guest.run(read, check=True)
    guest.cut(B)
    try:
        started = time.monotonic()
        assert guest.run(read).rc != 0
        assert time.monotonic() - started > 2
    finally:
        guest.heal(B)
    for _ in range(40):
        if guest.run(read).rc == 0:
            break
        time.sleep(0.5)
    guest.run(read, check=True)


def test_a_record_that_a_power_cut_has_emptied_keeps_no_disk_away(guest: Level2Guest) -> None:
    guest.login(A, 1)
    guest.logout(A, 1)
    record = f"/etc/iscsi/nodes/*/{portal(A, 1)},*"
    guest.run(f"ls {record} && truncate --size=0 {record}", check=True)
    guest.login(A, 1)
    guest.logout(A, 1)


def test_files_go_in_and_out(guest: Level2Guest) -> None:
    content = os.urandom(200_000)
    guest.put("/run/lab/content", content)
    assert guest.get("/run/lab/content") == content


def test_the_nodes_share_one_disk_by_the_name_sdb(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.run(f"test -b {DISK} && test -c /dev/ipmi0 && test -c /dev/watchdog0", check=True)
    one, two = cluster.nodes.values()
    one.run(f"printf 'from the other node' | dd of={DISK} bs=512 seek=500000 conv=fsync", check=True)
    seen = two.run(f"dd if={DISK} bs=512 skip=500000 count=1 iflag=direct status=none | tr -d '\\0'", check=True)
    assert seen.out == "from the other node"


def test_the_volume_group_moves(cluster: Cluster) -> None:
    for node in cluster.nodes:
        cluster.activate(node)
        cluster.deactivate(node)


def test_the_clocks_keep_pace_with_the_host_s(guest: Level2Guest, cluster: Cluster) -> None:
    """A guest whose clock runs ten times too fast meets all its deadlines too early."""
    guests = (guest, cluster.storage, *cluster.nodes.values())
    before_s, leads_s = time.monotonic(), [each.clock_lead_s() for each in guests]
    time.sleep(4)
    gained_s = [each.clock_lead_s() - lead_s for each, lead_s in zip(guests, leads_s, strict=True)]
    assert gained_s == pytest.approx([0] * len(guests), abs=(time.monotonic() - before_s) / 10)


@pytest.mark.parametrize("link", list(Link))
def test_one_network_is_cut_alone(cluster: Cluster, link: Link) -> None:
    node = cluster.nodes[A]
    there = {Link.CLUSTER: "10.9.0.2", Link.STORAGE: "10.9.1.3", Link.MANAGEMENT: "10.9.2.102"}
    ping = {each: f"ping -c 1 -W 1 {address}" for each, address in there.items()}
    cluster.cut(A, link)
    try:
        assert {each for each in Link if node.run(ping[each]).rc != 0} == {link}
    finally:
        cluster.heal(A, link)
    node.run(ping[link].replace("-c 1", "-c 10"), check=True)  # the failed address resolution is remembered for a while


def test_a_silent_bmc_leaves_its_node_alone(cluster: Cluster) -> None:
    ping = "ping -c 3 -W 1 {}"
    cluster.cut_bmc(B)
    try:
        assert cluster.nodes[A].run(ping.format(cluster.nodes[B].bmc_address)).rc != 0
        cluster.nodes[A].run(ping.format("10.9.0.2"), check=True)
    finally:
        cluster.heal_bmc(B)
    assert cluster.is_powered(B)


@pytest.mark.long  # each fence at level 3 cuts power, too, and boots again
def test_chassis_power_is_real(cluster: Cluster) -> None:
    cluster.ipmitool(B, "chassis", "power", "off")
    cluster.wait_powered(B, on=False)
    assert not cluster.nodes[B].is_running()
    assert cluster.nodes[A].run("ping -c 1 -W 1 10.9.0.2").rc != 0
    cluster.ipmitool(B, "chassis", "power", "on")
    cluster.wait_powered(B, on=True)
    cluster.nodes[B].wait_booted()
    cluster.nodes[B].run("fence_halvm -o metadata", check=True)


_INTERRUPTED = """
import time
def test_interrupted(guest, cluster):
    print("RUNNING", guest.directory, cluster.run_directory, flush=True)
    time.sleep(60)
"""


@pytest.mark.long  # it starts each level once more
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.usefixtures("guest", "cluster")  # where these are skipped, so is this
def test_nothing_is_left_of_an_interrupted_run(ending: signal.Signals, tmp_path: Path) -> None:
    module = tmp_path / "test_interrupted.py"
    module.write_text(_INTERRUPTED)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-c", os.devnull, "-p", "tests.lab.conftest", str(module)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        line = next((line for line in run.stdout if "RUNNING" in line), "")
        directories = line.partition("RUNNING ")[2].split()
        assert len(directories) == 2
        assert all(map(_processes_that_name, directories))
        run.send_signal(ending)
        run.stdout.read()
    end = time.monotonic() + 30
    while any(_processes_that_name(each) or Path(each).exists() for each in directories) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(_processes_that_name, directories))
    assert not any(Path(each).exists() for each in directories)
    mounts = Path("/proc/self/mounts").read_text()
    assert not any(directory in mounts for directory in directories)


def _processes_that_name(directory: str) -> list[str]:
    """The command lines that mention a run's directory: its QEMUs and BMCs."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        if directory in command and "leash.py" not in command:  # that one waits to remove the directory
            found.append(command)
    return found
