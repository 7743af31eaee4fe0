# SPDX-License-Identifier: Apache-2.0
"""Plays this host's tests in a minimal Debian of the next release, with its Python and the one that comes after it.

``python -m tests.next_debian WHAT [pytest's arguments]``, as root. WHAT is a Python of that Debian, for PyPI's newest
libraries, or ``distribution``, for its own Python and libraries (`make test-forky`, docs/packaging.md).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.images import host_mirror
from tests.lab.places import LAB, digest, locked, prune, published
from tests.rig.leash import tie_to_this_process

PROJECT = Path(__file__).resolve().parents[1]
SUITE = "forky"
SCRIPT = "trixie"
"""What debootstrap is to do. Debian 12's does not know the suite."""
PACKAGE_LISTS = (PROJECT / "tests/host-packages.txt", PROJECT / "tests/distribution-packages.txt")
RENAMED = {
    "libsgutils2-1.46-2": "libsgutils2-1.48",
    # There it brings 400 packages along.
    "fence-agents": "fence-agents-common fence-agents-ipmilan fence-agents-scsi",
}
FURTHER = ("ca-certificates", "git", "python3", "python3.15", "python3.15-venv")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Of this host, which reaches its package index with them."""

# A testing suite's Release file is valid for a week; a mirror may be older.
_BUILD = """
set -euo pipefail
root=$0
within() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
debootstrap --variant=minbase SUITE "$root" MIRROR SCRIPT >&2
printf '#!/bin/sh\\nexit 101\\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$root/etc/resolv.conf"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/tests"
cat >"$root/etc/apt/apt.conf.d/99tests" <<END
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
END
echo 'deb MIRROR SUITE main' >"$root/etc/apt/sources.list"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
within apt-get -qq update
within apt-get -qq -y -o Dpkg::Use-Pty=0 install PACKAGES >&2
within apt-get -qq clean
"""

# An overlay in memory above the root. The network is the host's: a test builds a wheel. systemd would make corosync's
# directory.
_PLAY = """
set -euo pipefail
root=$0 own=$1 project=$2 python=$3 venv=$4; shift 4
mount -t tmpfs -o mode=755 tmpfs "$own"
mkdir "$own/upper" "$own/work" "$own/all"
mount -t overlay -o "lowerdir=$root,upperdir=$own/upper,workdir=$own/work" overlay "$own/all"
cp /etc/resolv.conf "$own/all/etc/resolv.conf"
printf "127.0.0.1 localhost\\n" >"$own/all/etc/hosts"
if [ -f AUTHORITIES ]; then cat AUTHORITIES >"$own/all/etc/ssl/certs/ca-certificates.crt"; fi
mkdir -p "$own/all/src" "$own/all/var/lib/corosync"
cd "$project"
git ls-files -z --cached --others --exclude-standard |
  tar --null --ignore-failed-read -T - -c | tar -x -C "$own/all/src"
mount -t proc proc "$own/all/proc"
mount --rbind /sys "$own/all/sys"
mount --rbind /dev "$own/all/dev"
mount -t tmpfs tmpfs "$own/all/dev/shm"
variables=(env --chdir /src HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin)
within() { chroot "$own/all" "${variables[@]}" "$@"; }
within "$python" -m venv $venv /src/.venv
within .venv/bin/pip install --quiet --disable-pip-version-check -e '.[dev]' hatchling
if [ "$venv" ]; then within .venv/bin/python -m tests.libraries; fi
within .venv/bin/python --version
cd "$own/all"
pivot_root . mnt  # not by chroot alone: nsenter(1), in the tests, goes to the root of the mount namespace
exec chroot . "${variables[@]}" sh -c 'umount -l /mnt; exec "$@"' sh \\
  .venv/bin/python -m pytest -q -p no:cacheprovider "$@"
"""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
"""All that is mounted and started ends with them."""


def root() -> Path:
    """The directory of the root, built first where need be. Raises RuntimeError with the failed command's output."""
    directory = LAB / "next" / f"{SUITE}-{digest([_build()])}"
    with locked(f"next-{SUITE}-"):
        if not directory.exists():
            with published(directory) as scratch:
                done = subprocess.run(
                    [*NAMESPACES, "bash", "-c", _build(), scratch], capture_output=True, text=True, check=False
                )
                if done.returncode:
                    raise RuntimeError(f"exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
            prune(directory.parent, f"{SUITE}-*", keep=1)
    return directory


def _build() -> str:
    lines = {line for path in PACKAGE_LISTS for line in path.read_text().splitlines() if not line.startswith("#")}
    packages = " ".join((*sorted(RENAMED.get(line, line) for line in lines), *FURTHER))
    words = {"MIRROR": host_mirror(), "SUITE": SUITE, "SCRIPT": SCRIPT, "PACKAGES": packages}
    script = _BUILD
    for word, value in words.items():
        script = script.replace(word, value)
    return script


def main(what: str, arguments: list[str]) -> int:
    python, venv = f"python{what}", ""
    if what == "distribution":
        python, venv = "python3", "--system-site-packages"
    own = Path(tempfile.mkdtemp(prefix="next-debian."))
    tie_to_this_process(own)
    play = _PLAY.replace("AUTHORITIES", str(AUTHORITIES))
    command = [*NAMESPACES, "bash", "-c", play, root(), own, PROJECT, python, venv, *arguments]
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        own.rmdir()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
