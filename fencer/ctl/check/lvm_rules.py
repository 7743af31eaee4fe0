# SPDX-License-Identifier: Apache-2.0
"""Finds what in lvm.conf, or in the volume groups that exist, would make a failover fail. Pure.

Source: lvm.conf(5), lvmsystemid(7), lvmlockd(8), lvmautoactivation(7).
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from fencer.ctl.check.finding import CheckFinding, fault, warning
from fencer.ctl.sources.lvm_conf import LvmConf
from fencer.ctl.sources.lvm_report import LvmGroup

SYSTEM_ID, LVMLOCKD, TAGGING = "system_id", "lvmlockd", "tagging"


class Use(NamedTuple):
    """How the services use a volume group. mode: LVM-activate's vg_access_mode; "" where it is not known. source, line:
    what says so."""

    group: str
    mode: str
    source: str
    line: int


def lvm_conf_findings(conf: LvmConf, uses: Collection[Use]) -> list[CheckFinding]:
    """uses: none where the services are not known; then the file must do for either of LVM's two ways."""
    return [*_protection(conf, uses), *_old_ways(conf, uses), *_activation(conf, uses)]


def _protection(conf: LvmConf, uses: Collection[Use]) -> Iterator[CheckFinding]:
    lockd = conf.is_on("global/use_lvmlockd")
    identified = conf.text("global/system_id_source", "none") != "none"
    for use in uses:
        if use.mode == LVMLOCKD and not lockd:
            text = f"use_lvmlockd is 0, but {use.group} is activated through lvmlockd ({use.source})"
            yield fault(*conf.place("global/use_lvmlockd"), text, "set global/use_lvmlockd = 1 on all nodes")
        elif use.mode == SYSTEM_ID and not identified:
            text = f"system_id_source is none, but {use.group} is protected by system ID ({use.source})"
            yield fault(*conf.place("global/system_id_source"), text, 'set global/system_id_source = "uname"')
    modes = {use.mode for use in uses}
    listed = conf.settings.get("activation/volume_list")
    tagged = TAGGING in modes or (listed is not None and any(each.startswith("@") for each in listed.values))
    if not (lockd or identified or tagged) and modes <= {""}:
        text = "neither system_id_source nor use_lvmlockd is set: nothing keeps two nodes from activating one group"
        yield fault(*conf.place("global/system_id_source"), text, 'set global/system_id_source = "uname" on all nodes')
    if conf.text("global/system_id_source", "none") == "lvmlocal" and not conf.text("local/system_id", ""):
        text = "system_id_source is lvmlocal, and local/system_id is not set: this host has no system ID"
        yield fault(*conf.place("global/system_id_source"), text, "set it in lvmlocal.conf, another one on each node")


def _old_ways(conf: LvmConf, uses: Collection[Use]) -> Iterator[CheckFinding]:
    """Findings of the ways of 2014: clvmd, and tags in volume_list."""
    if conf.text("global/locking_type", "1") in ("2", "3"):
        text = f"locking_type = {conf.text('global/locking_type', '')} is clvmd's: LVM 2.03 has no clvmd and ignores it"
        yield fault(*conf.place("global/locking_type"), text, "remove it, and use system IDs or lvmlockd")
    listed = conf.settings.get("activation/volume_list")
    if listed is None:
        return
    for use in uses:
        named = any(each == use.group or each.startswith(f"{use.group}/") for each in listed.values)
        if not named and use.mode != TAGGING:
            text = f"volume_list does not name {use.group}: LVM refuses to activate it"
            yield fault(*conf.place("activation/volume_list"), text, f'add "{use.group}", or remove volume_list')


def _activation(conf: LvmConf, uses: Collection[Use]) -> Iterator[CheckFinding]:
    listed = conf.settings.get("activation/auto_activation_volume_list")
    for use in uses:
        if listed is not None and any(each.partition("/")[0] == use.group for each in listed.values):
            text = f"auto_activation_volume_list names {use.group}: a node that boots activates it before Pacemaker"
            yield fault(*conf.place("activation/auto_activation_volume_list"), text, "take it out of the list")


def group_findings(
    groups: Collection[LvmGroup],
    uses: Collection[Use],
    nodes: Collection[str],
    conf: LvmConf,
    *,
    devices_file: bool = False,
) -> list[CheckFinding]:
    """Findings of the groups that exist. groups: as vgs shows them on this node. nodes: all system IDs that nodes may
    have. devices_file: LVM uses only the disks that this file lists."""
    known = {group.name: group for group in groups}
    found: list[CheckFinding] = []
    for use in uses:
        group = known.get(use.group)
        if group is None:
            found.append(_invisible(use, known, devices_file))
        else:
            found += _protected(group, use, nodes)
            found += _autoactivated(group, use, conf)
    return found


def _invisible(use: Use, known: Collection[str], devices_file: bool) -> CheckFinding:
    if devices_file:
        remedy = "add its disks to the devices file (lvmdevices --adddev DEVICE), or correct the name"
    else:
        remedy = "correct the name, connect the storage, or look at filter in lvm.conf"
    there = f"; vgs shows {', '.join(sorted(known))}" if known else ""
    return fault(use.source, use.line, f"there is no volume group {use.group} on this node{there}", remedy)


def _protected(group: LvmGroup, use: Use, nodes: Collection[str]) -> Iterator[CheckFinding]:
    locked = group.lock_type not in ("", "none")
    if group.clustered:
        text = f"volume group {group.name} has clvmd's clustered flag: LVM 2.03 does not open it"
        yield fault(use.source, use.line, text, f"vgchange --lock-type none --lock-opt force {group.name}, once")
    if use.mode == LVMLOCKD and not locked:
        text = f"volume group {group.name} has no lock type, but is activated through lvmlockd"
        yield fault(use.source, use.line, text, f"vgchange --lock-type dlm {group.name}, or vg_access_mode=system_id")
    if use.mode == SYSTEM_ID and locked:
        text = f"volume group {group.name} has lock type {group.lock_type}, but is protected by system ID"
        yield fault(use.source, use.line, text, "set vg_access_mode=lvmlockd")
    if use.mode in (SYSTEM_ID, "") and not locked and not group.system_id:
        text = f"volume group {group.name} has no system ID: two nodes can activate it at a time"
        yield fault(use.source, use.line, text, f"vgchange --systemid $(uname -n) {group.name} on the active node")
    elif group.system_id and nodes and group.system_id not in nodes:
        text = f"volume group {group.name} belongs to {group.system_id}, which is no node of the cluster"
        yield fault(use.source, use.line, text, f"vgchange --systemid NODE {group.name} (lvmsystemid(7), takeover)")


def _autoactivated(group: LvmGroup, use: Use, conf: LvmConf) -> Iterator[CheckFinding]:
    listed = conf.settings.get("activation/auto_activation_volume_list")
    if group.autoactivation is True and listed is None and group.lock_type in ("", "none"):
        text = f"autoactivation of {group.name} is on: a node that owns it activates it at boot, before Pacemaker"
        yield warning(use.source, use.line, text, f"vgchange --setautoactivation n {group.name}")
