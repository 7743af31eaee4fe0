# SPDX-License-Identifier: Apache-2.0
"""The Debian package of the working tree, as `make deb` builds it, and one with a higher version to upgrade to."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from .places import LAB, PROJECT, digest, locked, prune, published
from .product import sources

PACKAGE, SUCCESSOR = "fence-halvm.deb", "fence-halvm-next.deb"
NEW_DESCRIPTION = "The unit of the next version"


def packages_directory() -> Path:
    """Builds, once for each state of the sources, a directory with PACKAGE and SUCCESSOR.

    The successor differs in its version and in its unit's description.
    """
    parts: list[str | Path] = [Path(__file__)]
    for path in sources():
        parts += [str(path.relative_to(PROJECT)), path]
    packages = LAB / "packages" / digest(parts)
    with locked("packages."):
        if not packages.exists():
            with tempfile.TemporaryDirectory() as temporary, published(packages) as scratch:
                built = Path(temporary) / "deb"
                _run(str(PROJECT / "packaging/build_deb.sh"), "--working-tree", str(built))
                package = next(built.glob("fence-halvm_*.deb"))
                shutil.copy(package, scratch / PACKAGE)
                _make_successor(package, Path(temporary) / "next", scratch / SUCCESSOR)
            prune(packages.parent, "*")
    return packages


def _make_successor(package: Path, tree: Path, successor: Path) -> None:
    _run("dpkg-deb", "-R", str(package), str(tree))
    for name, key, value in (
        ("DEBIAN/control", "Version: ", "Version: 99"),
        ("lib/systemd/system/halvm-watchdogd.service", "Description=", f"Description={NEW_DESCRIPTION}"),
    ):
        file = tree / name
        lines = file.read_text().splitlines()
        file.write_text("".join(f"{value if line.startswith(key) else line}\n" for line in lines))
    _run("dpkg-deb", "--root-owner-group", "-b", str(tree), str(successor))


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
