# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/ha-lvm.md, as the lab runs them: read from the page, with the lab's addresses and times."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .level3 import NODES, THREE_NODES, bmc_address, cluster_address
from .places import PROJECT

PAGE = PROJECT / "docs/ha-lvm.md"
BOTH, ALL_THREE = "both nodes", "all three nodes"
_PLACE = re.compile(r"# (?:with three nodes, after section (\d+), )?on (.*)")
ONLINE, THREE_ONLINE = r"Online: \[ serv-0001 serv-0002 \]", r"Online: \[ serv-0001 serv-0002 serv-0003 \]"
"""What section 5 waits for, and what it waits for with three nodes, as the page says."""

ADDRESSES = {
    **{f"192.168.10.{11 + number}": cluster_address(node) for number, node in enumerate(THREE_NODES)},
    **{f"192.168.1.{50 + number}": bmc_address(node) for number, node in enumerate(THREE_NODES)},
}
"""Of the page, and what they are in the lab."""


class Step(NamedTuple):
    """One block of commands. nodes: where it is run; at: the number of the section in which, or after which, it is."""

    section: str
    nodes: tuple[str, ...]
    commands: str
    at: int
    with_three: bool = False


def steps(page: str) -> list[Step]:
    """The blocks for a cluster of two nodes, in the page's order: those that begin with `# on …`."""
    return [step for step in _every_step(page) if not step.with_three]


def steps_of_three(page: str) -> list[Step]:
    """The blocks for a cluster of three nodes, in the order in which they are run."""
    both = [step._replace(commands=step.commands.replace(ONLINE, THREE_ONLINE)) for step in steps(page)]
    ordinary = [step._replace(nodes=THREE_NODES) if step.nodes == NODES else step for step in both]
    return sorted([*ordinary, *(step for step in _every_step(page) if step.with_three)], key=lambda step: step.at)


def _every_step(page: str) -> Iterator[Step]:
    section = ""
    for heading, block in re.findall(r"^## ([^\n]*)$|^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if heading:
            section = heading
        else:
            first, _, commands = block.partition("\n")
            place = _PLACE.fullmatch(first)
            if not place:
                raise ValueError(f"{section}: a block of commands without its place: {first}")
            after, where = place.groups()
            nodes = {BOTH: NODES, ALL_THREE: THREE_NODES}.get(where, (where,))
            yield Step(section, nodes, commands, int(after or section.partition(".")[0]), after is not None)


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
