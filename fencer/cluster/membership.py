# SPDX-License-Identifier: Apache-2.0
"""Reads this node's cluster from the configuration files, for key derivation and for calls by hand."""

import os

from fencer._typing import TYPE_CHECKING, NamedTuple
from fencer.cluster import CLUSTER_CONF
from fencer.cluster.host_names import is_address, match_host_names
from fencer.errors import UsageError
from fencer.network_file import in_time

if TYPE_CHECKING:
    from fencer.cluster.cluster_conf import Cluster
    from fencer.cluster.keys import NodeIdentity

COROSYNC_CONF = "/etc/corosync/corosync.conf"


class Membership(NamedTuple):
    """The cluster's nodes, and which of them this one is.

    name and nodes are empty when no configuration file was found, or none that makes sense: then ``problem`` is the
    sentence that says so. Only a caller that needs the file fails for it. cluster: only under cman.
    by_address: the place in nodes of the one whose address this host has; asked only where no name tells.
    aliases: further names of nodes, by /etc/hosts, and their places in nodes; only where names do not suffice.
    """

    name: str
    nodes: "tuple[NodeIdentity, ...]"
    host_names: tuple[str, ...]
    source: str
    cluster: "Cluster | None" = None
    problem: str = ""
    by_address: int | None = None
    aliases: tuple[tuple[str, int], ...] = ()

    @property
    def local(self) -> "NodeIdentity | None":
        """This node; None when the configuration does not know it."""
        found = self.find(*self.host_names)
        return self.nodes[self.by_address] if found is None and self.by_address is not None else found

    def find(self, *names: str) -> "NodeIdentity | None":
        """The one node that goes by one of these names."""
        index = match_host_names([node.name for node in self.nodes], names)
        if index is None and self.aliases:
            alias = match_host_names([name for name, _ in self.aliases], names)
            index = None if alias is None else self.aliases[alias][1]
        return None if index is None else self.nodes[index]

    def with_id(self, node_id: int) -> "NodeIdentity | None":
        """The one node that has this node id."""
        found = [node for node in self.nodes if node.node_id == node_id != 0]
        return found[0] if len(found) == 1 else None

    def is_local(self, name: str) -> bool:
        """Whether name means this node. What the configuration says of both counts more than how the names look: two
        hosts may have one short name in two domains."""
        local, named = self.local, self.find(name)
        if local is not None and named is not None:
            return local == named
        return match_host_names(self.host_names[:1], (name,)) is not None

    def require(self) -> None:
        """Raises UsageError where the configuration file is invalid. Called where its content is needed."""
        if self.problem:
            raise UsageError(self.problem)

    @property
    def unnamed(self) -> "tuple[NodeIdentity, ...]":
        """Other nodes that are known by an address alone: no name that a caller gives can be matched to them."""
        named = {index for _, index in self.aliases}
        return tuple(
            node for node in self.nodes if is_address(node.name) and node.position not in named and node != self.local
        )


def read_membership(cluster_conf: str | None, local_node: str | None, corosync_conf: str = COROSYNC_CONF) -> Membership:
    """Reads cluster.conf, else corosync.conf. cluster_conf None: the default place, which may be missing.

    ``Membership.problem`` says that a file makes no sense, or that a given one is missing. Raises UsageError when the
    file does not know local_node.
    """
    host_names = (local_node,) if local_node else _host_names()
    path = cluster_conf or CLUSTER_CONF
    try:
        if cluster_conf or _is_there(path):
            from fencer.cluster.cluster_conf import read_cluster  # brings an XML parser

            cluster = read_cluster(path)
            found = Membership(cluster.name, cluster.identities, host_names, path, cluster)
        elif _is_there(corosync_conf):
            from fencer.cluster.corosync_conf import read_corosync

            path = corosync_conf
            corosync = read_corosync(corosync_conf)
            found = Membership(corosync.name, corosync.nodes, host_names, corosync_conf)
        else:
            return Membership("", (), host_names, "")
    except UsageError as error:
        return Membership("", (), host_names, path, problem=str(error))
    if local_node and found.nodes and found.local is None:
        raise UsageError(f"local_node: {found.source} has no node {local_node}: give one of {_names(found)}")
    if not found.nodes or (found.local is not None and not found.unnamed):
        return found
    return with_addresses(found, own_by_address=not local_node)


def with_addresses(found: Membership, *, own_by_address: bool) -> Membership:
    """Looks at addresses where names do not tell: which node has one of this host's, and what /etc/hosts calls them."""
    from fencer.cluster.addresses import is_own, numbers, read_hosts  # hardly ever wanted

    hosts = read_hosts()
    numbers_of = [numbers((*node.addresses, node.name), hosts) for node in found.nodes]
    aliases = tuple(
        (name, position) for position, own in enumerate(numbers_of) for name, known in hosts.items() if known & own
    )
    found = found._replace(aliases=aliases)
    if not own_by_address or found.local is not None:
        return found
    here = [position for position, each in enumerate(numbers_of) if any(map(is_own, each))]
    return found._replace(by_address=here[0]) if len(here) == 1 else found


def _is_there(path: str) -> bool:
    """Whether the file exists. Raises UsageError where its file system does not answer in time."""
    try:
        return in_time(lambda: os.path.lexists(path), path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: look at its file system") from error


def _host_names() -> tuple[str, ...]:
    """The host's name; and its part up to the first dot is no name of its own: another domain may have one, too."""
    return (os.uname().nodename,)


def _names(found: Membership) -> str:
    return ", ".join(node.name for node in found.nodes)
