# SPDX-License-Identifier: Apache-2.0
"""Finds what in a cluster.conf would make a fence fail, hit the wrong node, or leave a service down. Pure.

``fence_halvm -o monitor`` by hand and ``halvmctl check`` show it.
"""

from collections.abc import Iterable, Mapping
from itertools import takewhile

from fencer._typing import NamedTuple
from fencer.cluster.addresses import is_cut_short
from fencer.cluster.cluster_conf import (
    Cluster,
    ClusterNode,
    DeviceRef,
    FenceMethod,
    merged_attributes,
)
from fencer.cluster.device_names import logical_volume_of


class Problem(NamedTuple):
    """A problem of a cluster.conf.

    text: what is wrong, and what follows. remedy: what to change. line: of the file; 0 when none is to blame.
    """

    line: int
    text: str
    remedy: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.text}: {self.remedy}"


_ACTIONS_OF_A_METHOD = frozenset({"off", "reboot", "on", "diag"})
# libfence looks at no more than these (MAX_METHODS, MAX_DEVICES).
_LIBFENCE_LIMIT = 8
# Agents for which one address is one node. A power switch serves many nodes from one address. fence-agents installs
# fence_ipmilan under the names of the vendors whose BMCs it is used for.
BMC_AGENTS = frozenset({
    "fence_halvm", "fence_ipmilan", "fence_ipmilanplus", "fence_idrac", "fence_ilo3", "fence_ilo4", "fence_ilo5",
    "fence_imm",
})  # fmt: skip
# Agents that switch no node off: they take storage or a network port away, or only wait. Every other one does, also
# one that is not known here.
NOT_POWER_AGENTS = frozenset({
    "", "fence_ack_manual", "fence_brocade", "fence_cisco_mds", "fence_dummy", "fence_heuristics_ping", "fence_ifmib",
    "fence_kdump", "fence_manual", "fence_mcdata", "fence_mpath", "fence_sanbox2", "fence_scsi", "fence_vixel",
})  # fmt: skip

# Agents that hand the fence to Pacemaker: its configuration says which node survives.
PACEMAKERS_AGENTS = frozenset({"fence_pcmk"})


def problems(cluster: Cluster) -> tuple[Problem, ...]:
    """All problems of the file. Their texts hold names, ids and addresses, but no other values: no passwords."""
    found: list[Problem] = []
    if not cluster.name:
        found.append(Problem(0, "the cluster has no name: reservation keys are derived from it", 'add name="..."'))
    if not cluster.nodes:
        found.append(Problem(0, "there is no clusternode", "add one for each node"))
    if cluster.two_node and len(cluster.nodes) != 2:
        text = f"two_node is set in a cluster of {len(cluster.nodes)} nodes"
        found.append(Problem(cluster.two_node_line, text, "remove two_node and expected_votes"))
    found += _identity_problems(cluster)
    found += _device_definition_problems(cluster)
    for node in cluster.nodes:
        found += _fencing_problems(cluster, node)
        found += _unarbitrated_problems(cluster, node)
        found += _unfencing_problems(cluster, node)
    found += _shared_bmc_problems(cluster)
    found += _duel_problems(cluster)
    found += _service_problems(cluster)
    return tuple(dict.fromkeys(found))


def _identity_problems(cluster: Cluster) -> Iterable[Problem]:
    names: set[str] = set()
    owner: dict[int, str] = {}
    for position, node in enumerate(cluster.nodes):
        if not node.name:
            yield Problem(node.line, f"clusternode {position + 1} has no name", "give it the node's name")
        elif node.name.casefold() in names:
            yield Problem(node.line, f"there is more than one clusternode {node.name}", "name each node once")
        names.add(node.name.casefold())
        if node.node_id == 0:
            yield Problem(node.line, f"clusternode {node.name} has no nodeid, or nodeid 0", "give it one of its own")
        elif node.node_id in owner:
            text = f"clusternodes {owner[node.node_id]} and {node.name} have the same nodeid {node.node_id}"
            yield Problem(node.line, text, "give each its own")
        owner.setdefault(node.node_id, node.name)


def _device_definition_problems(cluster: Cluster) -> Iterable[Problem]:
    names: set[str] = set()
    for device in cluster.fence_devices:
        if not device.name:
            yield Problem(device.line, "there is a fencedevice without a name", "name it")
        elif device.name in names:
            text = f"there is more than one fencedevice {device.name}: fenced would merge them"
            yield Problem(device.line, text, "give each a name of its own")
        names.add(device.name)
        if not device.agent:
            yield Problem(device.line, f"fencedevice {device.name} names no agent", 'add agent="fence_halvm"')
        address = _address(device.attributes)
        if is_cut_short(address):
            text = f"fencedevice {device.name}: {address} is no whole IPv4 address: no BMC answers there"
            yield Problem(device.line, text, "write all four numbers")
        yield from _line_break_problems(f"fencedevice {device.name}", device.attributes, device.line)


def _fencing_problems(cluster: Cluster, node: ClusterNode) -> Iterable[Problem]:
    if not node.fence_methods:
        text = f"clusternode {node.name} has no fence method: it can never be fenced"
        yield Problem(node.line, text, 'add <method name="..."><device name="..."/></method> to its <fence>')
    if len(node.fence_methods) > _LIBFENCE_LIMIT:
        text = f"clusternode {node.name} has more than {_LIBFENCE_LIMIT} fence methods: fenced ignores the rest"
        yield Problem(node.line, text, "remove some")
    for method in node.fence_methods:
        where = f"clusternode {node.name}: method {method.name}"
        if not method.devices:
            yield Problem(method.line, f"{where} has no device", "add one, or remove the method")
        if len(method.devices) > _LIBFENCE_LIMIT:
            text = f"{where} has more than {_LIBFENCE_LIMIT} devices: fenced ignores the rest"
            yield Problem(method.line, text, "remove some")
        for ref in method.devices:
            yield from _reference_problems(cluster, node, ref, where)
        yield from _harmless_method_problems(cluster, node, method, where)


def _harmless_method_problems(
    cluster: Cluster, node: ClusterNode, method: FenceMethod, where: str
) -> Iterable[Problem]:
    """Methods that fence no node: fenced takes exit status 0 for a fence, whatever the device was asked for."""
    fences = not method.devices
    for ref in method.devices:
        attributes = _merged_or_none(cluster, node, ref) or {}
        action = attributes.get("action", attributes.get("option", "reboot")).strip().lower()
        fences = fences or action != "on"
        if attributes.get("agent") == "fence_halvm" and action not in _ACTIONS_OF_A_METHOD:
            text = f'{where}: device {ref.name} does not say action="off" or "reboot": fenced would take it for a fence'
            yield Problem(ref.line, text, "remove its action, or correct it")
    if not fences:
        text = f"{where} only switches on: fenced would take it for a fence"
        yield Problem(method.line, text, 'add a device with action="off" before it')


def _unarbitrated_problems(cluster: Cluster, node: ClusterNode) -> Iterable[Problem]:
    """Methods by which a node that lost the race would fence. fenced takes a lost race for any failure: it goes on to
    the next method, but not to the next device."""
    raced = False
    for method in node.fence_methods:
        known = _known_attributes(cluster, node, method)
        before_a_race = list(takewhile(lambda each: not _arbitrates(each), known))
        if raced and any(each.get("agent", "") not in NOT_POWER_AGENTS for each in before_a_race):
            text = (
                f"clusternode {node.name}: a node that lost the fence race would still shoot it by method {method.name}"
            )
            yield Problem(
                method.line, text, "let that begin with a fence_halvm device with vg or devices, or remove it"
            )
        raced = raced or len(before_a_race) < len(known)


def _unfencing_problems(cluster: Cluster, node: ClusterNode) -> Iterable[Problem]:
    where = f"clusternode {node.name}: unfence"
    for ref in node.unfence:
        yield from _reference_problems(cluster, node, ref, where)
        attributes = _merged_or_none(cluster, node, ref)
        if attributes is not None and attributes.get("action", attributes.get("option", "")).lower() != "on":
            # libfence adds no action of its own, and an agent's default is to reboot: the node would shoot itself.
            text = f'{where}: device {ref.name} does not say action="on": the agent would reboot the node that joins'
            yield Problem(ref.line, text, 'add action="on"')
    if node.unfence:
        return
    for method in node.fence_methods:
        for ref in method.devices:
            attributes = _merged_or_none(cluster, node, ref)
            if attributes is not None and _arbitrates(attributes):
                text = f"clusternode {node.name} has no unfence device, so it never registers its key"
                yield Problem(node.line, text, f'add <unfence><device name="{ref.name}" action="on"/></unfence>')


def _reference_problems(cluster: Cluster, node: ClusterNode, ref: DeviceRef, where: str) -> Iterable[Problem]:
    if not ref.name:
        yield Problem(ref.line, f"{where} has a device without a name", "name a fencedevice")
        return
    attributes = _merged_or_none(cluster, node, ref)
    if attributes is None:
        text = f"{where}: device {ref.name} refers to a fencedevice that does not exist"
        yield Problem(ref.line, text, "add it, or correct the name")
        return
    yield from _line_break_problems(f"{where}: device {ref.name}", ref.attributes, ref.line)
    for name, value in ref.attributes.items():
        if attributes[name] != value:
            text = f"{where}: device {ref.name}: attribute {name} has no effect: the fencedevice overrides it"
            yield Problem(ref.line, text, "give it in one of the two places")
    if attributes.get("agent") == "fence_halvm" and not _address(attributes) and not _has_storage(attributes):
        text = f"{where}: device {ref.name} has neither a BMC address (ip) nor storage (vg or devices)"
        yield Problem(ref.line, text, "give one of them, or both")


def _shared_bmc_problems(cluster: Cluster) -> Iterable[Problem]:
    owner: dict[tuple[str, str, str], str] = {}
    for node in cluster.nodes:
        for method in node.fence_methods:
            for ref in method.devices:
                attributes = _merged_or_none(cluster, node, ref)
                if attributes is None or attributes.get("agent") not in BMC_AGENTS or not _address(attributes):
                    continue
                # One address with two ports or two bridged targets is two BMCs.
                bmc = (_address(attributes), attributes.get("ipport", "623"), attributes.get("target", ""))
                if owner.setdefault(bmc, node.name) != node.name:
                    text = f"clusternodes {owner[bmc]} and {node.name} have the same BMC address {bmc[0]}"
                    yield Problem(ref.line, text, "give each the address of its own BMC")


def _duel_problems(cluster: Cluster) -> Iterable[Problem]:
    """Problems of a two-node cluster in which nothing decides which node survives a mutual fence."""
    if len(cluster.nodes) != 2 or cluster.quorum_disk:
        return
    known = [
        attributes
        for node in cluster.nodes
        for method in node.fence_methods
        for attributes in _known_attributes(cluster, node, method)
    ]
    shoots = any(each.get("agent", "") not in NOT_POWER_AGENTS | PACEMAKERS_AGENTS for each in known)
    if shoots and not any(_arbitrates(each) or _delay(each) for each in known):
        yield Problem(
            cluster.two_node_line,
            "two nodes without arbitration: when they lose sight of each other, each switches the other off",
            "give each a fence_halvm device with vg or devices, so that the reservation decides which one survives",
        )


def _service_problems(cluster: Cluster) -> Iterable[Problem]:
    """Resources of rgmanager that do not fit each other or the nodes."""
    names = {node.name for node in cluster.nodes}
    for name, line in cluster.domain_nodes:
        if name not in names:
            yield Problem(line, f"failover domain: there is no clusternode {name}", "correct the name")
    activated = {each.volume_group: each for each in cluster.lvm}
    for fs in cluster.filesystems:
        volume = logical_volume_of(fs.device, activated)
        if volume is None:
            continue
        group, logical = volume
        lvm = activated.get(group)
        if lvm is None:
            if activated:
                text = f"fs {fs.name}: {fs.device}: no lvm resource activates volume group {group}"
                yield Problem(fs.line, text, f"correct the device, or the lvm resource {next(iter(activated))}")
        elif lvm.logical_volume not in ("", logical):
            text = f"fs {fs.name} mounts {fs.device}, but lvm {lvm.name} activates {lvm.logical_volume}"
            yield Problem(fs.line, text, "write the name that lvs shows in both")
    for device in cluster.fence_devices:
        group = device.attributes.get("vg", "").strip()
        if group and activated and group not in activated:
            text = f"fencedevice {device.name} fences volume group {group}, the services use {', '.join(activated)}"
            yield Problem(device.line, text, "name the group of the services in vg")


def _line_break_problems(where: str, attributes: Mapping[str, str], line: int) -> Iterable[Problem]:
    for name, value in attributes.items():
        if "\n" in value or "\r" in value:
            text = f"{where}: attribute {name} contains a line break, which the agent would read as another option"
            yield Problem(line, text, "remove the line break")


def _known_attributes(cluster: Cluster, node: ClusterNode, method: FenceMethod) -> list[Mapping[str, str]]:
    """The attributes that fenced would send to each existing device of the method."""
    return [attributes for ref in method.devices if (attributes := _merged_or_none(cluster, node, ref)) is not None]


def _merged_or_none(cluster: Cluster, node: ClusterNode, ref: DeviceRef) -> Mapping[str, str] | None:
    known = any(device.name == ref.name for device in cluster.fence_devices)
    return merged_attributes(cluster, node, ref) if known else None


def _address(attributes: Mapping[str, str]) -> str:
    return attributes.get("ip", attributes.get("ipaddr", "")).strip().casefold()


def _delay(attributes: Mapping[str, str]) -> bool:
    return attributes.get("delay", "").strip() not in ("", "0")


def _arbitrates(attributes: Mapping[str, str]) -> bool:
    return attributes.get("agent") == "fence_halvm" and _has_storage(attributes)


def _has_storage(attributes: Mapping[str, str]) -> bool:
    return bool(attributes.get("vg", "").strip() or attributes.get("devices", "").strip())
