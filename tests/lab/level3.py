# SPDX-License-Identifier: Apache-2.0
"""Level 3: two or three nodes and their storage, each node with a BMC that powers it, in a network of their own."""

import inspect
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from . import bmc
from .enclosure import Enclosure
from .guest import Guest, GuestError, keep_disk, make_disk
from .images import build, images_directory
from .machine import Machine, incoming
from .places import LAB, digest, locked, new_run_directory, prune, published
from .product import pad, product_directory

NODES = ("serv-0001", "serv-0002")
THREE_NODES = (*NODES, "serv-0003")
_NUMBERS = dict(zip(THREE_NODES, (1, 2, 5), strict=True))
"""The last part of a node's addresses. 3 is the storage's, and 4 that of its second path."""
STORAGE = "storage"
STORAGE_ADDRESS = "10.9.1.3"
LUN_SIZE_MB = 256
DISK = "/dev/sdb"


class Link(StrEnum):
    """The three networks of a node. Each is a bridge of that name; a guest's end is the tap `<guest>.<link>`."""

    CLUSTER = "clu"
    STORAGE = "san"
    MANAGEMENT = "bmc"


_NETWORKS = tuple(Link)


def cluster_address(node: str) -> str:
    return f"10.9.0.{_NUMBERS[node]}"


def bmc_address(node: str) -> str:
    return f"10.9.2.{100 + _NUMBERS[node]}"


def _nics(guest: str, number: int, links: tuple[Link, ...]) -> tuple[str, ...]:
    arguments: list[str] = []
    for link in links:
        mac = f"52:54:00:00:{_NETWORKS.index(link):02x}:{number:02x}"
        arguments += ["-netdev", f"tap,id={link},ifname={guest}.{link},script=no,downscript=no"]
        arguments += ["-device", f"virtio-net-pci,netdev={link},mac={mac},romfile="]
    return tuple(arguments)


def _storage_machine() -> Machine:
    # One CPU, see level2.
    nics = _nics(STORAGE, 3, (Link.STORAGE,))
    return Machine(STORAGE, 320, 1, "/usr/local/sbin/lab-init", f"lab.ip=eth0:{STORAGE_ADDRESS}/24", nics)


def _node_machine(node: str, memory_mb: int = 448) -> Machine:
    number = _NUMBERS[node]
    addresses = ",".join(f"eth{i}:10.9.{i}.{number}/24" for i in range(len(_NETWORKS)))
    devices = (
        *_nics(node, number, _NETWORKS),
        *bmc.devices(9000 + number),
        # A local disk that takes the name /dev/sda, so that the shared one is /dev/sdb as on a real server.
        *("-blockdev", "null-co,node-name=local,size=16777216,read-zeroes=on"),
        *("-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=local,serial=local"),
        *("-device", "i6300esb", "-action", "watchdog=reset"),
    )
    return Machine(node, memory_mb, 1, "/sbin/init", f"lab.ip={addresses} lab.portal={STORAGE_ADDRESS}", devices)


class Node(Guest):
    """A cluster node. Its QEMU lives and dies at its BMC's word, the guest agent's socket with it."""

    def __init__(self, name: str, run: Path) -> None:
        super().__init__(name, run)
        self.bmc_address = bmc_address(name)

    def wait_booted(self, timeout_s: float = 180) -> None:
        """Returns when the node has its shared disk and the product."""
        self.wait_ready(timeout_s)
        done = self.run(f"systemctl start lab-storage lab-product && udevadm settle && test -b {DISK}")
        if done.rc:
            said = self.run("journalctl -b --no-pager -n 60 -u lab-storage -u iscsid -u lab-product; lsblk").out
            raise GuestError(f"{self.name}: no {DISK} or no product: {done.err}\n{said}")


class Cluster:
    """The running rig."""

    def __init__(self, run: Path, enclosure: Enclosure, nodes: Sequence[str] = NODES, **of_nodes: int) -> None:
        """of_nodes: memory_mb, if a node has another amount than in the snapshots."""
        self.run_directory, self.enclosure, self._of_nodes = run, enclosure, of_nodes
        self.storage = Guest(STORAGE, run / STORAGE)
        self.nodes = {name: Node(name, run / name) for name in nodes}

    def cut(self, guest: str, link: Link) -> None:
        """Takes one guest's end of one network away. The guest is not told: its carrier stays up."""
        self._ip("link", "set", f"{guest}.{link}", "down")

    def heal(self, guest: str, link: Link) -> None:
        self._ip("link", "set", f"{guest}.{link}", "up")

    def cut_bmc(self, node: str) -> None:
        """Makes a BMC silent, as one that lost its power with its node. The node and its power state stay."""
        self._ip("address", "del", f"{bmc_address(node)}/24", "dev", Link.MANAGEMENT)

    def heal_bmc(self, node: str) -> None:
        self._ip("address", "add", f"{bmc_address(node)}/24", "dev", Link.MANAGEMENT)

    def ipmitool(self, node: str, *command: str) -> str:
        """Asks a node's BMC from a place that is neither node."""
        login = ["-I", "lanplus", "-C", bmc.CIPHER_SUITE, "-U", bmc.USER, "-P", bmc.PASSWORD]
        return self.enclosure.run(["ipmitool", *login, "-H", bmc_address(node), *command]).stdout.strip()

    def is_powered(self, node: str) -> bool:
        return self.ipmitool(node, "chassis", "power", "status") == "Chassis Power is on"

    def wait_powered(self, node: str, on: bool, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while self.is_powered(node) is not on:
            if time.monotonic() > end:
                raise GuestError(f"{node}: chassis power still {'off' if on else 'on'} after {timeout_s} s")
            time.sleep(0.1)

    def activate(self, node: str) -> None:
        """Lets a node run the service: the volume group is its own and active, the file system mounted."""
        known = ",".join(f'"{name}"' for name in self.nodes)
        foreign = f"--config 'local/extra_system_ids=[{known}]'"
        owner = f"$(vgs {foreign} --noheadings -o systemid shared_vg | tr -d ' ')"
        take = f"[ {owner} = {node} ] || vgchange -y {foreign} --systemid {node} shared_vg"
        mount = "mkdir -p /srv/ha && mount /dev/shared_vg/ha_lv /srv/ha"
        self.nodes[node].run(f"({take}) && lvchange -ay shared_vg/ha_lv && {mount}", check=True)

    def deactivate(self, node: str) -> None:
        self.nodes[node].run("umount /srv/ha; vgchange -an shared_vg", check=True)

    def _ip(self, *words: str) -> None:
        self.enclosure.run(["ip", *words])

    def make_network(self) -> None:
        commands = ["link set lo up"]
        for number, link in enumerate(_NETWORKS):
            # The same address as when a snapshot was made: its guests have it in their ARP caches, for up to a minute.
            commands += [f"link add {link} address 52:54:00:00:{number:02x}:fe type bridge", f"link set {link} up"]
            commands += [f"address add 10.9.{number}.254/24 dev {link}"]
        commands += [f"address add {bmc_address(node)}/24 dev {Link.MANAGEMENT}" for node in self.nodes]
        ends = [(node, link) for node in self.nodes for link in _NETWORKS] + [(STORAGE, Link.STORAGE)]
        for guest, link in ends:
            tap = f"{guest}.{link}"
            commands += [f"tuntap add {tap} mode tap", f"link set {tap} master {link}", f"link set {tap} up"]
        script = "".join(f"{command}\n" for command in commands)
        (self.run_directory / "network").write_text(script)
        self._ip("-batch", str(self.run_directory / "network"))

    def start(self, images: Path, snapshot: Path | None, product: Path | None, *, storage: Path | None = None) -> None:
        """Starts storage and BMCs, and these the nodes: from their snapshots, or cold. storage: other images for it."""
        self.make_network()
        for name, machine in (
            (STORAGE, _storage_machine()),
            *((node, _node_machine(node, **self._of_nodes)) for node in self.nodes),
        ):
            run = self.run_directory / name
            run.mkdir()
            files = storage if storage and name == STORAGE else images
            make_disk(run, *((snapshot / f"{name}.qcow2", "qcow2") if snapshot else (files / "root.ext4", "raw")))
            if product and name != STORAGE:
                (run / "product.tar").symlink_to(product)
            else:
                pad(run / "product.tar")
            command = machine.argv(files, run)
            resume = [*command, *incoming(snapshot / f"{name}.memory")] if snapshot else None
            if name == STORAGE:
                command = resume or command
            else:
                command = bmc.write_configuration(run, bmc_address(name), 9000 + _NUMBERS[name], command, resume)
            with (run / "host.log").open("wb") as log:
                self.enclosure.start(command, log)


def kind(level: str, nodes: Sequence[str]) -> str:
    """How the names of such snapshots begin. Those of two nodes are pruned apart from those of three."""
    return level if tuple(nodes) == NODES else f"{level}-{len(nodes)}"


def snapshot_directory(nodes: Sequence[str] = NODES) -> Path:
    """Where the snapshot is, or would be."""
    machines = (_storage_machine(), *map(_node_machine, nodes))
    hardware = [word for machine in machines for word in machine.identity()]
    made_by = (_make_snapshot, keep, Cluster.make_network, Cluster.start, bmc.write_configuration)
    parts = [images_directory().name, *hardware, _MAKE_VOLUME_GROUP, *(inspect.getsource(each) for each in made_by)]
    return LAB / "snapshots" / f"{kind('level3', nodes)}-{digest(parts)}"


_MAKE_VOLUME_GROUP = f"""
pvcreate -y --setphysicalvolumesize {LUN_SIZE_MB - 64}m {DISK} && vgcreate shared_vg {DISK} &&
lvcreate -y -n ha_lv -L 96m shared_vg && mkfs.ext4 -q /dev/shared_vg/ha_lv && vgchange -an shared_vg
"""


def make_snapshot(nodes: Sequence[str] = NODES) -> Path:
    """Boots all guests, makes the volume group and keeps their memories. A snapshot that exists is left as it is."""
    snapshot = snapshot_directory(nodes)
    images = build()
    with locked(f"{kind('level3', nodes)}."):
        if not snapshot.exists():
            _make_snapshot(snapshot, images, nodes)
    return snapshot


def _make_snapshot(snapshot: Path, images: Path, nodes: Sequence[str]) -> None:
    run = new_run_directory()
    try:
        with Enclosure(network=True) as enclosure, published(snapshot) as scratch:
            cluster = Cluster(run, enclosure, nodes)
            cluster.start(images, None, None)
            cluster.storage.wait_ready()
            cluster.storage.run(f"lab-target 1 {LUN_SIZE_MB}", check=True)
            for node in cluster.nodes.values():
                node.wait_booted(180)
            cluster.nodes[NODES[0]].run(_MAKE_VOLUME_GROUP, check=True)
            keep(cluster, images, scratch)
        prune(snapshot.parent, f"{kind('level3', nodes)}-{'?' * 16}")
    finally:
        shutil.rmtree(run, ignore_errors=True)


def keep(cluster: Cluster, images: Path, into: Path) -> None:
    """Ends all guests at one moment and saves their memories and disks."""
    guests: list[Guest] = [*cluster.nodes.values(), cluster.storage]
    for guest in guests:
        guest.run("sync")
    for guest in guests:
        guest.qmp("stop")
    for guest in guests:
        guest.save_memory(into / f"{guest.name}.memory")
        guest.qmp("quit")
        keep_disk(guest.directory, images / "root.ext4", into / f"{guest.name}.qcow2")


@contextmanager
def restored(
    *, with_product: bool = True, snapshot: Path | None = None, nodes: Sequence[str] = NODES
) -> Iterator[Cluster]:
    """All nodes up and unregistered, the volume group inactive, the present product in place, until the block ends.

    snapshot: another one (level 4's). Its nodes run the product that they have; the next boot unpacks the present one.
    """
    unpack = with_product and snapshot is None
    snapshot, run = snapshot or snapshot_directory(nodes), new_run_directory()
    product = product_directory() / "product.tar" if with_product else None
    try:
        with Enclosure(network=True) as enclosure:
            cluster = Cluster(run, enclosure, nodes)
            cluster.start(images_directory(), snapshot, product)
            guests: list[Guest] = [cluster.storage, *cluster.nodes.values()]
            for guest in guests:
                guest.wait_loaded()
            for guest in guests:
                guest.qmp("cont")

            def settle(guest: Guest) -> None:
                guest.wait_ready()
                guest.wake(unpack and guest is not cluster.storage)

            with ThreadPoolExecutor(len(guests)) as pool:
                list(pool.map(settle, guests))
            yield cluster
    finally:
        shutil.rmtree(run, ignore_errors=True)
