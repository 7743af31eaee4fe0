"""cman's cluster.conf: the nodes, how each is fenced and unfenced, the volume groups, and what is wrong with it.

Everything but ``read_cluster`` is pure. Values are kept as written, since what matters is what fenced hands to the
agent (cman, fence/libfence/agent.c: make_args, make_args_unfence). Attributes may hold passwords: no repr shows them.
"""

from collections.abc import Iterable, Mapping
from itertools import takewhile
from types import MappingProxyType
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from fencer.cluster.host_names import match_host_names
from fencer.cluster.keys import NodeIdentity
from fencer.errors import UsageError
from fencer.regular_file import read_regular_file


class DeviceRef(NamedTuple):
    """A ``<device>`` inside a method or ``<unfence>``: which fencedevice, and what to tell it about this node.

    attributes: all but ``name``, in the order of the file.
    """

    name: str
    attributes: Mapping[str, str]

    def __repr__(self) -> str:
        return f"DeviceRef({self.name!r}, ...)"


class FenceDevice(NamedTuple):
    """A ``<fencedevice>``. attributes: all but ``name``, ``agent`` included, in the order of the file."""

    name: str
    agent: str
    attributes: Mapping[str, str]

    def __repr__(self) -> str:
        return f"FenceDevice({self.name!r}, {self.agent!r}, ...)"


class FenceMethod(NamedTuple):
    """One way to fence a node: all its devices must succeed, in order."""

    name: str
    devices: tuple[DeviceRef, ...]


class ClusterNode(NamedTuple):
    """A ``<clusternode>``. node_id is 0 when the file gives none. Methods are tried in order."""

    name: str
    node_id: int
    fence_methods: tuple[FenceMethod, ...]
    unfence: tuple[DeviceRef, ...]


class Cluster(NamedTuple):
    """The part of cluster.conf that fencing is about. config_version is 0 when the file gives none."""

    name: str
    config_version: int
    two_node: bool
    nodes: tuple[ClusterNode, ...]
    fence_devices: tuple[FenceDevice, ...]
    volume_groups: tuple[str, ...]

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

    A file that is well-formed but wrong (a device that does not exist) parses; ``problems`` reports it.
    """
    root = _parse_xml(content, source)
    if root.tag != "cluster":
        raise UsageError(f"cluster_conf: {source}: the root element is <{root.tag}>, not <cluster>: give cluster.conf")
    cman = root.find("cman")
    return Cluster(
        name=root.get("name", ""),
        config_version=_number(root, "config_version", source),
        two_node=cman is not None and cman.get("two_node", "").strip() == "1",
        nodes=tuple(_node(element, source) for element in root.findall("clusternodes/clusternode")),
        fence_devices=tuple(
            FenceDevice(element.get("name", ""), element.get("agent", ""), _attributes(element))
            for element in root.findall("fencedevices/fencedevice")
        ),
        # <lvm> may stand under <resources> or in the middle of a service; <lvm ref=""> repeats one and has no vg_name.
        volume_groups=tuple(
            dict.fromkeys(vg for rm in root.findall("rm") for lvm in rm.iter("lvm") if (vg := lvm.get("vg_name")))
        ),
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


def _node(element: Element, source: str) -> ClusterNode:
    return ClusterNode(
        name=element.get("name", ""),
        node_id=_number(element, "nodeid", source),
        fence_methods=tuple(
            FenceMethod(method.get("name", ""), _device_refs(method)) for method in element.findall("fence/method")
        ),
        unfence=tuple(ref for unfence in element.findall("unfence") for ref in _device_refs(unfence)),
    )


def _device_refs(element: Element) -> tuple[DeviceRef, ...]:
    return tuple(DeviceRef(device.get("name", ""), _attributes(device)) for device in element.findall("device"))


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


def _parse_xml(content: str | bytes, source: str) -> Element:
    """Builds the tree. A document type is refused: no cluster.conf needs one, and entities are for attacks."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def refuse_doctype(*_declaration: object) -> None:
        line = parser.CurrentLineNumber
        raise UsageError(
            f"cluster_conf: {source} line {line}: a document type declaration is not accepted: remove <!DOCTYPE>"
        )

    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    try:
        parser.Parse(content, True)
        return builder.close()
    except expat.ExpatError as error:
        reason = expat.errors.messages.get(error.code, "not well-formed")
        raise UsageError(f"cluster_conf: {source} line {error.lineno}: {reason}: correct the XML there") from error
    except (LookupError, ValueError) as error:
        # An encoding that Python does not know, or text that cannot be encoded.
        raise UsageError(f"cluster_conf: {source} line 1: {error}: save the file as UTF-8") from error


_ACTIONS_OF_A_METHOD = frozenset({"off", "reboot", "on", "diag"})
# libfence looks at no more than these (MAX_METHODS, MAX_DEVICES).
_LIBFENCE_LIMIT = 8
# Agents for which one address is one node. A power switch serves many nodes from one address. fence-agents installs
# fence_ipmilan under the names of the vendors whose BMCs it is used for.
_BMC_AGENTS = frozenset({
    "fence_halvm", "fence_ipmilan", "fence_ipmilanplus", "fence_idrac", "fence_ilo3", "fence_ilo4", "fence_ilo5",
    "fence_imm",
})  # fmt: skip
# Agents that switch no node off: they take storage or a network port away, or only wait. Every other one does, also
# one that is not known here.
_NOT_POWER_AGENTS = frozenset({
    "", "fence_ack_manual", "fence_brocade", "fence_cisco_mds", "fence_dummy", "fence_heuristics_ping", "fence_ifmib",
    "fence_kdump", "fence_manual", "fence_mcdata", "fence_mpath", "fence_sanbox2", "fence_scsi", "fence_vixel",
})  # fmt: skip


def problems(cluster: Cluster) -> tuple[str, ...]:
    """Everything that would make fencing in this cluster fail or hit the wrong node; empty when all is well.

    One sentence each, no attribute values (they may be passwords) but names, ids and addresses.
    """
    found: list[str] = []
    if not cluster.name:
        found.append("the cluster has no name: reservation keys are derived from it")
    if not cluster.nodes:
        found.append("there is no clusternode")
    if cluster.two_node and len(cluster.nodes) != 2:
        found.append(f"two_node is set in a cluster of {len(cluster.nodes)} nodes")
    found += _identity_problems(cluster)
    found += _device_definition_problems(cluster)
    for node in cluster.nodes:
        found += _fencing_problems(cluster, node)
        found += _unarbitrated_problems(cluster, node)
        found += _unfencing_problems(cluster, node)
    found += _shared_bmc_problems(cluster)
    return tuple(dict.fromkeys(found))


def _identity_problems(cluster: Cluster) -> Iterable[str]:
    names: set[str] = set()
    owner: dict[int, str] = {}
    for position, node in enumerate(cluster.nodes):
        if not node.name:
            yield f"clusternode {position + 1} has no name"
        elif node.name.casefold() in names:
            yield f"there is more than one clusternode {node.name}"
        names.add(node.name.casefold())
        if node.node_id == 0:
            yield f"clusternode {node.name} has no nodeid, or nodeid 0"
        elif node.node_id in owner:
            yield f"clusternodes {owner[node.node_id]} and {node.name} have the same nodeid {node.node_id}"
        owner.setdefault(node.node_id, node.name)


def _device_definition_problems(cluster: Cluster) -> Iterable[str]:
    names: set[str] = set()
    for device in cluster.fence_devices:
        if not device.name:
            yield "there is a fencedevice without a name"
        elif device.name in names:
            yield f"there is more than one fencedevice {device.name}: fenced would merge them"
        names.add(device.name)
        if not device.agent:
            yield f"fencedevice {device.name} names no agent"
        yield from _line_break_problems(f"fencedevice {device.name}", device.attributes)


def _fencing_problems(cluster: Cluster, node: ClusterNode) -> Iterable[str]:
    if not node.fence_methods:
        yield f"clusternode {node.name} has no fence method: it can never be fenced"
    if len(node.fence_methods) > _LIBFENCE_LIMIT:
        yield f"clusternode {node.name} has more than {_LIBFENCE_LIMIT} fence methods: fenced ignores the rest"
    for method in node.fence_methods:
        where = f"clusternode {node.name}: method {method.name}"
        if not method.devices:
            yield f"{where} has no device"
        if len(method.devices) > _LIBFENCE_LIMIT:
            yield f"{where} has more than {_LIBFENCE_LIMIT} devices: fenced ignores the rest"
        for ref in method.devices:
            yield from _reference_problems(cluster, node, ref, where)
        yield from _harmless_method_problems(cluster, node, method, where)


def _harmless_method_problems(cluster: Cluster, node: ClusterNode, method: FenceMethod, where: str) -> Iterable[str]:
    """Methods that fence no node: fenced takes exit status 0 for a fence, whatever the device was asked for."""
    fences = not method.devices
    for ref in method.devices:
        attributes = _merged_or_none(cluster, node, ref) or {}
        action = attributes.get("action", attributes.get("option", "reboot")).strip().lower()
        fences = fences or action != "on"
        if attributes.get("agent") == "fence_halvm" and action not in _ACTIONS_OF_A_METHOD:
            yield f'{where}: device {ref.name} does not say action="off" or "reboot": fenced would take it for a fence'
    if not fences:
        yield f"{where} only switches on: fenced would take it for a fence"


def _unarbitrated_problems(cluster: Cluster, node: ClusterNode) -> Iterable[str]:
    """Methods by which a node that lost the race would fence. fenced takes a lost race for any failure: it goes on to
    the next method, but not to the next device."""
    raced = False
    for method in node.fence_methods:
        known = [
            attributes for ref in method.devices if (attributes := _merged_or_none(cluster, node, ref)) is not None
        ]
        before_a_race = list(takewhile(lambda each: not _arbitrates(each), known))
        if raced and any(each.get("agent", "") not in _NOT_POWER_AGENTS for each in before_a_race):
            yield (
                f"clusternode {node.name}: a node that lost the fence race would still shoot it by method "
                f"{method.name}: let that begin with a fence_halvm device with vg or devices, or remove it"
            )
        raced = raced or len(before_a_race) < len(known)


def _unfencing_problems(cluster: Cluster, node: ClusterNode) -> Iterable[str]:
    where = f"clusternode {node.name}: unfence"
    for ref in node.unfence:
        yield from _reference_problems(cluster, node, ref, where)
        attributes = _merged_or_none(cluster, node, ref)
        if attributes is not None and attributes.get("action", attributes.get("option", "")).lower() != "on":
            # libfence adds no action of its own, and an agent's default is to reboot: the node would shoot itself.
            yield f'{where}: device {ref.name} does not say action="on": the agent would reboot the node that joins'
    if node.unfence:
        return
    for method in node.fence_methods:
        for ref in method.devices:
            attributes = _merged_or_none(cluster, node, ref)
            if attributes is not None and _arbitrates(attributes):
                yield (
                    f"clusternode {node.name} has no unfence device, so it never registers its key: "
                    f'add <unfence><device name="{ref.name}" action="on"/></unfence>'
                )


def _reference_problems(cluster: Cluster, node: ClusterNode, ref: DeviceRef, where: str) -> Iterable[str]:
    if not ref.name:
        yield f"{where} has a device without a name"
        return
    attributes = _merged_or_none(cluster, node, ref)
    if attributes is None:
        yield f"{where}: device {ref.name} refers to a fencedevice that does not exist"
        return
    yield from _line_break_problems(f"{where}: device {ref.name}", ref.attributes)
    for name, value in ref.attributes.items():
        if attributes[name] != value:
            yield f"{where}: device {ref.name}: attribute {name} has no effect: the fencedevice overrides it"
    if attributes.get("agent") == "fence_halvm" and not _address(attributes) and not _has_storage(attributes):
        yield f"{where}: device {ref.name} has neither a BMC address (ip) nor storage (vg or devices)"


def _shared_bmc_problems(cluster: Cluster) -> Iterable[str]:
    owner: dict[tuple[str, str, str], str] = {}
    for node in cluster.nodes:
        for method in node.fence_methods:
            for ref in method.devices:
                attributes = _merged_or_none(cluster, node, ref)
                if attributes is None or attributes.get("agent") not in _BMC_AGENTS or not _address(attributes):
                    continue
                # One address with two ports or two bridged targets is two BMCs.
                bmc = (_address(attributes), attributes.get("ipport", "623"), attributes.get("target", ""))
                if owner.setdefault(bmc, node.name) != node.name:
                    yield f"clusternodes {owner[bmc]} and {node.name} have the same BMC address {bmc[0]}"


def _line_break_problems(where: str, attributes: Mapping[str, str]) -> Iterable[str]:
    for name, value in attributes.items():
        if "\n" in value or "\r" in value:
            yield f"{where}: attribute {name} contains a line break, which the agent would read as another option"


def _merged_or_none(cluster: Cluster, node: ClusterNode, ref: DeviceRef) -> Mapping[str, str] | None:
    known = any(device.name == ref.name for device in cluster.fence_devices)
    return merged_attributes(cluster, node, ref) if known else None


def _address(attributes: Mapping[str, str]) -> str:
    return attributes.get("ip", attributes.get("ipaddr", "")).strip().casefold()


def _arbitrates(attributes: Mapping[str, str]) -> bool:
    return attributes.get("agent") == "fence_halvm" and _has_storage(attributes)


def _has_storage(attributes: Mapping[str, str]) -> bool:
    return bool(attributes.get("vg", "").strip() or attributes.get("devices", "").strip())
