"""Which cluster this node is in, as far as the configuration files say: for key derivation and for calls by hand."""

import os

from fencer.errors import UsageError
from fencer.host_names import match_host_names
from fencer.light_typing import TYPE_CHECKING, NamedTuple
from fencer.options import BY_NAME

if TYPE_CHECKING:
    from fencer.cluster_conf import Cluster
    from fencer.storage.keys import NodeIdentity

COROSYNC_CONF = "/etc/corosync/corosync.conf"
DEFAULT_CLUSTER_CONF = BY_NAME["cluster_conf"].default or ""


class Membership(NamedTuple):
    """name and nodes are empty when no configuration file was found. cluster: only under cman."""

    name: str
    nodes: "tuple[NodeIdentity, ...]"
    host_names: tuple[str, ...]
    source: str
    cluster: "Cluster | None" = None

    @property
    def local(self) -> "NodeIdentity | None":
        """This node; None when the configuration does not know it."""
        return self.find(*self.host_names)

    def find(self, *names: str) -> "NodeIdentity | None":
        """The one node that goes by one of these names."""
        index = match_host_names([node.name for node in self.nodes], names)
        return None if index is None else self.nodes[index]

    def is_local(self, name: str) -> bool:
        """Whether name means this node."""
        if match_host_names(self.host_names, (name,)) is not None:
            return True
        local, named = self.local, self.find(name)
        return local is not None and local == named


def read_membership(cluster_conf: str | None, local_node: str | None, corosync_conf: str = COROSYNC_CONF) -> Membership:
    """Reads cluster.conf, else corosync.conf. cluster_conf None: the default place, which may be missing.

    Raises UsageError when a file is there and makes no sense, or when the one asked for is missing.
    """
    host_names = (local_node,) if local_node else _host_names()
    path = cluster_conf or DEFAULT_CLUSTER_CONF
    if cluster_conf or os.path.exists(path):
        from fencer.cluster_conf import read_cluster  # brings an XML parser

        cluster = read_cluster(path)
        found = Membership(cluster.name, cluster.identities, host_names, path, cluster)
    elif os.path.exists(corosync_conf):
        from fencer.corosync_conf import read_corosync

        corosync = read_corosync(corosync_conf)
        found = Membership(corosync.name, corosync.nodes, host_names, corosync_conf)
    else:
        found = Membership("", (), host_names, "")
    if local_node and found.nodes and found.local is None:
        raise UsageError(f"local_node: {found.source} has no node {local_node}: give one of {_names(found)}")
    return found


def _host_names() -> tuple[str, ...]:
    full = os.uname().nodename
    return tuple(dict.fromkeys((full, full.partition(".")[0])))


def _names(found: Membership) -> str:
    return ", ".join(node.name for node in found.nodes)
