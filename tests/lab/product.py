"""The product as a user would have it, in the form in which a guest takes it in: a tar archive on a small disk.

The image already holds a virtual environment in /opt/fence-halvm with what the product requires. Here the working
tree's wheel is built and installed, by pip, into a staging directory under the same path. A guest unpacks that in a
fraction of a second, where pip itself would take ten under TCG.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from .images import download_wheels
from .machine import PRODUCT_DISK_BYTES
from .places import LAB, PROJECT, digest, locked, prune, published

PREFIX = "opt/fence-halvm"


def _sources() -> list[Path]:
    trees = [path for name in ("fencer", "agents", "exporters", "packaging") for path in (PROJECT / name).rglob("*")]
    files = [path for path in trees if path.is_file() and "__pycache__" not in path.parts]
    return [*sorted(files), PROJECT / "pyproject.toml", PROJECT / "README.md"]


def _build_wheel(into: Path) -> Path:
    # Build isolation, but from the cache: a test run asks no registry.
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(download_wheels())}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(into), str(PROJECT)]
    subprocess.run(command, env=offline, check=True, stdin=subprocess.DEVNULL)
    return next(into.glob("*.whl"))


def _stage(wheel: Path, root: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed"]
    command += ["--no-warn-script-location", "--root", str(root), "--prefix", f"/{PREFIX}", str(wheel)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    sbin = root / "usr/sbin"
    sbin.mkdir(parents=True)
    for script in (root / PREFIX / "bin").iterdir():
        # pip wrote the interpreter that it ran under: the host's.
        first, _, rest = script.read_text().partition("\n")
        assert first.startswith("#!"), f"{script.name}: no interpreter line"
        script.write_text(f"#!/{PREFIX}/bin/python3\n{rest}")
        (sbin / script.name).symlink_to(f"/{PREFIX}/bin/{script.name}")


def product_directory() -> Path:
    """Builds, once for each state of the sources, a directory with the wheel and `product.tar`."""
    parts: list[str | Path] = []
    for path in _sources():
        parts += [str(path.relative_to(PROJECT)), path]
    product = LAB / "product" / digest(parts)
    with locked("product."):
        if not product.exists():
            with tempfile.TemporaryDirectory() as staging, published(product) as scratch:
                root = Path(staging)
                _stage(_build_wheel(scratch), root)
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
