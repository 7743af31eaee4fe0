# SPDX-License-Identifier: Apache-2.0
"""Level 2: one guest that is target and both initiators.

LIO serves the guest's own logical units over iSCSI to two initiator names. Each is an I_T nexus of its own on real
/dev/sdX disks, as if two nodes shared them: enough for all that concerns reservations, with no second kernel. The same
target answers on the host's loopback.
"""

import inspect
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .enclosure import Enclosure
from .guest import Guest, GuestError, make_disk
from .images import build, images_directory
from .machine import Machine, incoming
from .places import LAB, digest, locked, new_run_directory, prune, published
from .product import pad, product_directory

NODES = ("serv-0001", "serv-0002")
TARGET = "iqn.2026-11.lab:shared"
LUN_SIZE_MB = 64
MULTIPATH_NODE = NODES[0]
UDEV_LUNS = 16  # with more, udev does not get to see them: its rules take half a second a disk under TCG


def portal(node: str, path: int = 0) -> str:
    """The address over which a node's path goes, so that it can be cut alone."""
    return f"127.0.{path + 1}.{NODES.index(node) + 1}"


def _machine(port: int, counted: bool) -> Machine:
    # One CPU: two let two PERSISTENT RESERVE OUT of a race meet inside LIO, which then locks up for good.
    forward = f"user,id=host,net=10.0.2.0/24,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:3260"
    devices = (
        *("-netdev", forward, "-device", "virtio-net-pci,netdev=host,romfile="),
        # Watchdogs, whose drivers are loaded by whoever wants one. A reset ends the guest: QEMU stops, and says so.
        *("-device", "i6300esb", "-device", "ipmi-bmc-sim,id=bmc", "-device", "isa-ipmi-kcs,bmc=bmc"),
        *("-action", "watchdog=reset", "-action", "reboot=shutdown,shutdown=pause"),
    )
    return Machine("level2", 384, 1, "/usr/local/sbin/lab-init", "lab.ip=eth0:10.0.2.15/24", devices, counted)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def linked(disk: str) -> str:
    """The link for a kernel's name, /dev/lab/sdX, which lab-init makes. Any other name as it is."""
    directory, _, name = disk.rpartition("/")
    return f"/dev/lab/{name}" if directory in {"/dev", "/dev/mapper"} else disk


class Level2Guest(Guest):
    """The guest, with the names of its disks."""

    def __init__(self, run: Path, qemu: "subprocess.Popen[bytes]", port: int, shape: "Shape") -> None:
        super().__init__("level2", run, qemu)
        self.luns = shape.luns
        self.host_portal = f"127.0.0.1:{port}"
        self._disks: dict[tuple[str, str, int], str] = {}
        self.maps: list[str] = []
        """/dev/mapper/… of MULTIPATH_NODE in LUN order, where the shape has them."""

    def sd(self, node: str, lun: int, path: int = 0) -> str:
        """The disk by which a node sees a logical unit: /dev/sdX."""
        return self._disks[node, portal(node, path), lun]

    def backing(self, lun: int) -> str:
        """The file behind a logical unit: the storage side's view, coherent with what initiators wrote."""
        return f"/run/lio/lun{lun}.img"

    def login(self, node: str, path: int = 0) -> None:
        """Opens a session of the node on one more path; its disks are there on return."""
        self.run(f"lab-login {node} {portal(node, path)}", check=True, timeout_s=300)
        end = time.monotonic() + 300
        while sum(place[:2] == (node, portal(node, path)) for place in self._find_disks()) < self.luns:
            if time.monotonic() > end:
                raise GuestError(f"{node}: only {self._disks} of {self.luns} disks on path {path}")

    @contextmanager
    def udev_asleep(self, asleep: bool) -> Iterator[None]:
        """Keeps udev from looking at the disks that appear meanwhile. sysfs and /dev have them all the same."""
        if asleep:
            self.run("udevadm control --exit", check=True)
        yield
        if asleep:
            self.run("/lib/systemd/systemd-udevd --daemon", check=True)

    def logout(self, node: str, path: int = 0) -> None:
        self.run(f"iscsiadm -m node -T {TARGET} -p {portal(node, path)} --logout", check=True)
        self._find_disks()

    def cut(self, node: str, path: int = 0) -> None:
        """Lets every packet on that path vanish. Nothing tells the initiator."""
        self.run(f"ip route add blackhole {portal(node, path)}/32 table local", check=True)

    def heal(self, node: str, path: int = 0) -> None:
        self.run(f"ip route del blackhole {portal(node, path)}/32 table local", check=True)

    def join_paths(self, node: str) -> None:
        """Gives a node its second path and puts dm-multipath over both. The other node keeps its plain disks."""
        self.login(node, path=1)
        others = [self.sd(other, lun) for other in NODES if other != node for lun in range(self.luns)]
        blacklist = "|".join(Path(disk).name for disk in others)
        self.put("/etc/multipath.conf", _MULTIPATH_CONF.replace("@others@", f"^(vd|({blacklist})$)"))
        self.run("modprobe dm_multipath; multipathd </dev/null >/dev/null 2>&1", check=True)
        made = f"[ $(ls /dev/mapper/mpath* 2>/dev/null | wc -l) = {self.luns} ]"
        self.run(f"for i in {{1..300}}; do {made} && exit; sleep 0.1; done; exit 1", check=True)
        for lun in range(self.luns):
            disk = Path(self.sd(node, lun)).name
            name = self.run(f"cat /sys/block/{disk}/holders/*/dm/name", check=True).out.strip()
            self.maps.append(f"/dev/mapper/{name}")

    def forget_reservations(self) -> None:
        """Clears every registration and reservation, and the product's record of this boot, for the next test."""
        disks = " ".join(self.sd(NODES[0], lun) for lun in range(self.luns))
        others = " ".join(name for name in self._disks.values() if name not in disks.split())
        self.run(f"rm -rf /run/fence*; lab-forget {disks} -- {others}", check=True)

    def _find_disks(self) -> dict[tuple[str, str, int], str]:
        lines = self.run("udevadm settle; lab-disks", check=True, timeout_s=600).out.splitlines()
        self._disks = {}
        for line in lines:
            node, address, lun, name = line.split()
            self._disks[node, address, int(lun)] = f"/dev/{name}"
        return self._disks

    def remember_disks(self, file: Path) -> None:
        sessions = len(NODES) + bool(self.maps)
        if len(self._disks) != self.luns * sessions:
            raise GuestError(f"expected {self.luns} disks in each of {sessions} sessions: {self._disks}")
        disks = [[*place, name] for place, name in self._disks.items()]
        file.write_text(json.dumps({"disks": disks, "maps": self.maps}))

    def recall_disks(self, file: Path) -> None:
        known = json.loads(file.read_text())
        self._disks = {(node, address, lun): name for node, address, lun, name in known["disks"]}
        self.maps = known["maps"]


_MULTIPATH_CONF = """\
defaults {
  user_friendly_names yes
  find_multipaths no
  polling_interval 2
  max_polling_interval 2
  reservation_key file
}
overrides {
  no_path_retry fail
}
blacklist {
  devnode "@others@"
}
"""


@dataclass(frozen=True)
class Shape:
    """What a snapshot holds: how many logical units, whether MULTIPATH_NODE sees them through dm-multipath, and
    whether its clock counts instructions (Machine.counted)."""

    luns: int = 4
    multipath: bool = False
    counted: bool = False

    @property
    def snapshot(self) -> Path:
        """Where the snapshot of this shape is, or would be."""
        made_by = (_make_snapshot, keep, Level2Guest.login, Level2Guest.join_paths, Level2Guest.remember_disks)
        hardware = _machine(0, self.counted).identity()
        parts = [images_directory().name, *hardware, _MULTIPATH_CONF, *(inspect.getsource(each) for each in made_by)]
        return LAB / "snapshots" / f"{self.name}-{digest(parts)}"

    @property
    def name(self) -> str:
        return f"level2-{self.luns}{'-multipath' if self.multipath else ''}{'-counted' if self.counted else ''}"


DEFAULT_SHAPES = (Shape(4), Shape(4, multipath=True), Shape(64))


def make_snapshot(shape: Shape) -> Path:
    """Boots the guest, makes its disks and keeps its memory. A snapshot that exists is left as it is."""
    snapshot = shape.snapshot
    images = build()
    with locked(f"{shape.name}."):
        if not snapshot.exists():
            _make_snapshot(shape, snapshot, images)
    return snapshot


def _make_snapshot(shape: Shape, snapshot: Path, images: Path) -> None:
    run = new_run_directory()
    try:
        with Enclosure(network=False) as enclosure, published(snapshot) as scratch:
            make_disk(run, images / "root.ext4", "raw")
            pad(run / "product.tar")
            port = _free_port()
            with (run / "qemu.log").open("wb") as log:
                qemu = enclosure.start(_machine(port, shape.counted).argv(images, run), log)
            guest = Level2Guest(run, qemu, port, shape)
            guest.wait_ready()
            guest.run(f"lab-target {shape.luns} {LUN_SIZE_MB}", check=True)
            with guest.udev_asleep(shape.luns > UDEV_LUNS):
                for node in NODES:
                    guest.login(node)
            if shape.multipath:
                guest.join_paths(MULTIPATH_NODE)
            keep(guest, scratch)
        prune(snapshot.parent, f"{shape.name}-{'?' * 16}")
    finally:
        shutil.rmtree(run, ignore_errors=True)


def keep(guest: Level2Guest, snapshot: Path) -> None:
    """Stops a guest for good and puts into a directory what restores it."""
    guest.remember_disks(snapshot / "disks.json")
    guest.qmp("stop")
    guest.save_memory(snapshot / "memory")
    guest.qmp("quit")
    shutil.copy(guest.directory / "root.qcow2", snapshot / "root.qcow2")


@contextmanager
def restored(shape: Shape, *, with_product: bool = True, snapshot: Path | None = None) -> Iterator[Level2Guest]:
    """A guest as it was when its snapshot was made, with the present product in it. Gone when the block ends.

    snapshot: another than the shape's own, made by keep().
    """
    snapshot, run = snapshot or shape.snapshot, new_run_directory()
    try:
        with Enclosure(network=False) as enclosure:
            make_disk(run, snapshot / "root.qcow2", "qcow2")
            if with_product:
                (run / "product.tar").symlink_to(product_directory() / "product.tar")
            else:
                pad(run / "product.tar")
            port = _free_port()
            command = [*_machine(port, shape.counted).argv(images_directory(), run), *incoming(snapshot / "memory")]
            with (run / "qemu.log").open("wb") as log:
                qemu = enclosure.start(command, log)
            guest = Level2Guest(run, qemu, port, shape)
            guest.recall_disks(snapshot / "disks.json")
            guest.wait_loaded()
            guest.qmp("cont")
            guest.wait_ready()
            guest.wake(with_product)
            yield guest
    finally:
        shutil.rmtree(run, ignore_errors=True)
