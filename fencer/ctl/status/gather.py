# SPDX-License-Identifier: Apache-2.0
"""Asks all sources of ``halvmctl status``, side by side, each with its time limit. Nothing is changed."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fencer.cluster.device_names import logical_volume_of
from fencer.cluster.key_owners import GivenKeys, node_keys
from fencer.cluster.membership import Membership, read_membership
from fencer.ctl.asking import read_cib, read_vgs
from fencer.ctl.side_by_side import SourceReading, parsed, side_by_side
from fencer.ctl.sources import crm_mon, local_files, luns, lvm_report, mounts, quorum
from fencer.ctl.sources.cib import Cib
from fencer.ctl.sources.commands import Ask, ask
from fencer.ctl.sources.luns import SharedStorage
from fencer.ctl.status.view import View, Volume
from fencer.errors import UsageError
from fencer.model import KeyScheme, ReservationKey
from fencer.state.readings import SnapshotReading, SnapshotStatus
from fencer.state.snapshot import Snapshot


def gather(cluster_conf: str | None, local_node: str | None, groups: tuple[str, ...], asking: Ask = ask) -> View:
    """Never raises for what the sources say. Raises UsageError where the cluster's file does not know local_node.

    groups: volume groups that the operator named; none: those that the configuration names.
    """
    membership = read_membership(cluster_conf, local_node)
    said = side_by_side(
        {
            "corosync-quorumtool": lambda: parsed(asking, quorum.COMMAND, quorum.parse_quorum),
            "crm_mon": lambda: parsed(asking, crm_mon.COMMAND, crm_mon.parse_crm_mon),
            "cib": lambda: read_cib(asking),
            "vgs": lambda: read_vgs(asking),
            "lvs": lambda: parsed(asking, lvm_report.LVS, lvm_report.parse_lvs),
            "mounts": lambda: SourceReading(mounts.read_mounts()),
            "sidecar": lambda: SourceReading(local_files.sidecar()),
            "journal": lambda: SourceReading(local_files.last_fences()),
        }
    )
    cib: Cib | None = said["cib"].value
    shared = groups or shared_groups(membership, cib)
    snapshot: SnapshotReading = said["sidecar"].value or SnapshotReading(
        SnapshotStatus.UNREADABLE, problem=said["sidecar"].problem
    )
    local = membership.local
    node = local.name if local is not None else ""
    return View(
        time.time(),
        membership.name,
        node or os.uname().nodename,
        tuple(each.name for each in membership.nodes),
        membership.problem,
        said["corosync-quorumtool"],
        said["crm_mon"],
        shared,
        _only_for_root(said["vgs"]),
        _only_for_root(_volumes(said, shared)),
        _luns(
            (*map(SharedStorage, _visible(shared, said["vgs"])), *shared_devices(membership, cib)),
            _owners(membership, cib),
            node,
            snapshot.fresh,
        ),
        snapshot,
        said["journal"].value or local_files.Fences(problem=said["journal"].problem),
    )


def shared_groups(membership: Membership, cib: Cib | None) -> tuple[str, ...]:
    """The volume groups that devices fence and services use, by the configuration."""
    names: list[str] = []
    if (cluster := membership.cluster) is not None:
        names += [device.attributes.get("vg", "") for device in cluster.fence_devices]
        names += cluster.volume_groups
    if cib is not None:
        names += [device.value("vg") for device in cib.stonith]
        names += [each.value("vgname") or each.value("volgrpname") for each in cib.of_kind("LVM-activate")]
    return tuple(dict.fromkeys(name for name in names if name))


def shared_devices(membership: Membership, cib: Cib | None) -> tuple[SharedStorage, ...]:
    """The LUNs that fence devices name themselves, instead of a volume group."""
    lists = [device.value("devices") for device in cib.stonith] if cib is not None else []
    if (cluster := membership.cluster) is not None:
        lists += [device.attributes.get("devices", "") for device in cluster.fence_devices]
    named = [tuple(text.replace(",", " ").split()) for text in lists]
    return tuple(SharedStorage("", devices) for devices in dict.fromkeys(named) if devices)


def _owners(membership: Membership, cib: Cib | None) -> Mapping[str, ReservationKey]:
    """Node name to key; empty where keys cannot be derived."""
    schemes = [device.value("key_value") for device in cib.stonith] if cib is not None else []
    if (cluster := membership.cluster) is not None:
        schemes += [device.attributes.get("key_value", "") for device in cluster.fence_devices]
    scheme = next((each for each in schemes if each in set(KeyScheme)), KeyScheme.NODEID)
    try:
        return node_keys(membership, GivenKeys(KeyScheme(scheme)))
    except UsageError:
        return {}


def _visible(shared: tuple[str, ...], vgs: SourceReading[Any]) -> tuple[str, ...]:
    """The shared groups without those that do not exist on this node. The part for groups reports those."""
    if vgs.value is None or not luns.may_read_disks():
        return shared
    names = {group.name for group in vgs.value}
    return tuple(name for name in shared if name in names)


def _luns(
    storages: tuple[SharedStorage, ...], owners: Mapping[str, ReservationKey], node: str, snapshot: Snapshot | None
) -> tuple[tuple[str, SourceReading[tuple[luns.LunReading, ...]]], ...]:
    """Read here, or as the sidecar saw them where this user may not open a disk."""
    if not luns.may_read_disks():
        if snapshot is not None:
            return (("the sidecar", SourceReading(luns.from_snapshot(snapshot))),)
        return (("", SourceReading(problem="LUNs: not looked at: run as root")),) if storages else ()
    said = side_by_side(
        {str(each): lambda each=each: SourceReading(luns.read_luns(each, owners, node)) for each in storages},  # type: ignore[misc]
    )
    return tuple(said.items())


def _volumes(said: Mapping[str, SourceReading[Any]], shared: tuple[str, ...]) -> SourceReading[tuple[Volume, ...]]:
    """The active logical volumes of the shared groups, and where they are mounted."""
    if said["lvs"].value is None:
        return SourceReading(problem=said["lvs"].problem)
    mounted = {logical_volume_of(mount.source, shared): mount for mount in reversed(said["mounts"].value or ())}
    return SourceReading(
        tuple(
            Volume(each, mounted.get((each.group, each.name)))
            for each in said["lvs"].value
            if each.group in shared and Path(each.dm_path).exists()
        ),
        said["mounts"].problem,
    )


def _only_for_root(reading: SourceReading[Any]) -> SourceReading[Any]:
    """An empty answer means nothing where the disks could not be opened."""
    if luns.may_read_disks() or reading.problem or reading.value:
        return reading
    return SourceReading(problem="vgs, lvs: not looked at: run as root") if reading.value is not None else reading
