# SPDX-License-Identifier: Apache-2.0
"""Runs README.md's own commands, word for word, in fresh minimal Debian systems: `make test-readme`, as root.

python -m tests.packaging.readme SUITE MIRROR

The commands are read out of the page. Each block of commands has a row in PLAYS; what needs a cluster, a node's
hardware or the lab has a reason there instead. tests/packaging/test_readme.py fails for a block that has no row.

FENCE_HALVM_BINDS: paths of this host, separated by colons, that the systems see as well, read-only: pip's
configuration, a package index on this host's disk, /usr/local/share/ca-certificates with the certificate of a mirror.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.lab.places import LAB, locked, published

PROJECT = Path(__file__).resolve().parents[2]
README = PROJECT / "README.md"
SOURCE = "/root/fence-halvm"
COMMAND_S = 1800


class Block(NamedTuple):
    """A block of commands. heading: of its section. commands: each one whole, with its continued lines."""

    heading: str
    commands: tuple[str, ...]


class Play(NamedTuple):
    """What is done with a block. start: how its first command begins. why_not: why it is not run here."""

    start: str
    why_not: str = ""
    suites: tuple[str, ...] = ("bookworm", "trixie")
    then: tuple[str, ...] = ()


INSTALLED = (
    "fence_halvm -o metadata >/dev/null",
    "halvm-watchdogd --version",
    "halvm-exporter --version",
)
AS_A_PACKAGE = (
    *INSTALLED,
    "apt-get install -y --no-install-recommends bash-completion man-db systemd",
    "man -w fence_halvm halvm-watchdogd halvmctl halvm-exporter",
    "systemd-analyze verify halvm-watchdogd.service halvm-exporter.service",
    "bash -c '. /usr/share/bash-completion/completions/fence_halvm && complete -p fence_halvm'",
)
AS_A_SOURCE = (
    *INSTALLED,
    "apt-get install -y --no-install-recommends bash-completion man-db systemd zsh",
    "man -w fence_halvm halvm-watchdogd halvmctl halvm-exporter",
    "systemd-analyze verify halvm-watchdogd.service halvm-exporter.service",
    "bash -c '. /usr/share/bash-completion/bash_completion && _completion_loader halvmctl; complete -p halvmctl'",
    "zsh -c 'autoload -U compinit && compinit -u && (( $+_comps[halvmctl] ))'",
)

PLAYS = (
    Play("apt-get update && apt-get install -y make python3-venv && make demo", suites=("bookworm",)),
    Play("apt-get update && apt-get install -y make python3-venv && make test", "the virtual machines: CI runs it"),
    Play("pcs stonith create", "a Pacemaker cluster: the VM lab"),
    Play("fence_halvm -o reboot", "a cluster"),
    Play("apt-get update && apt-get install -y make\n", then=AS_A_PACKAGE),  # and nothing else
    Play("apt-get update && apt-get install -y libiscsi7", then=AS_A_SOURCE),
    Play("mkdir -p /etc/fence-halvm", "a node with its LUNs and a watchdog: the VM lab"),
)


def blocks(text: str) -> Iterator[Block]:
    """The indented blocks of a page. A comment after two spaces or more and a # is no part of a command."""
    heading, commands = "", list[str]()
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for line in [*re.sub(r"\\\n\s*", "", text).split("\n"), "end"]:
        if line.startswith("    "):
            commands.append(re.sub(r"\s{2,}# .*$", "", line[4:]))
        elif line.strip() and commands:
            yield Block(heading, tuple(commands))
            commands = []
        if line.startswith("#"):
            heading = line.lstrip("# ")


def play_of(block: Block) -> Play | None:
    """The row for a block."""
    text = "\n".join(block.commands) + "\n"
    return next((play for play in PLAYS if text.startswith(play.start)), None)


def base(suite: str, mirror: str) -> Path:
    """An archive of what debootstrap makes, kept beside the VM lab's images. What is old in it, apt updates."""
    archive = LAB / "minimal" / f"{suite}.tar"
    with locked(f"minimal-{suite}-"):
        if not archive.exists():
            with published(archive.with_suffix("")) as scratch:
                _run("debootstrap", "--variant=minbase", suite, scratch, mirror, quiet=True)
                _run("tar", "--numeric-owner", "--xattrs", "-C", scratch, "-cf", archive.with_suffix(".partial"), ".")
            archive.with_suffix(".partial").rename(archive)
            shutil.rmtree(archive.with_suffix(""))
    return archive


@contextmanager
def minimal_debian(suite: str, mirror: str) -> Iterator[Path]:
    """A fresh root with a clone of this project, its /proc and /dev there."""
    archive = base(suite, mirror)
    root = Path(tempfile.mkdtemp(prefix="readme-"))
    mounts: list[Path] = []
    try:
        root.chmod(0o755)
        _run("tar", "--numeric-owner", "--xattrs", "-C", root, "-xf", archive)
        (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # no service starts in a chroot
        (root / "usr/sbin/policy-rc.d").chmod(0o755)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        _run("git", "clone", "--quiet", PROJECT, root / SOURCE[1:])
        own = [path for path in os.environ.get("FENCE_HALVM_BINDS", "").split(":") if path]
        for path in ("/dev", "/dev/pts", *own):
            if not (inside := root / path[1:]).exists():
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.mkdir() if Path(path).is_dir() else inside.touch()
            _run("mount", "--bind", path, inside)
            mounts.append(inside)
            if path in own:  # a package's script that rewrites it must fail instead of changing this host
                _run("mount", "-o", "remount,bind,ro", inside)
        _run("mount", "-t", "proc", "proc", root / "proc")
        mounts.append(root / "proc")
        yield root
    finally:
        for mount in reversed(mounts):
            subprocess.run(["umount", mount], check=False)
        _run("rm", "-rf", "--one-file-system", root)


def _run(*command: str | Path, quiet: bool = False) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL if quiet else None)


def within(root: Path, command: str) -> None:
    """One command line, as a user's shell runs it. Raises CalledProcessError."""
    print(f"  # {command}", flush=True)
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment = kept | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    environment["DEBIAN_FRONTEND"] = "noninteractive"
    shell = ["chroot", str(root), "bash", "-euc", f"cd {SOURCE}\n{command}"]
    done = subprocess.run(
        shell, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=COMMAND_S, check=False,
    )  # fmt: skip
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-40:]), flush=True)
        raise subprocess.CalledProcessError(done.returncode, command)


def main() -> None:
    suite, mirror = sys.argv[1:]
    for block in blocks(README.read_text()):
        play = play_of(block)
        assert play is not None, f"README.md: no row in PLAYS for: {block.commands[0]}"
        if play.why_not or suite not in play.suites:
            print(f"{suite}: {block.heading}: not run: {play.why_not or 'for ' + ', '.join(play.suites)}")
            continue
        print(f"{suite}: {block.heading}:", flush=True)
        with minimal_debian(suite, mirror) as root:
            for command in (*block.commands, *play.then):
                within(root, command)
    print(f"{suite}: all well")


if __name__ == "__main__":
    main()
