# SPDX-License-Identifier: Apache-2.0
"""Finds what in a CIB would keep a node from being fenced, or two nodes from surviving each other. Pure.

Source: Pacemaker Explained, Fencing; pacemaker-fenced(7) and pacemaker-controld(7).
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from fencer.cluster.addresses import is_cut_short
from fencer.cluster.problems import BMC_AGENTS, NOT_POWER_AGENTS
from fencer.ctl.check.devices import Device, of_cib, read_differently
from fencer.ctl.check.finding import CheckFinding, fault, warning
from fencer.ctl.sources.cib import Cib, Primitive
from fencer.ctl.sources.cib_constraints import FencingLevel
from fencer.ctl.sources.cib_values import is_false, is_true, seconds
from fencer.storage.lun_names import REMEDY, is_name_of_one_node

LOOK_S: Final = 20.0
"""Least timeout of a monitor and of a start of our device: the agent's own deadline is 15 s, with its start and end.
Pacemaker's default is as long."""

ENABLED: Final = ("stonith-enabled", "fencing-enabled")
TIMEOUT: Final = ("stonith-timeout", "fencing-timeout")
"""Names of a property: until Pacemaker 3.0.1, and since 3.0.2, which goes by the old one where the new one is not set.
Which Pacemaker will read a CIB is not known here: each name is checked."""

FENCE_S: Final = 60.0
"""Pacemaker's time for a fence, unless it is set. fence_halvm fits its own deadline to it."""


def stonith_findings(cib: Cib, source: str, members: Collection[str] = ()) -> list[CheckFinding]:
    """members: names of the nodes by corosync.conf; none: those of the CIB."""
    devices = of_cib(cib, source)
    nodes = tuple(members) or tuple(node.name for node in cib.nodes if not node.remote)
    return [
        *_properties(cib, source),
        *_coverage(cib, devices, nodes, source),
        *_addresses(devices),
        *[finding for device in cib.stonith for finding in _device(cib, device, source)],
        *_duel(cib, devices, nodes, source),
        *_topology(cib, devices, source),
        *_avoids(cib, source),
    ]


def _properties(cib: Cib, source: str) -> Iterator[CheckFinding]:
    for name in ENABLED:
        enabled = cib.properties.get(name)
        if enabled is not None and is_false(enabled.text):
            text = f"{name} is false: a node that fails is never fenced, and what it ran is not recovered safely"
            yield fault(source, enabled.line, text, f"pcs property set {name}=true")
    startup = cib.properties.get("startup-fencing")
    if startup is not None and is_false(startup.text):
        text = "startup-fencing is false: a node that was not seen since the start counts as down, and is not fenced"
        yield fault(source, startup.line, text, "pcs property set startup-fencing=true")
    policy = cib.properties.get("no-quorum-policy")
    if policy is not None and policy.text.casefold() == "ignore":
        text = "no-quorum-policy is ignore: each half of a split cluster starts the service"
        yield fault(source, policy.line, text, "pcs property set no-quorum-policy=stop (two_node needs no ignore)")
    if (mode := cib.properties.get("maintenance-mode")) is not None and is_true(mode.text):
        yield fault(
            source, mode.line, "maintenance-mode is on: nothing is recovered", "pcs property set maintenance-mode=false"
        )
    if (stop := cib.properties.get("stop-all-resources")) is not None and is_true(stop.text):
        text, remedy = "stop-all-resources is on: no service runs", "pcs property set stop-all-resources=false"
        yield fault(source, stop.line, text, remedy)
    for name in TIMEOUT:
        timeout = cib.properties.get(name)
        if timeout is None or (limit_s := seconds(timeout.text)) is None or limit_s >= FENCE_S:
            continue
        short = [
            each.name for each in cib.stonith if each.kind == "fence_halvm" and not each.value("pcmk_reboot_timeout")
        ]
        if short:
            text = (
                f"{name} is {timeout.text}: Pacemaker kills a fence after it, and fence_halvm cannot know: it "
                f"goes by {FENCE_S:g} s ({', '.join(short)})"
            )
            yield fault(
                source, timeout.line, text, f"remove it, or set pcmk_reboot_timeout={timeout.text} on the devices"
            )


def _coverage(cib: Cib, devices: Collection[Device], nodes: Collection[str], source: str) -> Iterator[CheckFinding]:
    if not devices:
        yield fault(source, cib.line, "there is no stonith device: no node can be fenced", "pcs stonith create ...")
        return
    known = {name.casefold() for name in (*nodes, *(node.name for node in cib.nodes), *cib.remote_nodes, *cib.guests)}
    for device in devices:
        primitive = next(each for each in cib.stonith if each.name == device.name)
        if device.ours and not device.nodes and primitive.value("pcmk_host_check") != "none":
            text = (
                f"device {device.name} has no pcmk_host_list: Pacemaker may take it for any node, and it is one node's"
            )
            yield fault(source, device.line, text, f"pcs stonith update {device.name} pcmk_host_list=NODE")
        for entry, name in read_differently(primitive.value("pcmk_host_map")):
            text = f"device {device.name}: pcmk_host_map: Pacemaker until 3.0.1 takes {name} for the node of {entry}"
            remedy = "create one device for each node, with its plug in it"
            yield fault(source, primitive.line_of("pcmk_host_map"), text, remedy)
        useless = all(name.casefold() not in known for name in device.nodes)
        for name in device.nodes:
            if nodes and name.casefold() not in known:
                text = f"device {device.name} is for {name}, which is no node of the cluster ({', '.join(nodes)})"
                line = primitive.line_of("pcmk_host_list" if primitive.value("pcmk_host_list") else "pcmk_host_map")
                # A name too many does no harm: an alias, or a node that is yet to come.
                yield (fault if useless else warning)(source, line, text, "correct the name, or take it out")
        if device.ours and device.address and len(device.nodes) > 1 and not primitive.value("port_as_ip"):
            text = (
                f"device {device.name} names {len(device.nodes)} nodes and one BMC: it would switch off the wrong one"
            )
            yield fault(source, primitive.line_of("pcmk_host_list"), text, "create one device for each node")
    for node in dict.fromkeys((*nodes, *cib.remote_nodes)):
        if not any(device.may_fence(node) for device in devices):
            yield fault(
                source, cib.line, f"no stonith device is for {node}: it cannot be fenced",
                f"pcs stonith create fence-{node} fence_halvm pcmk_host_list={node} ...",
            )  # fmt: skip


def lun_name_findings(devices: Iterable[Device]) -> Iterator[CheckFinding]:
    """LUNs by names that another node may give to another LUN, which fence_halvm refuses."""
    for device in devices:
        for name in device.attributes.get("devices", "").replace(",", " ").split():
            if device.ours and is_name_of_one_node(name):
                text = f"device {device.name}: {name} may be another LUN on another node: fence_halvm refuses it"
                yield fault(device.source, device.line, text, REMEDY)


def _addresses(devices: Collection[Device]) -> Iterator[CheckFinding]:
    owners: dict[tuple[str, str, str], Device] = {}
    for device in devices:
        if device.agent not in BMC_AGENTS or not device.address:
            continue
        if is_cut_short(device.address):
            text = f"device {device.name}: {device.address} is no whole IPv4 address: no BMC answers there"
            yield fault(device.source, device.line, text, "write all four numbers")
        bmc = (device.address, device.attributes.get("ipport", "623"), device.attributes.get("target", ""))
        owner = owners.setdefault(bmc, device)
        if set(owner.nodes) != set(device.nodes):
            text = f"devices {owner.name} and {device.name} have the same BMC address {device.address}"
            yield fault(device.source, device.line, text, "give each the address of its own BMC")


def _device(cib: Cib, device: Primitive, source: str) -> Iterator[CheckFinding]:
    if device.kind != "fence_halvm":
        return
    storage = device.value("vg") or device.value("devices")
    provides = device.meta.get("provides")
    if storage and (provides is None or provides.text != "unfencing"):
        text = f"device {device.name} has storage and no meta attribute provides=unfencing: no node registers its key"
        yield fault(source, device.line, text, f"pcs stonith meta {device.name} provides=unfencing")
    if not storage and not device.value("ip") and not device.value("ipaddr"):
        text = f"device {device.name} has neither a BMC address (ip) nor storage (vg or devices)"
        yield fault(source, device.line, text, f"pcs stonith update {device.name} ip=ADDRESS vg=GROUP")
    if not any(each.name == "monitor" for each in device.operations):
        text = f"device {device.name} has no monitor: a BMC that dies is noticed when it is needed"
        yield warning(
            source, device.line, text, f"pcs stonith update {device.name} op monitor interval=60s timeout=60s"
        )
    for operation in device.operations:
        name = operation.name
        timeout_s = cib.operation_timeout_s if operation.timeout_s is None else operation.timeout_s
        if name in ("monitor", "start") and timeout_s < LOOK_S:
            text = (
                f"device {device.name}: {name} has {timeout_s:g} s, and with a silent BMC it takes 15 s and more: "
                "Pacemaker would ban the device from the node"
            )
            remedy = f"pcs stonith update {device.name} op {name} timeout=60s"
            yield fault(source, operation.line, text, remedy)
    if "failure-timeout" not in device.meta and "failure-timeout" not in cib.resource_defaults:
        text = f"device {device.name} has no failure-timeout: after a BMC was away it stays stopped"
        yield warning(source, device.line, text, f"pcs stonith meta {device.name} failure-timeout=60s")
    role = device.meta.get("target-role")
    if role is not None and role.text.casefold() == "stopped":
        text = f"device {device.name} is disabled (target-role=Stopped): its node cannot be fenced"
        yield fault(source, role.line, text, f"pcs stonith enable {device.name}")
    for name in ("pcmk_delay_max", "pcmk_delay_base", "delay"):
        if storage and (delay_s := max(delays_s(device.value(name)), default=0.0)):
            text = f"device {device.name}: {name} delays each failover by {delay_s:g} s, and the disk decides anyway"
            yield warning(source, device.line_of(name), text, f"pcs stonith update {device.name} {name}=")


def delays_s(text: str) -> tuple[float, ...]:
    """The delays in ``5s``, or in pcmk_delay_base's ``node1:5s;node2:0``, but those of 0."""
    entries = text.replace(";", " ").replace(",", " ").split()
    return tuple(delay_s for entry in entries if (delay_s := seconds(entry.rpartition(":")[2])))


def _duel(cib: Cib, devices: Collection[Device], nodes: Collection[str], source: str) -> Iterator[CheckFinding]:
    """Two nodes that each switch the other off."""
    if len(nodes) != 2 or not devices or seconds(cib.setting("priority-fencing-delay", "0")):
        return
    by_node = {node: _used_first(cib, devices, node) for node in nodes}
    shot = [
        each
        for known in by_node.values()
        if known and not any(device.arbitrates for device in known)
        for each in known[:1]
        if each.agent not in NOT_POWER_AGENTS
    ]
    bases = [each.attributes.get("pcmk_delay_base") or each.attributes.get("delay", "") for each in shot]
    random = any(delays_s(each.attributes.get("pcmk_delay_max", "")) for each in shot)
    if len({each.name for each in shot}) == 1:  # a device of both nodes: a delay for each of them by its name
        unequal = not shot[0].nodes or ":" in bases[0]
    else:
        unequal = len(set(map(delays_s, bases))) > 1
    if len(shot) == 2 and not unequal and not random:
        text = "two nodes without arbitration: when they lose sight of each other, each switches the other off"
        yield fault(source, shot[1].line, text, "give each fence_halvm device vg=GROUP: the reservation decides")


def _used_first(cib: Cib, devices: Collection[Device], node: str) -> list[Device]:
    """The devices by which a node is fenced first: those of its first level, or all for it where it has no level."""
    levels = sorted((each for each in cib.levels if each.target == node), key=_order)
    if levels:
        return [device for name in levels[0].devices for device in devices if device.name == name]
    return [each for each in devices if each.may_fence(node)]


def _topology(cib: Cib, devices: Collection[Device], source: str) -> Iterator[CheckFinding]:
    by_name = {device.name: device for device in devices}
    raced: set[str] = set()
    for level in sorted(cib.levels, key=_order):
        unknown = [name for name in level.devices if name not in by_name]
        if unknown:
            text = f"fencing level {level.number} of {level.target}: there is no device {', '.join(unknown)}"
            yield fault(source, level.line, text, "correct the name")
        known = [by_name[name] for name in level.devices if name in by_name]
        arbitrates = any(device.arbitrates for device in known[:1])
        if level.target in raced and not arbitrates and any(each.agent not in NOT_POWER_AGENTS for each in known):
            text = f"a node that lost the fence race would still shoot {level.target} by level {level.number}"
            yield fault(source, level.line, text, "let it begin with a fence_halvm with vg or devices, or remove it")
        if any(device.arbitrates for device in known):
            raced.add(level.target)
    for device in devices:
        for node in device.nodes if device.ours else ():
            levels = [level for level in cib.levels if level.target == node]
            if levels and not any(device.name in level.devices for level in levels):
                text = f"device {device.name} is in no fencing level of {node}: {node} is never fenced by it"
                remedy = f"pcs stonith level add {max(level.number for level in levels) + 1} {node} {device.name}"
                yield warning(source, device.line, text, remedy)


def _order(level: FencingLevel) -> tuple[str, int]:
    return level.target, level.number


def _avoids(cib: Cib, source: str) -> Iterator[CheckFinding]:
    unfencing = {
        each.name
        for each in cib.stonith
        if (provides := each.meta.get("provides")) is not None and provides.text == "unfencing"
    }
    for location in cib.locations:
        if location.resource in unfencing and location.score.upper() == "-INFINITY":
            text = (
                f"{location.resource} avoids {location.node}: that node cannot be unfenced by it, and Pacemaker starts "
                "nothing there"
            )
            yield fault(
                source, location.line, text,
                f"pcs constraint delete {location.name}; prefer the other node instead (score 100)",
            )  # fmt: skip
