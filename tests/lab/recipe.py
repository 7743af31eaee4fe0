# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/ha-lvm.md, as the lab runs them: read from the page, with the lab's addresses and times."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .level3 import NODES, bmc_address
from .places import PROJECT

PAGE = PROJECT / "docs/ha-lvm.md"
BOTH = "both nodes"

ADDRESSES = {
    "192.168.10.11": "10.9.0.1",
    "192.168.10.12": "10.9.0.2",
    "192.168.1.50": bmc_address(NODES[0]),
    "192.168.1.51": bmc_address(NODES[1]),
}
"""Of the page, and what they are in the lab."""


class Step(NamedTuple):
    """One block of commands. nodes: where it is run."""

    section: str
    nodes: tuple[str, ...]
    commands: str


def steps(page: str) -> Iterator[Step]:
    """The blocks of a page that begin with `# on …`, in its order."""
    section = ""
    for heading, block in re.findall(r"^## ([^\n]*)$|^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if heading:
            section = heading
        else:
            first, _, commands = block.partition("\n")
            where = first.removeprefix("# on ")
            if where == first:
                raise ValueError(f"{section}: a block of commands without its place: {first}")
            yield Step(section, NODES if where == BOTH else (where,), commands)


def packages(text: str) -> set[str]:
    """Debian's packages that a text installs. A guest has no network: its image has them."""
    words = " ".join(re.findall(r"^apt-get install -y (.*)$", text, re.MULTILINE)).split()
    return {word for word in words if not word.startswith("./")}


def copies(commands: str) -> list[tuple[str, str, str]]:
    """What `scp -p FILE… NODE:DIRECTORY` copies: file, node, directory. A guest has no sshd."""
    found = re.findall(r"^scp -p (.*) (\S+):(\S+)$", commands, re.MULTILINE)
    return [(path, node, directory) for paths, node, directory in found for path in paths.split()]


def without_copies(commands: str) -> str:
    return re.sub(r"^scp .*\n", "", commands, flags=re.MULTILINE)


def edits(commands: str) -> tuple[str, str]:
    """The `pcs -f FILE` commands of a block, which only edit that file, and its name. Empty where there is none."""
    found = re.findall(r"^pcs -f (\S+) (?:.*\\\n)*.*\n", commands, re.MULTILINE)
    lines = [match[0] for match in re.finditer(r"^pcs -f \S+ (?:.*\\\n)*.*\n", commands, re.MULTILINE)]
    return "".join(lines), found[0] if found else ""


def in_the_lab(commands: str) -> str:
    """The same commands with the lab's addresses."""
    for theirs, ours in ADDRESSES.items():
        commands = re.sub(rf"(?<![\d.]){re.escape(theirs)}(?![\d.])", ours, commands)
    return commands


def without_installation(commands: str) -> str:
    """The block without its apt-get."""
    return re.sub(r"^apt-get install .*\n", "", commands, flags=re.MULTILINE)
