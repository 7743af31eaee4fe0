# SPDX-License-Identifier: Apache-2.0
"""Reads cman's cluster.conf: the nodes, how each is fenced and unfenced, the volume groups and the services on them.

Everything but ``read_cluster`` is pure. Values are kept as written, since what matters is what fenced hands to the
agent (cman, fence/libfence/agent.c: make_args, make_args_unfence). Attributes may hold passwords: no repr shows them.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from xml.etree.ElementTree import Element

from fencer._typing import NamedTuple
from fencer.cluster.host_names import match_host_names
from fencer.cluster.keys import NodeIdentity
from fencer.cluster.xml_lines import LinedXml, parse_xml
from fencer.errors import UsageError
from fencer.regular_file import read_regular_file


class DeviceRef(NamedTuple):
    """A ``<device>`` inside a method or ``<unfence>``: which fencedevice, and what to tell it about this node.

    attributes: all but ``name``, in the order of the file. line: here and below, of the file; 0 when unknown.
    """

    name: str
    attributes: Mapping[str, str]
    line: int = 0

    def __repr__(self) -> str:
        return f"DeviceRef({self.name!r}, ...)"


class FenceDevice(NamedTuple):
    """A ``<fencedevice>``. attributes: all but ``name``, ``agent`` included, in the order of the file."""

    name: str
    agent: str
    attributes: Mapping[str, str]
    line: int = 0

    def __repr__(self) -> str:
        return f"FenceDevice({self.name!r}, {self.agent!r}, ...)"


class FenceMethod(NamedTuple):
    """One way to fence a node: all its devices must succeed, in order."""

    name: str
    devices: tuple[DeviceRef, ...]
    line: int = 0


class ClusterNode(NamedTuple):
    """A ``<clusternode>``. node_id is 0 when the file gives none. Methods are tried in order."""

    name: str
    node_id: int
    fence_methods: tuple[FenceMethod, ...]
    unfence: tuple[DeviceRef, ...]
    line: int = 0


class LvmResource(NamedTuple):
    """An ``<lvm>`` of rgmanager. logical_volume: "" where the whole group is activated."""

    name: str
    volume_group: str
    logical_volume: str
    line: int = 0


class FsResource(NamedTuple):
    """An ``<fs>`` of rgmanager. device: as written."""

    name: str
    device: str
    line: int = 0


class Cluster(NamedTuple):
    """The part of cluster.conf that fencing and HA-LVM are about. config_version is 0 when the file gives none.

    quorum_disk: whether a ``<quorumd>`` decides between two halves. domain_nodes: the node names in failover domains,
    with their lines. two_node_line: of ``<cman>``.
    """

    name: str
    config_version: int
    two_node: bool
    nodes: tuple[ClusterNode, ...]
    fence_devices: tuple[FenceDevice, ...]
    volume_groups: tuple[str, ...]
    lvm: tuple[LvmResource, ...] = ()
    filesystems: tuple[FsResource, ...] = ()
    domain_nodes: tuple[tuple[str, int], ...] = ()
    quorum_disk: bool = False
    two_node_line: int = 0

    @property
    def identities(self) -> tuple[NodeIdentity, ...]:
        """The nodes as keys are derived from them; the position is the order of the clusternode elements."""
        return tuple(NodeIdentity(node.name, node.node_id, position) for position, node in enumerate(self.nodes))


def read_cluster(path: str = "/etc/cluster/cluster.conf") -> Cluster:
    """Reads and parses a file. Raises UsageError when it cannot be read or makes no sense."""
    try:
        content = read_regular_file(path, link=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cluster_conf: {path}: {reason}: give the path of a readable cluster.conf") from error
    return parse_cluster(content, path)


def parse_cluster(content: str | bytes, source: str = "cluster.conf") -> Cluster:
    """Raises UsageError, naming ``source`` and where possible the line, when the content is not a cluster.conf.

    A file that is well-formed but wrong (a device that does not exist) parses; ``fencer.cluster.problems`` names it.
    """
    document = parse_xml(content, "cluster_conf", source)
    root, lines = document
    if root.tag != "cluster":
        raise UsageError(f"cluster_conf: {source}: the root element is <{root.tag}>, not <cluster>: give cluster.conf")
    cman = root.find("cman")
    return Cluster(
        name=root.get("name", ""),
        config_version=_number(root, "config_version", source),
        two_node=cman is not None and cman.get("two_node", "").strip() == "1",
        nodes=tuple(_node(element, source, document) for element in root.findall("clusternodes/clusternode")),
        fence_devices=tuple(
            FenceDevice(element.get("name", ""), element.get("agent", ""), _attributes(element), lines[element])
            for element in root.findall("fencedevices/fencedevice")
        ),
        # <lvm> may stand under <resources> or in the middle of a service; <lvm ref=""> repeats one and has no vg_name.
        volume_groups=tuple(
            dict.fromkeys(vg for rm in root.findall("rm") for lvm in rm.iter("lvm") if (vg := lvm.get("vg_name")))
        ),
        lvm=tuple(
            LvmResource(lvm.get("name", ""), group, lvm.get("lv_name", ""), lines[lvm])
            for rm in root.findall("rm")
            for lvm in rm.iter("lvm")
            if (group := lvm.get("vg_name"))
        ),
        filesystems=tuple(
            FsResource(fs.get("name", ""), device, lines[fs])
            for rm in root.findall("rm")
            for fs in rm.iter("fs")
            if (device := fs.get("device"))
        ),
        domain_nodes=tuple(
            (each.get("name", ""), lines[each]) for rm in root.findall("rm") for each in rm.iter("failoverdomainnode")
        ),
        quorum_disk=root.find("quorumd") is not None,
        two_node_line=lines[cman] if cman is not None else 0,
    )


def fence_device(cluster: Cluster, ref: DeviceRef) -> FenceDevice:
    """The fencedevice that a ``<device>`` names. Raises UsageError when there is none."""
    for device in cluster.fence_devices:
        if device.name == ref.name:
            return device
    raise UsageError(f"cluster_conf: there is no fencedevice {ref.name!r}: add it, or correct the device that names it")


def merged_attributes(cluster: Cluster, node: ClusterNode, device_ref: DeviceRef) -> Mapping[str, str]:
    """What fenced writes to the agent's stdin for ``node`` (libfence make_args), duplicates resolved as an agent does.

    First the per-node device's attributes, then ``nodename`` (unless those already contain the text ``nodename=``, as
    libfence asks it), then the fencedevice's attributes with ``agent``. The last one wins, so the fencedevice overrides
    the node. No ``name`` is ever sent, and no ``action`` that is not written in the file.

    Raises UsageError when the fencedevice does not exist.
    """
    device = fence_device(cluster, device_ref)
    merged = dict(device_ref.attributes)
    if not any("nodename=" in f"{name}={value}" for name, value in merged.items()):
        merged["nodename"] = node.name
    return MappingProxyType({**merged, **device.attributes})


def find_local_node(cluster: Cluster, host_names: Iterable[str]) -> ClusterNode | None:
    """The node that goes by one of this host's names, or None when there is none or more than one."""
    index = match_host_names([node.name for node in cluster.nodes], host_names)
    return None if index is None else cluster.nodes[index]


def other_node(cluster: Cluster, local: ClusterNode) -> ClusterNode:
    """The peer of ``local`` in a cluster of exactly two nodes. Raises UsageError in any other."""
    others = [node for node in cluster.nodes if node is not local and node.name != local.name]
    if len(cluster.nodes) != 2 or len(others) != 1:
        raise UsageError(
            f"plug: cluster {cluster.name} has {len(cluster.nodes)} nodes, so name the one to fence: give -n NAME"
        )
    return others[0]


def _node(element: Element, source: str, document: LinedXml) -> ClusterNode:
    return ClusterNode(
        name=element.get("name", ""),
        node_id=_number(element, "nodeid", source),
        fence_methods=tuple(
            FenceMethod(method.get("name", ""), _device_refs(method, document), document.lines[method])
            for method in element.findall("fence/method")
        ),
        unfence=tuple(ref for unfence in element.findall("unfence") for ref in _device_refs(unfence, document)),
        line=document.lines[element],
    )


def _device_refs(element: Element, document: LinedXml) -> tuple[DeviceRef, ...]:
    return tuple(
        DeviceRef(device.get("name", ""), _attributes(device), document.lines[device])
        for device in element.findall("device")
    )


def _attributes(element: Element) -> Mapping[str, str]:
    return MappingProxyType({name: value for name, value in element.items() if name != "name"})


def _number(element: Element, attribute: str, source: str) -> int:
    """An attribute as an unsigned 32-bit number, 0 when it is absent."""
    text = element.get(attribute, "0").strip()
    # int() alone also takes signs, underscores, other scripts' digits, and megabytes of them.
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 1 << 32):
        where = f"{source}: {element.tag} {element.get('name', '')}".strip()
        raise UsageError(
            f"cluster_conf: {where}: {attribute}={text[:40]!r} is not a number from 0 to 4294967295: correct it"
        )
    return int(text)
