# SPDX-License-Identifier: Apache-2.0
"""What went wrong for other agents, put to ours on a real LIO target through SG_IO. The plain cases are elsewhere."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from .agent import STATE, Caller, caller, generation, keys, reservation, unfenced, write
from .level2 import NODES, Level2Guest
from .rows import further

A, B = NODES
EBADE = "Invalid exchange"
PATIENT = "--deadline=100"  # where time is not the question: the guest's CPU is emulated and may be shared
REMEDY = "run 'on' for this node (unfence) first"

pytestmark = pytest.mark.timeout(400)


def _relogin(guest: Level2Guest, node: str) -> Caller:
    guest.logout(node)
    guest.login(node)
    return caller(guest, node)


def _persists(guest: Level2Guest, disk: str) -> bool:
    """PTPL_A: the registrations survive a power loss of the target."""
    said = guest.run(f"sg_persist -n -i -c {disk}", check=True).out
    return "(PTPL_A): 1" in said


def test_a_new_login_is_repaired_by_unfencing_and_not_during_a_fence(guest: Level2Guest) -> None:
    """The key is listed for the old I_T nexus; on the new one PREEMPT conflicts (fence-agents #517, #529, #558)."""
    unfenced(guest)
    a = _relogin(guest, A)
    before = generation(guest, a.disks[0])
    refused = a.call("off", B, PATIENT)
    assert refused.rc == 1
    assert REMEDY in refused.err
    assert generation(guest, a.disks[0]) == before
    assert keys(guest, a.disks[0]) == ["a1", "b1"]
    assert a.call("on", A, PATIENT).rc == 0
    assert write(guest, a.disks[0]) == ""
    assert _persists(guest, a.disks[0])
    fenced = a.call("off", B, PATIENT)
    assert fenced.rc == 0, fenced
    assert set(keys(guest, a.disks[0])) == {"a1"}
    assert EBADE in write(guest, guest.sd(B, 0))


def test_a_node_fenced_while_it_was_logged_out_stays_out(guest: Level2Guest) -> None:
    _, b = unfenced(guest)
    guest.logout(A)
    assert b.call("off", A, PATIENT).rc == 0
    guest.login(A)
    a = caller(guest, A)
    before = generation(guest, b.disks[0])
    lost = a.call("off", B, PATIENT)
    assert lost.rc == 1
    assert "the fence race is lost" in lost.err
    refused = a.call("on", A, PATIENT)
    assert refused.rc == 1
    assert "this node was fenced" in refused.err
    assert generation(guest, b.disks[0]) == before
    assert keys(guest, b.disks[0]) == ["b1"]
    assert EBADE in write(guest, a.disks[0])


@pytest.mark.parametrize("written", ["0X00000000000000B1", *further("B1", "0xb1", "000000b1")])
def test_a_key_is_a_number(guest: Level2Guest, written: str) -> None:
    """fence_scsi says "Already OFF" when the same number is written in another way."""
    a, _ = unfenced(guest)
    result = a.call("off", B, f"--key={written}", PATIENT)
    assert (result.rc, result.out) == (0, "Success: Powered OFF\n")
    assert keys(guest, a.disks[0]) == ["a1"]


@pytest.mark.parametrize("torn", ['{"boot_id": "', *further("", "null", "[1]")])
def test_a_torn_marker_neither_kills_nor_resurrects(guest: Level2Guest, torn: str) -> None:
    """fence_scsi dies of a TypeError, fence_mpath of a KeyError."""
    a, b = unfenced(guest)
    guest.put(f"{STATE}/{A}/registered.json", torn)
    assert a.call("monitor", B, PATIENT).rc == 0
    assert a.call("on", A, PATIENT).rc == 0  # the key is listed: nobody has preempted it
    guest.put(f"{STATE}/{A}/registered.json", torn)
    assert b.call("off", A, PATIENT).rc == 0
    refused = a.call("on", A, PATIENT)
    assert refused.rc == 1
    assert "this node was fenced" in refused.err
    assert keys(guest, b.disks[0]) == ["b1"]


def test_a_marker_of_an_earlier_boot_is_none(guest: Level2Guest) -> None:
    a, b = unfenced(guest)
    assert b.call("off", A, PATIENT).rc == 0
    marker = json.loads(guest.get(f"{STATE}/{A}/registered.json"))
    guest.put(f"{STATE}/{A}/registered.json", json.dumps(marker | {"boot_id": "an-earlier-one"}))
    assert a.call("on", A, PATIENT).rc == 0
    assert write(guest, a.disks[0]) == ""


_REBUILD = """
set -eu
unit=/sys/kernel/config/target/core/fileio_1/lun{lun}
group=/sys/kernel/config/target/iscsi/iqn.2026-11.lab:shared/tpgt_1
serial=$(sed 's/.*: //' $unit/wwn/vpd_unit_serial)
rm $group/lun/lun_{lun}/port; rmdir $group/lun/lun_{lun} $unit
mkdir $unit
echo "fd_dev_name={file},fd_dev_size=$(stat -c %s {file}),fd_buffered_io=1" >$unit/control
echo $serial >$unit/wwn/vpd_unit_serial
echo 1 >$unit/enable
mkdir $group/lun/lun_{lun}
ln -s $unit $group/lun/lun_{lun}/port
"""


def test_a_target_that_lost_its_registrations(guest: Level2Guest) -> None:
    """A logical unit made anew under the same name: no keys, no reservation, the PR generation starts again."""
    lun = 3
    a, b = unfenced(guest, (lun,))
    guest.run(_REBUILD.format(lun=lun, file=guest.backing(lun)), check=True)
    assert keys(guest, a.disks[0]) == []
    fenced = a.call("off", B, PATIENT)
    assert fenced.rc == 1
    assert write(guest, b.disks[0]) == ""  # nothing stopped it, so success would have been a lie
    assert a.call("monitor", B, PATIENT).rc == 1
    assert a.call("on", A, PATIENT).rc == 0  # the target forgot everybody, not only us
    assert keys(guest, a.disks[0]) == ["a1"]
    # From now on A's `off` takes B's absence for proof. So B may not come back, although nobody preempted it.
    refused = b.call("on", B, PATIENT)
    assert refused.rc == 1
    assert "--re-register" in refused.err
    assert a.call("off", B, PATIENT).out == "Success: Already OFF\n"
    assert EBADE in write(guest, b.disks[0])
    assert b.call("on", B, "--re-register", PATIENT).rc == 0
    assert write(guest, b.disks[0]) == ""


def test_unit_attentions_of_a_reset_and_of_a_preempt_at_once(guest: Level2Guest) -> None:
    a, b = unfenced(guest, (0, 1))
    guest.run(f"sg_reset --device {b.disks[0]} && sg_reset --device {a.disks[1]}", check=True)
    third = "sg_persist -n -o -{} {} " + b.disks[0]
    guest.run(third.format("I", "-S 0xc1") + f" && {third.format('G', '-K 0xc1 -S 0xb1')}", check=True)
    result = a.call("off", B, PATIENT)
    assert result.rc == 0, result
    for disk in a.disks:
        assert keys(guest, disk) == ["a1"]
    lost = b.call("off", A, PATIENT)  # its first answers are the reset's and the preempt's unit attentions
    assert lost.rc == 1
    assert "the fence race is lost" in lost.err


@pytest.fixture
def nowhere_to_keep_registrations(guest: Level2Guest) -> Iterator[None]:
    guest.run("mv /etc/target/pr /etc/target/pr.away; mv /var/target/pr /var/target/pr.away", check=True)
    yield
    guest.run("mv /etc/target/pr.away /etc/target/pr; mv /var/target/pr.away /var/target/pr", check=True)


def test_a_target_without_a_place_for_aptpl_is_named(guest: Level2Guest, request: pytest.FixtureRequest) -> None:
    """LIO then answers each REGISTER with 2/0800, after it has executed it."""
    a, b = unfenced(guest)
    request.getfixturevalue("nowhere_to_keep_registrations")
    refused = b.call("on", B, PATIENT)
    assert refused.rc == 1
    assert "/etc/target/pr" in refused.err
    assert a.call("off", B, PATIENT).rc == 0  # a fence registers nobody, so it is not held up
    assert EBADE in write(guest, b.disks[0])


def test_udevd_is_not_needed(guest: Level2Guest) -> None:
    a, b = unfenced(guest)
    wwn = "wwn-0x" + guest.run(f"cat /sys/block/{a.disks[0][5:]}/device/wwid", check=True).out.strip()[4:]
    guest.run("udevadm control --exit && rm -rf /run/udev/data.away && mv /run/udev/data /run/udev/data.away")
    try:
        assert a.call("monitor", B, PATIENT).rc == 0
        assert a.call("off", B, PATIENT).rc == 0
        assert EBADE in write(guest, b.disks[0])
        # Both nodes' disks are in this one machine, so a WWID names a LUN with two paths here.
        seen = Caller(guest, A, [wwn]).call("status", A, PATIENT)
        assert seen.rc == 0, seen
    finally:
        guest.run("mv /run/udev/data.away /run/udev/data; /lib/systemd/systemd-udevd --daemon", check=True)


_LVM = """
set -e
mkdir -p /run/lab/lvm
echo 'devices {{ global_filter = [ {accept}, "r|.*|" ] }} global {{ system_id_source = "none" }}' >/run/lab/lvm/lvm.conf
export LVM_SYSTEM_DIR=/run/lab/lvm
vgcreate -q -y race_vg {disks}
lvcreate -q -y -Wn -n ha_lv -l 100%FREE race_vg
"""


_FENCE_GROUP = (
    f"LVM_SYSTEM_DIR=/run/lab/lvm fence_halvm -v -o off -n {B} --vg=race_vg "
    f"--local-node={A} --state-dir={STATE}/{A} --key=b1 --local-key=a1 {PATIENT}"
)


def _assert_isolated_by_group(guest: Level2Guest, b: Caller) -> None:
    result = guest.run(_FENCE_GROUP)
    assert result.rc == 0, result
    assert "gone from 2 LUNs" in result.err
    for disk in b.disks:
        assert EBADE in write(guest, disk)


def test_a_volume_group_stands_for_its_disks(guest: Level2Guest) -> None:
    a, b = unfenced(guest, (0, 1))
    accept = ", ".join(f'"a|^{disk}$|"' for disk in a.disks)
    guest.run(_LVM.format(accept=accept, disks=" ".join(a.disks)), check=True)
    try:
        _assert_isolated_by_group(guest, b)
    finally:
        guest.run("LVM_SYSTEM_DIR=/run/lab/lvm vgremove -q -y -f race_vg")


def test_an_array_that_lacks_a_member_proves_nothing(guest: Level2Guest) -> None:
    """The kernel shows only the members that are there; the other node may write to the one that is missing."""
    a, b = unfenced(guest, (0, 1))
    create = f"mdadm --create /dev/md0 --run --force --level=1 --raid-devices=2 --metadata=1.2 {a.disks[0]}"
    guest.run(f"modprobe raid1 && yes | {create} missing", check=True)
    try:
        guest.run(_LVM.format(accept='"a|^/dev/md0$|"', disks="/dev/md0"), check=True)
        result = guest.run(_FENCE_GROUP)
        assert result.rc == 1, result
        assert "/dev/md0: array md0 lacks 1 of its members" in result.err
        assert write(guest, b.disks[0]) == ""
        guest.run(f"mdadm /dev/md0 --add {a.disks[1]} && mdadm --wait /dev/md0", timeout_s=600)
        _assert_isolated_by_group(guest, b)
    finally:
        guest.run(
            "export LVM_SYSTEM_DIR=/run/lab/lvm; vgremove -q -y -f race_vg; mdadm --stop /dev/md0; "
            f"mdadm --zero-superblock {' '.join(a.disks)}"
        )


_MEASURE = """
import json, subprocess, sys, time
began = time.monotonic()
agent = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
output = agent.stdout.read().decode()
print(json.dumps({"rc": agent.wait(), "seconds": time.monotonic() - began, "output": output}))
"""


class _Measured(NamedTuple):
    """One call. said_s: how long it took, by its own last word of it; seconds: until the end of its output."""

    rc: int
    seconds: float
    output: str

    @property
    def said_s(self) -> float:
        return float(re.findall(r"(?:, in |^fence_halvm: +)([0-9.]+) s\b", self.output, re.MULTILINE)[-1])

    @property
    def around_s(self) -> float:
        return self.seconds - self.said_s


def _measured(guest: Level2Guest, command: str) -> _Measured:
    done = guest.run(f"python3 /run/lab/measure.py {command.removeprefix('exec ')}", check=True)
    return _Measured(**json.loads(done.out))


def test_a_dead_link_does_not_hold_the_agent(guest: Level2Guest) -> None:
    """fence_scsi's timeout fired at 2 s and the process lived for 12 s, waiting for a child in state D.

    The time is taken in the guest, to the end of the agent's output: a caller that reads it to EOF waits as long. What
    an interpreter's start and end take on this machine at this moment, a call on the healthy link tells.
    """
    deadline_s = 4
    a, b = unfenced(guest, (0, 1))
    guest.put("/run/lab/measure.py", _MEASURE)
    around_s = _measured(guest, a.command("monitor", B, PATIENT, "-v")).around_s
    guest.cut(A)
    try:
        measured = _measured(guest, a.command("off", B, f"--deadline={deadline_s}", "-v"))
        held = guest.run("ps -C fence_halvm -o stat=").out.split()
    finally:
        guest.heal(A)
    assert measured.rc == 1
    assert measured.said_s < deadline_s + 1, measured
    assert measured.around_s < 2 * around_s + 3, measured
    assert all(state.startswith("D") for state in held), held  # nothing but what the kernel does not let go
    guest.run("for i in {1..300}; do pgrep -x fence_halvm >/dev/null || exit 0; sleep 0.1; done; exit 1", check=True)
    guest.run(f"for i in {{1..150}}; do dd if={a.disks[1]} of=/dev/null count=1 iflag=direct && exit; sleep 0.2; done")
    assert keys(guest, b.disks[0]) == ["a1", "b1"]
    assert "registrants only" in reservation(guest, b.disks[0])
