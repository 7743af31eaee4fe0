# SPDX-License-Identifier: Apache-2.0
"""Finds what in cluster.conf, or between it, corosync.conf and the CIB, would make a failover fail. Pure."""

from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest

from fencer.cluster.cluster_conf import Cluster
from fencer.cluster.corosync_conf import CorosyncCluster
from fencer.cluster.host_names import match_host_names
from fencer.cluster.problems import problems
from fencer.ctl.check.finding import CheckFinding, fault
from fencer.ctl.sources.cib import Cib


def cluster_conf_findings(cluster: Cluster, source: str, host_names: Collection[str] = ()) -> list[CheckFinding]:
    """host_names: this host's; none: it is not compared."""
    found = [fault(source, each.line, each.text, each.remedy) for each in problems(cluster)]
    names = [node.name for node in cluster.nodes]
    if host_names and names and match_host_names(names, host_names) is None:
        text = f"no clusternode is named {', '.join(host_names)}, as this host is: it has {', '.join(names)}"
        found.append(fault(source, 0, text, "write the name that uname -n prints on each node (or give --local-node)"))
    return found


def copies_findings(copies: Sequence[tuple[str, bytes]]) -> list[CheckFinding]:
    """cluster.conf of several nodes: path and content of each. All must be alike: keys are derived from them."""
    found = []
    first_source, first = copies[0]
    for source, content in copies[1:]:
        if content == first:
            continue
        pairs = zip_longest(first.split(b"\n"), content.split(b"\n"))
        line = next((number for number, (one, other) in enumerate(pairs, start=1) if one != other), 0)
        text = f"differs from {first_source}: the nodes would not agree on who is who, and how each is fenced"
        found.append(fault(source, line, text, "copy the newer one (config_version) to all nodes"))
    return found


def agreement_findings(
    cluster: tuple[Cluster, str] | None, corosync: tuple[CorosyncCluster, str] | None, cib: tuple[Cib, str] | None
) -> list[CheckFinding]:
    """Findings between the files. Each file with its source; None where there is none."""
    return [*_cman_beside_corosync(cluster, corosync), *_pacemaker_beside_corosync(corosync, cib)]


def _cman_beside_corosync(
    cluster: tuple[Cluster, str] | None, corosync: tuple[CorosyncCluster, str] | None
) -> Iterator[CheckFinding]:
    """Keys are derived from cluster.conf where there is one, so one that is left over matters."""
    if cluster is None or corosync is None or not corosync[0].nodes:
        return
    (cman, source), (ring, other) = cluster, corosync
    if cman.name != ring.name:
        text = f"cluster.conf is of {cman.name or 'no name'}, {other} of {ring.name or 'no name'}"
        yield fault(
            source, 0, f"{text}: reservation keys are derived from the first", "remove cluster.conf on all nodes"
        )
    ids = {node.name: node.node_id for node in ring.nodes}
    for node in cman.nodes:
        if node.name not in ids:
            text = f"clusternode {node.name} is no node of {other}"
        elif node.node_id != ids[node.name]:
            text = f"clusternode {node.name} has nodeid {node.node_id}, in {other} it has {ids[node.name]}"
        else:
            continue
        yield fault(source, node.line, text, "remove cluster.conf on all nodes, or correct it")


def _pacemaker_beside_corosync(
    corosync: tuple[CorosyncCluster, str] | None, cib: tuple[Cib, str] | None
) -> Iterator[CheckFinding]:
    if cib is None or corosync is None or not cib[0].nodes or not corosync[0].nodes:
        return
    names = {node.name for node in corosync[0].nodes}
    for node in cib[0].nodes:
        if node.name not in names and not node.remote:
            text = f"Pacemaker has a node {node.name}, which is none of {corosync[1]}: it can never be a member"
            yield fault(cib[1], node.line, text, f"crm_node --remove {node.name} --force, or correct the name")
