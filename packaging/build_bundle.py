#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes an archive from which the programs are installed without a network (make bundle).

In it: our wheel, the wheels of all that it needs for this Python and machine, and requirements.txt with their hashes.
Two bundles of one commit are alike as long as PyPI serves the same versions.
"""

import gzip
import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
BUILD = PROJECT / "build" / "bundle"
INSTALL = """Install fence-halvm from this directory, as root; no network is needed. For Python {python} on {machine}.

    python3 -m venv /opt/fence-halvm
    /opt/fence-halvm/bin/pip install --no-index --find-links . --require-hashes -r requirements.txt
    ln -s /opt/fence-halvm/bin/{{fence_halvm,halvm-watchdogd,halvmctl,halvm-exporter}} /usr/sbin/
    cp /opt/fence-halvm/share/fence-halvm/halvm-*.service /etc/systemd/system/
    cp -r /opt/fence-halvm/share/{{man,bash-completion,zsh}} /usr/local/share/

The distribution has to have: libsgutils2 (Debian: sg3-utils, Fedora: sg3_utils-libs), LVM's tools for vg=, and libiscsi
where LUNs are given as iscsi:// URLs.
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT).stdout


def name_and_version(wheel: Path) -> tuple[str, str]:
    """PEP 427: the first two parts of a wheel's name."""
    name, version = wheel.name.split("-")[:2]
    return name.replace("_", "-").lower(), version


def requirements(wheels: list[Path]) -> str:
    """One line a wheel, with its hash, as pip's hash-checking mode wants it."""
    lines = []
    for wheel in wheels:
        name, version = name_and_version(wheel)
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return "".join(sorted(lines))


def pack(target: Path, files: dict[str, bytes], moment: int) -> None:
    """A .tar.gz that depends on nothing but its files and the moment that is given."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=moment, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(files[name]), moment, 0o644
            archive.addfile(entry, io.BytesIO(files[name]))


def main() -> None:
    moment = int(run("git", "log", "-1", "--format=%ct"))
    os.environ["SOURCE_DATE_EPOCH"] = str(moment)
    subprocess.run(["rm", "-rf", str(BUILD)], check=True)
    wheels_directory = BUILD / "wheels"
    wheels_directory.mkdir(parents=True)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels_directory), f"{PROJECT}[exporter]")
    wheels = sorted(wheels_directory.glob("*.whl"))
    version = dict(map(name_and_version, wheels))["fence-halvm"]
    python, machine = platform.python_version(), platform.machine()
    top = f"fence-halvm-{version}-python{python.rpartition('.')[0]}-{machine}"
    files = {f"{top}/{wheel.name}": wheel.read_bytes() for wheel in wheels}
    files[f"{top}/requirements.txt"] = requirements(wheels).encode()
    files[f"{top}/INSTALL"] = INSTALL.format(python=python.rpartition(".")[0], machine=machine).encode()
    archive = BUILD / f"{top}.tar.gz"
    pack(archive, files, moment)
    sys.stdout.write(f"{archive.relative_to(PROJECT)}: {len(wheels)} wheels, {archive.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
