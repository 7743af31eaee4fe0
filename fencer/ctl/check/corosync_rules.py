# SPDX-License-Identifier: Apache-2.0
"""Finds what in corosync.conf would make a failover fail. Pure. Source: corosync.conf(5), votequorum(5)."""

from collections.abc import Collection, Iterator, Mapping

from fencer.cluster.addresses import is_cut_short
from fencer.cluster.corosync_conf import ConfSection, parse_corosync, parse_sections
from fencer.cluster.host_names import is_address, match_host_names
from fencer.ctl.check.finding import CheckFinding, fault, warning

SLOW_TOKEN_MS = 10000
"""A token timeout above it is a warning: a failover begins only after it."""


def corosync_findings(
    text: str, source: str, host_names: Collection[str] = (), hosts: Mapping[str, Collection[str]] | None = None
) -> list[CheckFinding]:
    """host_names: this host's; none: it is not compared. hosts: addresses of names by /etc/hosts, as written.

    Raises UsageError where the text is no corosync.conf.
    """
    sections = parse_sections(text, source)
    parse_corosync(text, source)  # refuses node ids that are no numbers
    nodes = [section for section in sections if section.path == ("nodelist", "node")]
    totem, quorum = _one(sections, "totem"), _one(sections, "quorum")
    device = _one(sections, "quorum", "device")
    if device is not None and not device.value("model"):
        device = None
    return [
        *_totem(totem, source),
        *_nodes(nodes, source),
        *_quorum(quorum, device, nodes, source),
        *_own_name(nodes, host_names, source),
        *_loopback(nodes, hosts or {}, source),
    ]


def _one(sections: tuple[ConfSection, ...], *path: str) -> ConfSection | None:
    """A section. corosync takes several of one name together; of a key, the last one counts."""
    found = [section for section in sections if section.path == path]
    settings = {key: setting for section in found for key, setting in section.settings.items()}
    return found[0]._replace(settings=settings) if found else None


def _totem(totem: ConfSection | None, source: str) -> Iterator[CheckFinding]:
    if totem is None or not totem.value("cluster_name"):
        line = totem.line if totem is not None else 0
        text = "totem has no cluster_name: reservation keys are derived from it"
        yield fault(source, line, text, "add cluster_name: NAME to totem, the same on all nodes")
    if totem is None:
        return
    token = totem.value("token", "3000")
    if token.isdecimal() and int(token) > SLOW_TOKEN_MS:
        text = f"token is {token} ms: a dead node is noticed only after that, and then fenced"
        yield warning(source, totem.line_of("token"), text, "set token to 3000, unless the network needs more")


def _nodes(nodes: list[ConfSection], source: str) -> Iterator[CheckFinding]:
    if not nodes:
        yield fault(source, 0, "there is no nodelist: no key can be derived for a node", "add one, with all nodes")
    ids: dict[int, str] = {}
    addresses: dict[str, str] = {}
    names: set[str] = set()
    for node in nodes:
        address = node.value("ring0_addr")
        name = node.value("name") or address
        if not node.value("name"):
            text = f"node {address or '?'} has no name: callers name nodes, and this one would be an address"
            found = fault if is_address(address) else warning
            yield found(source, node.line, text, "add name: NAME, as uname -n says on that node")
        if name.casefold() in names:
            yield fault(source, node.line_of("name"), f"there is more than one node {name}", "name each node once")
        names.add(name.casefold())
        node_id = int(node.value("nodeid", "0"))
        if node_id == 0:
            yield fault(source, node.line, f"node {name} has no nodeid, so it has no reservation key", "add nodeid: N")
        elif node_id in ids:
            text = f"nodes {ids[node_id]} and {name} have the same nodeid {node_id}"
            yield fault(source, node.line_of("nodeid"), text, "give each its own")
        ids.setdefault(node_id, name)
        for key, setting in node.settings.items():
            if key.startswith("ring") and key.endswith("_addr"):
                yield from _address(key, setting.value, name, setting.line, addresses, source)


def _address(
    key: str, address: str, name: str, line: int, owners: dict[str, str], source: str
) -> Iterator[CheckFinding]:
    if is_cut_short(address):
        text = f"{key} of node {name}: {address} is no whole IPv4 address"
        yield fault(source, line, text, "write all four numbers")
    elif _is_loopback(address):
        text = f"{key} of node {name}: {address} is the node itself: it would find no other node"
        yield fault(source, line, text, "write the node's network address")
    elif owners.setdefault(address.casefold(), name) != name:
        text = f"nodes {owners[address.casefold()]} and {name} have the same address {address}"
        yield fault(source, line, text, "give each its own")


def _quorum(
    quorum: ConfSection | None, device: ConfSection | None, nodes: list[ConfSection], source: str
) -> Iterator[CheckFinding]:
    if quorum is None or quorum.value("provider") != "corosync_votequorum":
        line = quorum.line_of("provider") if quorum is not None else 0
        text = "quorum has no provider corosync_votequorum: each half of a split cluster goes on working"
        yield fault(source, line, text, "set provider: corosync_votequorum")
    if quorum is None:
        return
    two_node = quorum.value("two_node") == "1"
    if two_node and len(nodes) not in (0, 2):
        text = f"two_node is set in a cluster of {len(nodes)} nodes: one node alone would be quorate"
        yield fault(source, quorum.line_of("two_node"), text, "remove two_node")
    if two_node and quorum.value("wait_for_all") == "0":
        text = (
            "two_node with wait_for_all: 0: a node that was fenced boots, does not see its peer, and shoots the "
            "healthy node that runs the service, again and again"
        )
        yield fault(source, quorum.line_of("wait_for_all"), text, "remove wait_for_all: two_node sets it to 1")
    yield from _two_nodes(quorum, device, len(nodes), source)
    votes = [node.value("quorum_votes", "1") for node in nodes]
    total = sum(int(each) for each in votes if each.isdecimal())
    expected = quorum.value("expected_votes")
    if expected.isdecimal() and int(expected) < total and device is None:
        text = f"expected_votes is {expected}, but the nodes have {total}: each half of a split cluster is quorate"
        yield fault(source, quorum.line_of("expected_votes"), text, "remove expected_votes: the nodelist tells it")


def _two_nodes(quorum: ConfSection, device: ConfSection | None, nodes: int, source: str) -> Iterator[CheckFinding]:
    """Findings of what decides between two nodes. Source: votequorum.c, votequorum_readconfig."""
    two_node, breaks_ties = quorum.value("two_node") == "1", quorum.value("auto_tie_breaker") == "1"
    if two_node and device is not None:
        text = "two_node beside a quorum device: corosync does not start"
        yield fault(source, quorum.line_of("two_node"), text, "remove two_node, or the device")
    elif two_node and breaks_ties:
        text = "two_node beside auto_tie_breaker: corosync drops two_node"
        yield fault(source, quorum.line_of("auto_tie_breaker"), text, "remove auto_tie_breaker")
    elif nodes == 2 and breaks_ties and device is None:
        text = "two nodes with auto_tie_breaker: one of them has no quorum without the other, and takes nothing over"
        yield fault(source, quorum.line_of("auto_tie_breaker"), text, "set two_node: 1 instead, or a quorum device")
    elif nodes == 2 and not two_node and device is None:
        text = "two nodes without two_node: the survivor of a failure has no quorum and takes nothing over"
        yield fault(source, quorum.line_of("two_node"), text, "add two_node: 1, or a quorum device")


def _own_name(nodes: list[ConfSection], host_names: Collection[str], source: str) -> Iterator[CheckFinding]:
    names = [node.value("name") or node.value("ring0_addr") for node in nodes]
    if host_names and nodes and match_host_names(names, host_names) is None:
        text = f"no node is named {', '.join(host_names)}, as this host is: it has {', '.join(names)}"
        yield fault(source, 0, text, "write the name that uname -n prints on each node (or give --local-node)")


def _loopback(nodes: list[ConfSection], hosts: Mapping[str, Collection[str]], source: str) -> Iterator[CheckFinding]:
    """Debian's installer writes ``127.0.1.1 NAME`` into /etc/hosts."""
    for node in nodes:
        address = node.value("ring0_addr")
        known = hosts.get(address.casefold(), ())
        if known and all(map(_is_loopback, known)):
            text = f"ring0_addr {address} is {', '.join(known)} by /etc/hosts: corosync would talk to itself"
            yield fault(source, node.line_of("ring0_addr"), text, "write the node's network address in /etc/hosts")


def _is_loopback(address: str) -> bool:
    return address == "::1" or (address.startswith("127.") and is_address(address))
