# SPDX-License-Identifier: Apache-2.0
"""Reads corosync.conf: the cluster's name and its nodes, from which keys are derived under Pacemaker.

Pure but for ``read_corosync``. Syntax as in corosync.conf(5): ``section {``, ``}``, ``key: value``, ``#`` comments.
"""

from collections.abc import Iterable, Mapping

from fencer._typing import NamedTuple
from fencer.cluster.host_names import match_host_names
from fencer.cluster.keys import NodeIdentity
from fencer.errors import UsageError
from fencer.regular_file import read_regular_file

_LINKS = 8
"""ring0_addr to ring7_addr (corosync.conf(5), INTERFACE_MAX of knet)."""

_DEEPEST = 4
"""The deepest level of sections that is kept. corosync reads two. With each level a hostile file fills the memory."""


class CorosyncCluster(NamedTuple):
    """name is empty when the file gives none. The position of a node is corosync-cmapctl's ``nodelist.node.N``."""

    name: str
    nodes: tuple[NodeIdentity, ...]


class ConfSetting(NamedTuple):
    """A ``key: value``. line: where it stands."""

    value: str
    line: int


class ConfSection(NamedTuple):
    """A section of corosync.conf.

    path: the names from the outermost section on. settings: the last one of each key counts, as for corosync.
    """

    path: tuple[str, ...]
    line: int
    end_line: int
    settings: Mapping[str, ConfSetting]

    def value(self, key: str, default: str = "") -> str:
        """The value of a key."""
        setting = self.settings.get(key)
        return default if setting is None else setting.value

    def line_of(self, key: str) -> int:
        """Where a key is set; where the section begins when it is not."""
        setting = self.settings.get(key)
        return self.line if setting is None else setting.line


def read_corosync(path: str = "/etc/corosync/corosync.conf") -> CorosyncCluster:
    """Reads and parses a file. Raises UsageError when it cannot be read or makes no sense."""
    try:
        # A comment in some old encoding must not stop a fence.
        text = read_regular_file(path, link=True).decode("utf-8", "surrogateescape")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"corosync_conf: {path}: {reason}: give the path of a readable corosync.conf") from error
    return parse_corosync(text.replace("\r\n", "\n"), path)


def parse_corosync(text: str, source: str = "corosync.conf") -> CorosyncCluster:
    """Raises UsageError naming ``source`` and the line when the text is not a corosync.conf."""
    cluster_name = ""
    nodes: list[NodeIdentity] = []
    for section in parse_sections(text, source):
        if section.path == ("totem",):
            cluster_name = section.value("cluster_name", cluster_name)
        elif section.path == ("nodelist", "node"):
            nodes.append(_node(section, len(nodes), f"{source} line {section.end_line}"))
    return CorosyncCluster(cluster_name, tuple(nodes))


def parse_sections(text: str, source: str = "corosync.conf") -> tuple[ConfSection, ...]:
    """The sections of the first levels, in the order in which they end. Raises UsageError as parse_corosync does."""
    sections: list[ConfSection] = []
    open_: list[tuple[str, int, dict[str, ConfSetting]]] = []
    number = 0
    # Only line feeds end a line for corosync; splitlines() knows many more.
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        before, brace, after = line.partition("{")
        if brace:
            # corosync looks for the brace first, drops the colon of ``name: {``, and takes any name (exec/coroparse.c).
            if after or not (name := before.rstrip(": \t")):
                reason = "more than a section's name and '{'" if after else "a section without a name"
                raise UsageError(f"corosync_conf: {source} line {number}: {reason}: correct it")
            open_.append((name, number, {}))
        elif line == "}":
            if not open_:
                raise UsageError(f"corosync_conf: {source} line {number}: a closing brace without a section: remove it")
            path = tuple(each[0] for each in open_) if len(open_) <= _DEEPEST else ()
            _, begin, settings = open_.pop()
            if path:
                sections.append(ConfSection(path, begin, number, settings))
        elif ":" in line:
            key, _, value = (part.strip() for part in line.partition(":"))
            if open_:
                open_[-1][2][key] = ConfSetting(value, number)
        else:
            raise UsageError(f"corosync_conf: {source} line {number}: neither a section nor 'key: value': correct it")
    if open_:
        raise UsageError(f"corosync_conf: {source} line {number}: section {open_[-1][0]} is not closed: add a brace")
    return tuple(sections)


def find_local_identity(cluster: CorosyncCluster, host_names: Iterable[str]) -> NodeIdentity | None:
    """The node that goes by one of this host's names, or None when there is none or more than one."""
    index = match_host_names([node.name for node in cluster.nodes], host_names)
    return None if index is None else cluster.nodes[index]


def _node(section: ConfSection, position: int, where: str) -> NodeIdentity:
    node_id = section.value("nodeid", "0")
    # int() alone also takes signs, underscores, other scripts' digits, and megabytes of them.
    if not (node_id.isascii() and node_id.isdigit() and len(node_id) <= 10 and int(node_id) < 1 << 32):
        raise UsageError(
            f"corosync_conf: {where}: nodeid {node_id[:40]!r} is not a number from 0 to 4294967295: correct it"
        )
    ring0_addr = section.value("ring0_addr")
    addresses = tuple(address for link in range(_LINKS) if (address := section.value(f"ring{link}_addr")))
    # Without a name, the first address names the node (Pacemaker, get_node_name; fence_scsi reads the same).
    return NodeIdentity(section.value("name") or ring0_addr, int(node_id), position, ring0_addr, addresses)
