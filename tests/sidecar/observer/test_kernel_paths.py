# SPDX-License-Identifier: Apache-2.0
"""The probe on files and devices of this host, and the listing on a sysfs made of directories."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fencer.sidecar.observer.kernel_paths import BlockEvents, PathLister
from fencer.sidecar.observer.probe import PROBE_BYTES, BlockProbe
from tests.rig import require_program

X, Y = "naa.6001405000000001", "naa.6001405000000002"


def test_a_probe_reads_and_reads_again(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(PROBE_BYTES))
    probe = BlockProbe(str(disk), direct=False)
    assert [probe.read() for _ in range(3)] == ["", "", ""]
    probe.close()
    assert probe.read() == ""


def test_no_device_is_a_loss_and_its_return_is_seen(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    probe = BlockProbe(str(disk), direct=False)
    assert probe.read().startswith("ENOENT")
    disk.write_bytes(bytes(PROBE_BYTES))
    assert probe.read() == ""


def test_end_of_file_is_a_loss_and_the_device_is_opened_anew(tmp_path: Path) -> None:
    """What the kernel answers for a deleted disk by a descriptor that is still open."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(PROBE_BYTES))
    probe = BlockProbe(str(disk), direct=False)
    assert probe.read() == ""
    disk.write_bytes(b"")
    assert "0 bytes" in probe.read()
    disk.unlink()
    assert probe.read().startswith("ENOENT")


def test_an_error_of_the_read_is_named(tmp_path: Path) -> None:
    assert BlockProbe(str(tmp_path), direct=False).read().startswith("EISDIR")


def _disk(root: Path, name: str, wwid: str | None, address: str) -> None:
    device = root / "devices" / name / address
    device.mkdir(parents=True)
    if wwid is not None:
        (device / "wwid").write_text(f"{wwid}\n")
    (root / "block" / name).mkdir(parents=True)
    (root / "block" / name / "device").symlink_to(device)


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    _disk(tmp_path, "sda", X, "2:0:0:0")
    _disk(tmp_path, "sdb", X, "3:0:0:0")
    _disk(tmp_path, "sdc", Y, "2:0:0:1")
    _disk(tmp_path, "sdd", "naa.600140500000000f", "4:0:0:0")
    _disk(tmp_path, "vda", X, "9:0:0:0")
    return tmp_path


def _names(lister: PathLister) -> dict[str, list[str]]:
    return {wwid: sorted(paths) for wwid, paths in lister.list().items()}


def test_every_disk_of_a_lun_is_a_path(sysfs: Path) -> None:
    lister = PathLister({X: ["sda"], Y: []}, f"{sysfs}/block")
    assert _names(lister) == {X: ["sda", "sdb"], Y: ["sdc"]}
    path = lister.list()[X]["sdb"]
    assert (path.address, path.node) == ("3:0:0:0", "/dev/sdb")


def test_what_goes_and_comes_is_seen(sysfs: Path) -> None:
    lister = PathLister({X: ["sda"]}, f"{sysfs}/block")
    before = lister.list()[X]
    (sysfs / "block/sdb/device").unlink()
    assert _names(lister) == {X: ["sda"]}
    new = sysfs / "devices/sdb/5:0:0:0"
    new.mkdir()
    (new / "wwid").write_text(X)
    (sysfs / "block/sdb/device").symlink_to(new)
    after = lister.list()[X]
    assert after["sda"] == before["sda"]
    assert after["sdb"] != before["sdb"]  # the same name, another disk


def test_a_name_that_another_lun_has_now_is_not_ours(sysfs: Path) -> None:
    lister = PathLister({X: ["sda", "sdb"]}, f"{sysfs}/block")
    assert _names(lister) == {X: ["sda", "sdb"]}
    (sysfs / "block/sdb/device").unlink()
    (sysfs / "block/sdb/device").symlink_to(sysfs / "devices/sdc/2:0:0:1")
    assert _names(lister) == {X: ["sda"]}


def test_where_the_kernel_shows_no_wwid_the_first_lookup_is_believed(sysfs: Path) -> None:
    _disk(sysfs, "sde", None, "6:0:0:0")
    assert _names(PathLister({X: ["sde"]}, f"{sysfs}/block")) == {X: ["sda", "sdb", "sde"]}


IN_A_NETWORK_OF_ITS_OWN = """
import socket, struct
from fencer.sidecar.observer.kernel_paths import BlockEvents

events = BlockEvents()
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)  # NETLINK_KOBJECT_UEVENT
kernel.bind((0, 0))

def change(times, subsystem="block"):
    for number in range(times):
        path = f"/devices/virtual/{subsystem}/sd{number}"
        words = (f"add@{path}", "ACTION=add", f"DEVPATH={path}", f"SUBSYSTEM={subsystem}", f"DEVNAME=sd{number}")
        event = "".join(f"{word}\\0" for word in words).encode()
        # struct nlmsghdr; no reserved type, NLM_F_REQUEST
        kernel.sendto(struct.pack("IHHII", 16 + len(event), 16, 1, number, 0) + event, (0, 0))

def overflow():
    events._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    change(100)

change(1)
print("one:", events.wait(5), events.wait(0))
overflow()
print("too many:", events.wait(5), events.wait(0))
change(1)
print("one:", events.wait(5), events.wait(0))
change(1, "net")
print("no block device:", events.wait(0.2))
events.wake()
print("woken:", events.wait(5), events.wait(0))
events.wake()
change(1)
print("both:", events.wait(5), events.wait(0))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sends uevents")
def test_a_burst_of_events_that_overflows_says_to_look_again() -> None:
    """In a network namespace of another user namespace: no uevent leaves it, and the machine's own do not come in."""
    require_program("unshare", "util-linux")
    command = ("unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", IN_A_NETWORK_OF_ITS_OWN)
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60)
    seen = [
        "one: True False",
        "too many: True False",
        "one: True False",
        "no block device: False",
        "woken: False False",
        "both: True False",
    ]
    assert (done.stdout.splitlines(), done.stderr) == (seen, "")


def test_events_come_within_their_time() -> None:
    assert BlockEvents().wait(0.0) is False
