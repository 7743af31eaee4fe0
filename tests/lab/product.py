# SPDX-License-Identifier: Apache-2.0
"""The product as a user has it, in the form in which a guest takes it in: a tar archive on a small disk.

Both .deb packages are built from the working tree. The archive has what they install, and the bytecode, which an
installation compiles: that takes a guest half a minute under TCG, and unpacking takes a fraction of a second. The
packages travel with it, in /var/lib/lab: one test installs them by dpkg. What they depend on is in the image.
"""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from . import guest_root
from .machine import PRODUCT_DISK_BYTES
from .places import LAB, PROJECT, digest, locked, prune, published

PRIVATE = "/usr/share/fence-halvm"
PYTHON = f"env PYTHONPATH={PRIVATE} /usr/bin/python3"
"""A guest's Python with the product's modules, for programs of the lab."""
PACKAGES = "/var/lib/lab"


def sources() -> list[Path]:
    """The files that the product is made of."""
    trees = [path for name in ("fencer", "agents", "exporters", "packaging") for path in (PROJECT / name).rglob("*")]
    files = [path for path in trees if path.is_file() and "__pycache__" not in path.parts]
    return [*sorted(files), PROJECT / "docs/runbook.md"]


def build_packages(into: Path) -> list[Path]:
    """Both .deb packages. Raises CalledProcessError; the end of the build's log is on stderr then."""
    command = [str(PROJECT / "packaging/build_deb.sh"), "--working-tree", str(into)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return sorted(into.glob("*.deb"))


def _stage(packages: list[Path], root: Path) -> None:
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    # In a guest /lib is a link, which a directory in the archive would replace.
    if (root / "lib").exists():
        shutil.copytree(root / "lib", root / "usr/lib", dirs_exist_ok=True, symlinks=True)
        shutil.rmtree(root / "lib")
    # By the guests' own Python: another version's bytecode would not be used.
    guest_root.run(f"python3 -m compileall -q -s /mnt -p / /mnt{PRIVATE}", shown=root)
    kept = root / PACKAGES[1:]
    kept.mkdir(parents=True)
    for package in packages:
        shutil.copy(package, kept)


def product_directory() -> Path:
    """Builds, once for each state of the sources, a directory with the packages and `product.tar`."""
    parts: list[str | Path] = [Path(__file__)]
    for path in sources():
        parts += [str(path.relative_to(PROJECT)), path]
    product = LAB / "product" / digest(parts)
    with locked("product."):
        if not product.exists():
            with tempfile.TemporaryDirectory() as staging, published(product) as scratch:
                root = Path(staging) / "root"
                packages = build_packages(Path(staging) / "deb")
                root.mkdir()
                _stage(packages, root)
                with tarfile.open(scratch / "product.tar", "w") as archive:
                    for top in sorted(root.iterdir()):
                        archive.add(top, top.name, filter=_owned_by_root)
                pad(scratch / "product.tar")
            prune(product.parent, "*", keep=20)  # a running node reads it again when it is powered on
    return product


def pad(disk: Path) -> None:
    """Brings a product disk to its fixed size: a snapshot remembers how large its disks were."""
    size = disk.stat().st_size if disk.exists() else 0
    if size > PRODUCT_DISK_BYTES:
        raise ValueError(f"{disk}: {size} bytes, the disk has {PRODUCT_DISK_BYTES}")
    with disk.open("ab") as file:
        file.truncate(PRODUCT_DISK_BYTES)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
