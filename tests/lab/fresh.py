# SPDX-License-Identifier: Apache-2.0
"""Guests on which nothing of docs/ha-lvm.md is installed: a minimal Debian with open-iscsi and sshd.

A guest has no network to a mirror: the packages that the page installs are in apt's cache, and ours in /root. Services
start when they are installed, as everywhere. The nodes know each other's SSH keys. Recommended packages are not
installed: fence-agents alone would take an emulated processor a quarter of an hour.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import images, product, recipe
from .enclosure import Enclosure
from .level3 import LUN_SIZE_MB, NODES, Cluster
from .places import CACHE, LAB, PACKAGE, digest, locked, new_run_directory, prune, published

PACKAGES = (
    "ca-certificates", "dbus", "e2fsprogs", "iproute2", "iputils-ping", "kmod", "open-iscsi", "openssh-client",
    "openssh-server", "procps", "psmisc", "python3", "qemu-guest-agent", "systemd", "systemd-sysv", "udev",
    "util-linux",
)  # fmt: skip

MEMORY_MB = 1024
"""pcs and pcsd beside Pacemaker are too much for the 448 MB of the lab's other nodes, on which pcs never runs."""

_SSH = """
set -eu
cd /root
mkdir -p -m 700 .ssh
ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519
cp .ssh/id_ed25519.pub .ssh/authorized_keys
printf 'Host serv-*\n  StrictHostKeyChecking no\n' >.ssh/config
"""


def installation() -> str:
    """The page's command that installs everything."""
    (command,) = [
        line
        for step in recipe.steps(recipe.PAGE.read_text())
        for line in step.commands.splitlines()
        if line.startswith("apt-get install ")
    ]
    return command


def directory() -> Path:
    """Where the disk of the present inputs is, or would be: kernel, initramfs and root.ext4."""
    made_by = (images.images_directory().name, product.product_directory().name, installation())
    return LAB / "fresh" / digest([Path(__file__), PACKAGE / "images.py", *made_by])


def build() -> Path:
    """The directory, built first where need be."""
    images.build()  # the product is compiled by its Python
    made = directory()
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked("fresh."):
        if not made.exists():
            with published(made) as scratch:
                images.build_apart("tests.lab.fresh", scratch)
            prune(made.parent, "*", keep=1)
    return made


def _build(out: Path) -> None:
    """Runs inside namespaces of its own."""
    root = out / "root"
    root.mkdir()
    images.bootstrap(root, PACKAGES)
    images.make_boot_files(root, out)
    images.configure(root)
    shutil.rmtree(root / "etc/corosync")  # the lab's other guests have one
    (root / "etc/target/pr").rmdir()
    images.run("chroot", root, "sh", "-c", _SSH)
    with tempfile.TemporaryDirectory() as temporary:
        for package in product.build_packages(Path(temporary)):
            shutil.copy(package, root / "root")
    _fill_cache(root)
    (root / "usr/sbin/policy-rc.d").unlink()
    images.write_disk(root, out)


def _fill_cache(root: Path) -> None:
    """apt's lists, its index of them, and the packages that the page's command needs."""
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    command = installation().replace("apt-get install", "apt-get --download-only -qq install")
    images.run("chroot", root, "sh", "-c", f"apt-get -qq update && cd /root && {command} && apt-cache gencaches")
    (root / "etc/resolv.conf").unlink()


@contextmanager
def started() -> Iterator[Cluster]:
    """Storage and both nodes, booted for the first time, the shared disk there and empty."""
    made, run = build(), new_run_directory()
    try:
        with Enclosure(network=True) as enclosure:
            cluster = Cluster(run, enclosure, memory_mb=MEMORY_MB)
            cluster.start(made, None, None, storage=images.build())
            cluster.storage.wait_ready()
            cluster.storage.run(f"lab-target 1 {LUN_SIZE_MB}", check=True)
            for node in NODES:
                cluster.nodes[node].wait_booted(400)
            yield cluster
    finally:
        shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    images.run_as_program("Builds the disk of a guest without the page's packages.", build, _build)
