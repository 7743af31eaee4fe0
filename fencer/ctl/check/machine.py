# SPDX-License-Identifier: Apache-2.0
"""Looks at this machine for ``halvmctl check``: its files, programs, volume groups and LUNs. Nothing is changed.

Without root it looks at what it may, and says what it did not look at.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fencer import __version__
from fencer.cluster import CLUSTER_CONF
from fencer.cluster.membership import COROSYNC_CONF
from fencer.ctl.asking import read_vgs
from fencer.ctl.check.configuration import (
    ConfigText,
    Configuration,
    Files,
    Machine,
    fence_devices,
    file_findings,
    parse,
    read_text,
    uses_of_groups,
)
from fencer.ctl.check.devices import Device
from fencer.ctl.check.finding import CheckFinding, fault, unknown, warning
from fencer.ctl.check.lvm_rules import Use
from fencer.ctl.check.multipath_rules import registering_findings
from fencer.ctl.check.programs import monitored, sidecar_checked, validated
from fencer.ctl.exit_status import CtlStatus
from fencer.ctl.side_by_side import parsed
from fencer.ctl.sources import local_files, lvm_report
from fencer.ctl.sources.cib import CIB_FILE
from fencer.ctl.sources.cib import COMMAND as CIB_COMMAND
from fencer.ctl.sources.commands import Ask, Run, ask, run_program
from fencer.ctl.sources.local_files import SIDECAR_CONF, Fences
from fencer.errors import FenceError, UsageError
from fencer.journal.event import FenceOutcome
from fencer.state.readings import SnapshotReading, SnapshotStatus
from fencer.storage.block_devices import UdevDevices
from fencer.storage.lun import find_luns
from fencer.storage.open_luns import LVM_S
from fencer.storage.volume_group import physical_volumes

LVM_CONF: Final = ("/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf")
DEVICES_FILE: Final = "/etc/lvm/devices/system.devices"
DLM_CONF: Final = "/etc/dlm/dlm.conf"
MULTIPATH_CONF: Final = "/etc/multipath.conf"
MULTIPATH_DIRECTORY: Final = "/etc/multipath/conf.d"
AS_ROOT: Final = "run halvmctl check as root"


def check_machine(local_node: str | None, asking: Ask = ask, run: Run = run_program) -> list[CheckFinding]:
    """All that is wrong on this machine. Raises UsageError where it has no configuration of a cluster at all."""
    root = os.geteuid() == 0
    files, found = machine_files(asking)
    there = files.cluster_conf or files.corosync_conf or files.cib or files.dlm_conf
    if not there and not any(each.source.startswith("/") for each in found):  # none that could not be read, either
        raise UsageError(
            f"check: there is no {CLUSTER_CONF}, no {COROSYNC_CONF} and no CIB on this machine: run it on a node of "
            "the cluster, or give its files (--help)"
        )
    configuration = parse(files)
    devices = fence_devices(files, configuration)
    uses = uses_of_groups(files, configuration)
    machine, not_told = machine_facts(local_node, configuration, asking, root=root)
    found += not_told if uses else []
    found += file_findings(files, configuration, machine)
    asked_sidecar = root and Path(SIDECAR_CONF).exists()
    if not asked_sidecar:  # else it says so itself
        found += registering_findings()
    refused = validated(devices, apart=False, run=run)
    found += refused
    snapshot, fences = local_files.sidecar(), local_files.last_fences()
    found += [*bound_findings(devices, snapshot), *running_findings(snapshot), *journal_findings(fences)]
    if not root:
        found += _not_looked_at(devices)
        return found
    wrong = {(each.source, each.line) for each in refused if each.status is not CtlStatus.WARNING}
    found += monitored([device for device in devices if (device.source, device.line) not in wrong], run)
    visible = [group.name for group in machine.groups or ()]
    for use in uses:
        if use.group in visible:
            found += not_shared_findings(use)
    if asked_sidecar:
        found += sidecar_checked(SIDECAR_CONF, run)
    return found


def machine_files(asking: Ask) -> tuple[Files, list[CheckFinding]]:
    """The files in their usual places, and those that are there but cannot be read."""
    found: list[CheckFinding] = []

    def text(path: str) -> ConfigText | None:
        if not os.path.lexists(path):
            return None
        try:
            return read_text(path)
        except UsageError as error:
            found.append(unknown(path, f"could not be read ({error})", AS_ROOT))
            return None

    def texts(paths: Sequence[str]) -> tuple[ConfigText, ...]:
        return tuple(each for path in paths if (each := text(path)) is not None)

    answer = asking(CIB_COMMAND)
    cib = ConfigText("cibadmin --query", answer.out.encode()) if not answer.problem else None
    if cib is None and os.access(Path(CIB_FILE).parent, os.X_OK):
        cib = text(CIB_FILE)
    if cib is None and not answer.missing:
        found.append(unknown("CIB", answer.problem, "start Pacemaker, or run halvmctl check as root"))
    drop_ins = sorted(str(path) for path in Path(MULTIPATH_DIRECTORY).glob("*.conf"))
    files = Files(
        texts([CLUSTER_CONF]),
        text(COROSYNC_CONF),
        texts(LVM_CONF),
        cib,
        text(DLM_CONF),
        texts([MULTIPATH_CONF, *drop_ins]),
    )
    return files, found


def machine_facts(
    local_node: str | None, configuration: Configuration, asking: Ask, *, root: bool
) -> tuple[Machine, list[CheckFinding]]:
    """The facts that the rules need, and findings where LVM gave no answer."""
    names = (local_node or os.uname().nodename,)
    lvm = configuration.lvm
    told = lvm.text("devices/use_devicesfile", "") if lvm is not None else ""
    machine = Machine(names, read_hosts(), devices_file=told == "1" or (not told and Path(DEVICES_FILE).exists()))
    if not root:  # LVM opens no disk then, and shows no group
        return machine, []
    vgs = read_vgs(asking)
    lvs = parsed(asking, lvm_report.LVS, lvm_report.parse_lvs)
    not_told = [
        unknown(name, reading.problem or f"{name}: not installed", "run it by hand, and mend what it complains of")
        for name, reading in (("vgs", vgs), ("lvs", lvs))
        if reading.value is None
    ]
    return machine._replace(groups=vgs.value, volumes=lvs.value), not_told


def read_hosts(path: str = "/etc/hosts") -> dict[str, list[str]]:
    """Names, in lower case, and their addresses as written, loopback ones too; empty when unreadable."""
    found: dict[str, list[str]] = {}
    try:
        text = read_text(path).text
    except UsageError:
        return found
    for line in text.split("\n"):
        address, *names = line.partition("#")[0].split() or [""]
        for name in names:
            found.setdefault(name.casefold(), []).append(address)
    return found


def not_shared_findings(use: Use) -> Iterator[CheckFinding]:
    """Physical volumes of a group that are no LUN which takes reservations."""
    try:
        found = find_luns((), UdevDevices(), physical_volumes=physical_volumes(use.group, timeout_s=LVM_S))
        for text in found.missing:
            yield fault(use.source, use.line, f"volume group {use.group}: {text}", "")
    except UsageError as error:
        yield fault(use.source, use.line, f"volume group {use.group} is not on shared LUNs alone: {error}", "")
    except FenceError as error:
        yield unknown(use.source, f"volume group {use.group}: {error}", "connect the storage, and check again")


def _not_looked_at(devices: tuple[Device, ...]) -> Iterator[CheckFinding]:
    if any(device.ours for device in devices):
        yield unknown("fence_halvm -o monitor", "BMCs, LUNs and keys were not looked at", AS_ROOT)
    yield unknown("vgs", "volume groups were not looked at", AS_ROOT)
    if Path(SIDECAR_CONF).exists():
        yield unknown(SIDECAR_CONF, "sidecar and watchdog were not looked at", AS_ROOT)


def bound_findings(devices: Sequence[Device], sidecar: SnapshotReading) -> Iterator[CheckFinding]:
    """proof=self rests on the time in which the sidecar resets its node. All nodes' sidecars are taken to be alike."""
    for device in devices:
        given = device.attributes.get("self_fence_bound", "")
        if not device.ours or device.attributes.get("proof") != "self":
            continue
        snapshot = sidecar.fresh
        if snapshot is None:
            text = f"device {device.name} has proof=self, and no sidecar runs here: nothing would reset this node"
            yield fault(device.source, device.line, text, "systemctl enable --now halvm-watchdogd on all nodes")
        elif given.replace(".", "", 1).isdecimal() and float(given) < snapshot.bound_s:
            text = (
                f"device {device.name}: self_fence_bound is {given} s, the sidecar's own bound {snapshot.bound_s:g} s"
            )
            yield fault(device.source, device.line, text, f"set self_fence_bound={snapshot.bound_s:g} or more")


def running_findings(sidecar: SnapshotReading) -> Iterator[CheckFinding]:
    """Findings where the configured sidecar does not run, or is not the one that is installed."""
    if sidecar.status in (SnapshotStatus.OTHER_BOOT, SnapshotStatus.STALE):
        text = f"the sidecar is configured and does not run ({sidecar.problem}): nothing resets a node that is lost"
        yield fault(SIDECAR_CONF, 0, text, "systemctl enable --now halvm-watchdogd")
    elif sidecar.failed:
        yield unknown("sidecar", f"what it publishes could not be read ({sidecar.problem})", "restart halvm-watchdogd")
    elif (snapshot := sidecar.fresh) is not None and snapshot.version != __version__:
        text = f"the sidecar that runs is of version {snapshot.version}, and {__version__} is installed"
        yield warning("sidecar", 0, text, "systemctl restart halvm-watchdogd, one node after the other")


def journal_findings(fences: Fences) -> Iterator[CheckFinding]:
    """Findings of the journal of this node."""
    if fences.problem:
        yield warning("journal", 0, fences.problem, "see docs/journal.md")
    for event in fences.latest[:1]:
        if event.outcome is not FenceOutcome.SUCCESS:
            text = f"the last fence, of {event.target or 'a node'}, ended with {event.outcome.value}: {event.error}"
            yield warning("journal", 0, text, "fence_halvm -o history -v shows its steps")
