# SPDX-License-Identifier: Apache-2.0
"""The data of ``halvmctl status``: the readings of all sources at one moment, and remarks on them. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from fencer.ctl.exit_status import CtlStatus
from fencer.ctl.side_by_side import SourceReading
from fencer.ctl.sources.crm_mon import Pacemaker
from fencer.ctl.sources.local_files import Fences
from fencer.ctl.sources.luns import LunReading
from fencer.ctl.sources.lvm_report import LogicalVolume, LvmGroup
from fencer.ctl.sources.mounts import Mount
from fencer.ctl.sources.quorum import Quorum
from fencer.journal.event import FenceOutcome
from fencer.state.readings import SnapshotReading, SnapshotStatus
from fencer.state.snapshot import PolicyState


class Volume(NamedTuple):
    """A logical volume of a shared group that is active on this node. mount: None while it is not mounted."""

    volume: LogicalVolume
    mount: Mount | None


class View(NamedTuple):
    """node: this node's name. nodes: all by the cluster's file, problem: why that makes no sense. groups: the volume
    groups that are shared by the configuration; luns: of each."""

    at_unix_s: float
    cluster: str
    node: str
    nodes: tuple[str, ...]
    problem: str
    quorum: SourceReading[Quorum]
    pacemaker: SourceReading[Pacemaker]
    groups: tuple[str, ...]
    vgs: SourceReading[tuple[LvmGroup, ...]]
    volumes: SourceReading[tuple[Volume, ...]]
    luns: tuple[tuple[str, SourceReading[tuple[LunReading, ...]]], ...]
    sidecar: SnapshotReading
    fences: Fences


class Remark(NamedTuple):
    """Something that is not as it should be. text: one sentence."""

    status: CtlStatus
    text: str


def remarks(view: View) -> tuple[Remark, ...]:
    """All that is wrong or unknown, the worst first."""
    found = [*_of_membership(view), *_of_resources(view), *_of_storage(view), *_of_programs(view)]
    order = (CtlStatus.FAULT, CtlStatus.WARNING, CtlStatus.UNKNOWN)
    return tuple(sorted(dict.fromkeys(found), key=lambda each: order.index(each.status)))


def _of_membership(view: View) -> Iterator[Remark]:
    if view.problem:
        yield Remark(CtlStatus.FAULT, view.problem)
    elif not view.nodes:
        yield Remark(CtlStatus.UNKNOWN, "no cluster.conf and no corosync.conf: this node is in no cluster")
    for reading in (view.quorum, view.pacemaker):
        if reading.problem:
            yield Remark(CtlStatus.UNKNOWN, reading.problem)
    if (quorum := view.quorum.value) is not None:
        if not quorum.quorate:
            yield Remark(CtlStatus.FAULT, f"no quorum: {quorum.votes} of {quorum.needed} votes that are needed")
        seen = {member.name for member in quorum.members}
        for name in view.nodes if len(seen) < len(view.nodes) else ():  # corosync may show other names than the file
            if name not in seen:
                yield Remark(CtlStatus.WARNING, f"corosync does not see {name}: there is nothing to fail over to")
    pacemaker = view.pacemaker.value
    if pacemaker is None:
        return
    if not pacemaker.dc:
        yield Remark(CtlStatus.FAULT, "Pacemaker has elected no DC: nothing is recovered")
    if pacemaker.maintenance:
        yield Remark(CtlStatus.WARNING, "maintenance-mode is on: nothing is recovered")
    for node in pacemaker.nodes:
        if node.state == "UNCLEAN":
            yield Remark(CtlStatus.FAULT, f"{node.name} is UNCLEAN: it has to be fenced, and is not yet")
        elif node.state != "online":
            yield Remark(CtlStatus.WARNING, f"{node.name} is {node.state}: it takes over nothing")


def _of_resources(view: View) -> Iterator[Remark]:
    pacemaker = view.pacemaker.value
    if pacemaker is None:
        return
    if not pacemaker.stonith_enabled:
        yield Remark(CtlStatus.FAULT, "fencing is disabled (stonith-enabled, fencing-enabled): no node is ever fenced")
    elif not any(each.is_stonith for each in pacemaker.resources):
        yield Remark(CtlStatus.FAULT, "there is no stonith device: no node can be fenced")
    for each in pacemaker.resources:
        kind = "stonith device" if each.is_stonith else "resource"
        if each.blocked:
            yield Remark(CtlStatus.FAULT, f"{kind} {each.name} is blocked: Pacemaker waits for an operator")
        elif each.is_stonith and not each.nodes and pacemaker.maintenance:  # it is not started, and fences all the same
            yield Remark(CtlStatus.WARNING, f"{kind} {each.name} is stopped: it starts when maintenance-mode is off")
        elif each.role in ("Stopped", "") or not each.nodes:
            yield Remark(CtlStatus.FAULT, f"{kind} {each.name} is stopped")
        elif each.failed:
            yield Remark(CtlStatus.WARNING, f"{kind} {each.name}: an operation failed")
        elif not each.managed and not pacemaker.maintenance:  # which makes all of them unmanaged
            yield Remark(CtlStatus.WARNING, f"{kind} {each.name} is unmanaged: it is not recovered")
    for failure in pacemaker.failures:
        reason = f": {failure.reason}" if failure.reason else ""
        yield Remark(CtlStatus.WARNING, f"{failure.operation} failed on {failure.node} ({failure.status}){reason}")


def _of_storage(view: View) -> Iterator[Remark]:
    for reading in (view.vgs, view.volumes):
        if reading.problem:
            yield Remark(CtlStatus.UNKNOWN, reading.problem)
    known = {group.name: group for group in view.vgs.value or ()}
    for name in view.groups:
        if view.vgs.value is not None and name not in known:
            yield Remark(CtlStatus.FAULT, f"volume group {name} is not visible on this node")
        elif name in known and known[name].system_id not in ("", *view.nodes) and view.nodes:
            yield Remark(
                CtlStatus.WARNING, f"volume group {name} belongs to {known[name].system_id}, which is no node here"
            )
    for each in view.volumes.value or ():
        group = known.get(each.volume.group)
        if group is not None and group.system_id not in ("", view.node) and view.node:
            where = f"{each.volume.group}/{each.volume.name}"
            yield Remark(CtlStatus.FAULT, f"{where} is active here, but the group belongs to {group.system_id}")
        if each.mount is not None and each.mount.read_only:
            yield Remark(CtlStatus.FAULT, f"{each.mount.directory} is mounted read-only")
    for name, luns in view.luns:
        if luns.problem:
            yield Remark(CtlStatus.UNKNOWN, luns.problem)
        for lun in luns.value or ():
            yield from _of_lun(name, lun, view)


def _of_lun(group: str, lun: LunReading, view: View) -> Iterator[Remark]:
    if lun.problem:
        yield Remark(CtlStatus.UNKNOWN, f"{lun.name}: {lun.problem}")
        return
    if not lun.reservation:
        yield Remark(CtlStatus.FAULT, f"{lun.name} of {group}: no reservation is held: a fenced node could write")
    if lun.own is False:
        yield Remark(CtlStatus.FAULT, f"{lun.name} of {group}: this node's key is not registered: it cannot take over")
    present = {key.node for key in lun.keys}
    for name in view.nodes:
        if name not in present and name != view.node:
            yield Remark(CtlStatus.WARNING, f"{lun.name} of {group}: {name} is not registered: it cannot take over")
    for key in lun.keys:
        if not key.node and view.nodes:
            yield Remark(CtlStatus.WARNING, f"{lun.name} of {group}: {key.key} is the key of no node of this cluster")


def _of_programs(view: View) -> Iterator[Remark]:
    reading = view.sidecar
    match reading.status:
        case SnapshotStatus.FRESH:
            snapshot = reading.snapshot
            if snapshot is not None and snapshot.state is PolicyState.SELF_FENCE:
                yield Remark(CtlStatus.FAULT, "the sidecar is about to reset this node")
            elif snapshot is not None and snapshot.state is not PolicyState.KEEPALIVE:
                why = f": {snapshot.reasons[0]}" if snapshot.reasons else ""
                yield Remark(CtlStatus.WARNING, f"the sidecar is {snapshot.state}{why}")
        case SnapshotStatus.STALE | SnapshotStatus.OTHER_BOOT:
            yield Remark(CtlStatus.WARNING, f"the sidecar does not run: {reading.problem}")
        case SnapshotStatus.MISSING:
            pass
        case _:
            yield Remark(CtlStatus.UNKNOWN, f"sidecar: {reading.problem}")
    if view.fences.problem:
        yield Remark(CtlStatus.UNKNOWN, view.fences.problem)
    for event in view.fences.latest[:1]:
        if event.outcome is not FenceOutcome.SUCCESS:
            yield Remark(CtlStatus.WARNING, f"the last fence, of {event.target or 'a node'}, did not succeed")
    for event in view.fences.monitors:
        if event.outcome is FenceOutcome.FAILURE:
            yield Remark(CtlStatus.WARNING, f"the last monitor of {event.target}'s device failed: {event.error}")
