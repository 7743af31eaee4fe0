# SPDX-License-Identifier: Apache-2.0
"""Builds and keeps a minimal Debian of each suite with the callers of fence agents: Pacemaker, pcs and crmsh."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab.images import host_mirror
from tests.lab.places import LAB, digest, locked, prune, published

SUITES = ("bookworm", "trixie")
SOURCES_SUITE = "trixie"
"""The suite whose fence-agents source package is unpacked in all roots: its tests are programs and run on any suite."""

PACKAGES = Path(__file__).with_name("root-packages.txt")
FENCE_AGENTS = "usr/src/fence-agents"
"""Where the source of fence-agents is below each root."""


def root(suite: str) -> Path:
    """The directory of the suite's root, built first where need be. Needs root's rights and, to build, a network.

    Raises RuntimeError with the failed command's output.
    """
    directory = LAB / "conformance" / f"{suite}-{digest([Path(__file__), PACKAGES])}"
    with locked(f"conformance-{suite}-"):
        if not directory.exists():
            with published(directory) as scratch:
                # Namespaces of its own: what is mounted ends with them.
                command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", _script(suite)]
                _run(*command, str(scratch))
            prune(directory.parent, f"{suite}-*", keep=2)
    return directory


def _script(suite: str) -> str:
    mirror = host_mirror()
    packages = " ".join(line for line in PACKAGES.read_text().splitlines() if not line.startswith("#"))
    return f"""
        set -euo pipefail
        root=$0
        within() {{ chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }}
        debootstrap --variant=minbase {suite} "$root" {mirror} >&2
        printf '#!/bin/sh\\nexit 101\\n' >"$root/usr/sbin/policy-rc.d"
        chmod +x "$root/usr/sbin/policy-rc.d"
        cp /etc/resolv.conf "$root/etc/resolv.conf"
        echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/conformance"
        cat >"$root/etc/apt/apt.conf.d/99conformance" <<-END
			APT::Install-Recommends "false";
			Acquire::Languages "none";
			APT::Sandbox::User "root";
		END
        printf 'deb {mirror} {suite} main\\ndeb-src {mirror} {SOURCES_SUITE} main\\n' >"$root/etc/apt/sources.list"
        mount -t proc proc "$root/proc"
        within apt-get -qq update
        within apt-get -qq -y -o Dpkg::Use-Pty=0 install {packages} >&2
        within sh -c 'cd /usr/src && apt-get -qq source --tar-only fence-agents'
        mkdir $root/{FENCE_AGENTS}
        tar -C $root/{FENCE_AGENTS} --strip-components 1 -xf $root/usr/src/fence-agents_*.orig.tar.*
        within apt-get -qq clean
        umount "$root/proc"
    """


def main() -> None:
    """Builds all roots that are not there yet, side by side."""
    with ThreadPoolExecutor() as pool:
        for directory in pool.map(root, SUITES):
            print(directory)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"})
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    main()
