# SPDX-License-Identifier: Apache-2.0
"""Finds what in a CIB would keep the volume group or the file system from starting on the survivor. Pure.

Source: the agents' metadata (ocf_heartbeat_LVM-activate(7), ocf_heartbeat_Filesystem(7)).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from fencer.cluster.device_names import logical_volume_of
from fencer.ctl.check.finding import CheckFinding, fault, warning
from fencer.ctl.check.lvm_rules import LVMLOCKD, SYSTEM_ID, Use
from fencer.ctl.sources.cib import Cib, Primitive
from fencer.ctl.sources.cib_values import Value, is_false, is_true
from fencer.ctl.sources.lvm_report import LogicalVolume

_MODES: Final = (SYSTEM_ID, LVMLOCKD, "clvmd", "tagging")
LEAST_S: Final = {"LVM-activate": 60.0, "Filesystem": 40.0}
"""Timeouts of start and stop below it fail on a loaded node. The agents advise 90 and 60 s."""


def uses_of(cib: Cib, source: str) -> tuple[Use, ...]:
    """The volume groups that the services activate."""
    return tuple(
        Use(_group(each), each.value("vg_access_mode"), source, each.line)
        for each in cib.of_kind("LVM-activate")
        if _group(each)
    )


def _group(activation: Primitive) -> str:
    return activation.value("vgname") or activation.value("volgrpname")


def service_findings(cib: Cib, source: str, volumes: Collection[LogicalVolume] | None = None) -> list[CheckFinding]:
    """volumes: the logical volumes that exist, as lvs shows them; None: not known."""
    activations = cib.of_kind("LVM-activate")
    return [
        *[finding for each in activations for finding in _activation(each, source)],
        *[finding for each in cib.of_kind("Filesystem") for finding in _file_system(cib, each, source, volumes)],
        *_fenced_groups(cib, source),
        *_states(cib, source),
        *[finding for each in (*activations, *cib.of_kind("Filesystem")) for finding in _timeouts(cib, each, source)],
    ]


def _activation(activation: Primitive, source: str) -> Iterator[CheckFinding]:
    if not _group(activation):
        text = f"{activation.name} (LVM-activate) names no volume group"
        yield fault(source, activation.line, text, f"pcs resource update {activation.name} vgname=GROUP")
    mode = activation.value("vg_access_mode")
    if mode not in _MODES:
        said = f"is {mode}" if mode else "is not set"
        text = f"{activation.name}: vg_access_mode {said}"
        remedy = f"pcs resource update {activation.name} vg_access_mode=system_id (or lvmlockd)"
        yield fault(source, activation.line_of("vg_access_mode"), text, remedy)
    elif mode == "clvmd":
        text = f"{activation.name}: vg_access_mode is clvmd, which LVM 2.03 does not have any more"
        remedy = f"pcs resource update {activation.name} vg_access_mode=lvmlockd, with use_lvmlockd and dlm"
        yield fault(source, activation.line_of("vg_access_mode"), text, remedy)
    elif mode == "tagging":
        text = f"{activation.name}: vg_access_mode is tagging: a tag keeps no LVM command of another node away"
        remedy = f"pcs resource update {activation.name} vg_access_mode=system_id"
        yield warning(source, activation.line_of("vg_access_mode"), text, remedy)
    if is_true(activation.value("partial_activation")):
        text = f"{activation.name}: partial_activation starts the service on a group of which a disk is missing"
        remedy = f"pcs resource update {activation.name} partial_activation="
        yield warning(source, activation.line_of("partial_activation"), text, remedy)


def _file_system(
    cib: Cib, fs: Primitive, source: str, volumes: Collection[LogicalVolume] | None
) -> Iterator[CheckFinding]:
    activations = {_group(each): each for each in cib.of_kind("LVM-activate")}
    volume = logical_volume_of(fs.value("device"), activations)
    if volume is None:
        return
    group, logical = volume
    line = fs.line_of("device")
    activation = activations.get(group)
    if activation is None:
        text = f"{fs.name} mounts {fs.value('device')}, and no LVM-activate resource activates {group}"
        old = next((each.name for each in cib.of_kind("LVM") if _group(each) == group), "")
        there = f"correct the device (there is {', '.join(activations)})" if activations else "create one before it"
        there = f"make {old} (LVM) an LVM-activate with vg_access_mode=system_id" if old else there
        yield fault(source, line, text, there)
        return
    only = activation.value("lvname")
    if only and only != logical:
        text = f"{fs.name} mounts {fs.value('device')}, but {activation.name} activates {only}"
        yield fault(source, line, text, "write the name that lvs shows in both")
    names = [each.name for each in volumes or () if each.group == group]
    if names and logical not in names:
        text = f"{fs.name} mounts {fs.value('device')}, but {group} has no {logical}: it has {', '.join(names)}"
        yield fault(source, line, text, f"pcs resource update {fs.name} device=/dev/{group}/{names[0]}")
    yield from _together(cib, activation, fs, source)


def _together(cib: Cib, activation: Primitive, fs: Primitive, source: str) -> Iterator[CheckFinding]:
    """The group must be activated before the mount, on the same node."""
    if activation.parent and activation.parent == fs.parent and activation.parent in cib.groups:
        members = cib.groups[activation.parent]
        if members.index(activation.name) > members.index(fs.name):
            text = f"group {activation.parent} mounts {fs.name} before {activation.name} activates its volume group"
            remedy = f"pcs resource group add {activation.parent} {activation.name} --before {fs.name}"
            yield fault(source, fs.line, text, remedy)
        return
    first, second = cib.names_of(activation.name), cib.names_of(fs.name)
    if not _leads(cib, cib.orders, first, second):
        text = f"nothing orders {activation.name} before {fs.name}"
        yield fault(source, fs.line, text, f"pcs resource group add NAME {activation.name} {fs.name}")
    elif not _leads(cib, cib.colocations, second, first) and not activation.parent:
        text = f"nothing keeps {fs.name} on the node of {activation.name}"
        yield fault(source, fs.line, text, f"pcs constraint colocation add {fs.name} with {activation.name}")


def _leads(cib: Cib, pairs: Collection[tuple[str, str]], begin: Collection[str], end: Collection[str]) -> bool:
    """Whether pairs lead from one resource to another, also through further ones. begin, end: what each is in, too."""
    following: dict[str, list[str]] = {}
    for one, other in pairs:
        following.setdefault(one, []).append(other)
    seen: set[str] = set()
    waiting = list(begin)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            further = following.get(name, ())
            waiting += [each for other in further for each in cib.names_of(other)]
            if not set(end).isdisjoint(further):
                return True
    return False


def _fenced_groups(cib: Cib, source: str) -> Iterator[CheckFinding]:
    """The LUNs that are fenced must be those of the services."""
    used = {_group(each) for each in cib.of_kind("LVM-activate")} - {""}
    for device in cib.stonith:
        group = device.value("vg")
        if device.kind == "fence_halvm" and group and used and group not in used:
            text = f"device {device.name} fences volume group {group}, the services use {', '.join(sorted(used))}"
            remedy = f"pcs stonith update {device.name} vg={min(used)}"
            yield fault(source, device.line_of("vg"), text, remedy)


def _states(cib: Cib, source: str) -> Iterator[CheckFinding]:
    for node in cib.nodes:
        if node.standby:
            text = f"{node.name} is in standby: it takes nothing over"
            yield warning(source, node.line, text, f"pcs node unstandby {node.name}")
        if node.maintenance:
            text = f"{node.name} is in maintenance: nothing that runs there is recovered"
            yield fault(source, node.line, text, f"pcs node unmaintenance {node.name}")
    yield from _by_default(cib.resource_defaults, source)
    for each in cib.primitives:
        yield from _switched_off(each.name, each.meta, source, device=each.standard == "stonith")
        if each.kind in LEAST_S:
            yield from _unfenced(each.name, each.meta, source)
    for name, meta in cib.holders.items():
        yield from _switched_off(name, meta, source)
        if any(each.parent == name and each.kind in LEAST_S for each in cib.primitives):
            yield from _unfenced(name, meta, source)


def _switched_off(name: str, meta: Mapping[str, Value], source: str, *, device: bool = False) -> Iterator[CheckFinding]:
    """Of a resource, or of a group or clone, whose members inherit it."""
    managed, role, rest = (meta.get(attribute) for attribute in ("is-managed", "target-role", "maintenance"))
    if managed is not None and is_false(managed.text):
        text = f"{name} is unmanaged: it is not recovered"
        yield fault(source, managed.line, text, f"pcs resource manage {name}")
    if rest is not None and is_true(rest.text):
        text = f"{name} is in maintenance: it is not recovered"
        yield fault(source, rest.line, text, f"pcs resource meta {name} maintenance=")
    if role is not None and role.text.casefold() == "stopped" and not device:
        text = f"{name} is disabled (target-role=Stopped)"
        yield warning(source, role.line, text, f"pcs resource enable {name}")


def _by_default(meta: Mapping[str, Value], source: str) -> Iterator[CheckFinding]:
    """Of all resources that do not say otherwise."""
    for name, bad, effect in (
        ("is-managed", is_false, "no resource is recovered"),
        ("maintenance", is_true, "no resource is recovered"),
        ("target-role", lambda text: text.casefold() == "stopped", "no service runs"),
        ("requires", lambda text: text in ("nothing", "quorum"), "services start before the other node is fenced"),
    ):
        if (value := meta.get(name)) is not None and bad(value.text):
            text = f"{name} is {value.text} by default: {effect}"
            yield fault(source, value.line, text, f"pcs resource defaults update {name}=")


def _unfenced(name: str, meta: Mapping[str, Value], source: str) -> Iterator[CheckFinding]:
    requires = meta.get("requires")
    if requires is not None and requires.text in ("nothing", "quorum"):
        text = f"{name} has requires={requires.text}: it starts on the survivor before the other is fenced"
        yield fault(source, requires.line, text, f"pcs resource meta {name} requires=")


def _timeouts(cib: Cib, each: Primitive, source: str) -> Iterator[CheckFinding]:
    least_s = LEAST_S[each.kind]
    given = {operation.name: operation for operation in each.operations}
    for name in ("start", "stop"):
        operation = given.get(name)
        timeout_s = operation.timeout_s if operation is not None else None
        timeout_s = cib.operation_timeout_s if timeout_s is None else timeout_s
        if timeout_s < least_s:
            line = operation.line if operation is not None else each.line
            text = f"{each.name}: {name} has {timeout_s:g} s: on a loaded node it takes longer, and then fails for good"
            remedy = f"pcs resource update {each.name} op {name} timeout={1.5 * least_s:g}s"
            found = fault if name == "start" else warning
            yield found(source, line, text, remedy)
