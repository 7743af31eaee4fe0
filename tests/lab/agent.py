# SPDX-License-Identifier: Apache-2.0
"""fence_halvm as a caller in a guest starts it, on storage alone."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from .guest import Guest, Result
from .level2 import NODES, Level2Guest, linked
from .places import digest

KEYS = {NODES[0]: "a1", NODES[1]: "b1"}
PATIENT = "--deadline=100"  # where time is not the question: the guest's CPU is emulated and may be shared
STATE = "/run/fence-halvm"  # level 2 has one /run for both nodes: each gets a directory in there


@dataclass(frozen=True)
class Caller:
    """One node of level 2 as the agent's caller. `disks` are that node's devices for the shared LUNs."""

    guest: Level2Guest
    node: str
    disks: Sequence[str]
    options: Sequence[str] = field(default=())

    def command(self, action: str, target: str, *options: str) -> str:
        """The command line. Run by `exec`, so that a job in the guest is the agent and not a shell around it."""
        words = ["fence_halvm", "-o", action, "-n", target, "-d", ",".join(map(linked, self.disks))]
        words += [f"--key={KEYS[target]}", f"--local-key={KEYS[self.node]}", f"--local-node={self.node}"]
        words += [f"--state-dir={STATE}/{self.node}", *self.options, *options]
        if not any(word.startswith("--deadline") for word in words):
            words.append(PATIENT)
        return "exec " + shlex.join(words)

    def call(self, action: str, target: str, *options: str, timeout_s: float = 300) -> Result:
        return self.guest.run(self.command(action, target, *options), timeout_s=timeout_s)

    def unfence(self) -> Result:
        result = self.call("on", self.node)
        assert result.rc == 0, result
        return result

    def reboot(self) -> None:
        """What a reboot of this node means to the storage side here: what the boot knew is gone."""
        self.guest.run(f"rm -rf {STATE}/{self.node}", check=True)


def caller(guest: Level2Guest, node: str, luns: Sequence[int] = (0,), options: Sequence[str] = ()) -> Caller:
    return Caller(guest, node, [guest.sd(node, lun) for lun in luns], options)


def unfence(a: Caller, b: Caller, paths: Sequence[Sequence[str]], *, by_agent: bool = False) -> None:
    """Registers both on LUNs that have forgotten everybody; `a` holds the reservation. paths: each caller's disks.

    The agents do it, once in a guest. After that sg_persist and a copy of their state restore what they had done:
    under TCG that takes a tenth of the time.
    """
    guest = a.guest
    guest.forget_reservations()
    kept = f"/run/lab/unfenced-{digest([*a.disks, '', *b.disks])}"
    steps = [f"test -d {kept}", f"cp -a {kept} {STATE}"]
    for each, disks in zip((a, b), paths, strict=True):
        steps += [f"sg_persist -n -y -o -I -S 0x{KEYS[each.node]} -Z {disk}" for disk in disks]
    steps += [f"sg_persist -n -y -o -R -T 5 -K 0x{KEYS[a.node]} {disk}" for disk in a.disks]
    if by_agent or guest.run(" && ".join(steps)).rc:
        guest.forget_reservations()
        a.unfence()
        b.unfence()
        guest.run(f"rm -rf {kept} && cp -a {STATE} {kept}", check=True)


def unfenced(guest: Level2Guest, luns: Sequence[int] = (0,), *, by_agent: bool = False) -> tuple[Caller, Caller]:
    """Both nodes as callers, registered on fresh LUNs. by_agent: as in unfence()."""
    a, b = caller(guest, NODES[0], luns), caller(guest, NODES[1], luns)
    unfence(a, b, (a.disks, b.disks), by_agent=by_agent)
    return a, b


def keys(guest: Guest, disk: str) -> list[str]:
    """Registered keys, one a nexus, without 0x and leading zeros."""
    for line in (lines := guest.run(f"sg_persist -n -i -k {disk}", check=True).out.splitlines()):
        assert "generation" not in line or line.strip().startswith("PR gen"), lines
    return sorted(line.strip().removeprefix("0x") for line in lines if line.strip().startswith("0x"))


def generation(guest: Guest, disk: str) -> int:
    """PRGENERATION: it counts every change of the registrations."""
    first = guest.run(f"sg_persist -n -i -k {disk}", check=True).out.partition("generation=")[2]
    return int(first.split()[0].rstrip(",;"), 16)


def reservation(guest: Guest, disk: str) -> str:
    """What sg_persist says of the reservation."""
    return guest.run(f"sg_persist -n -i -r {disk}", check=True).out


def write(guest: Guest, disk: str, *, buffered: bool = False) -> str:
    """Writes one block. Empty when it reached the disk, else dd's complaint."""
    how = "conv=fsync" if buffered else "oflag=direct"
    return guest.run(f"dd if=/dev/zero of={disk} bs=4096 count=1 seek=8 status=none {how}").err
