# SPDX-License-Identifier: Apache-2.0
"""Compares how long the kernel and multipathd hold a command of each path with the sidecar's grace.

For ``halvm-watchdogd --check-config``. Read from sysfs and from multipathd; nothing is opened or changed.
Source: kernel Documentation/scsi/scsi_fc_transport.rst, open-iscsi README (recovery_tmo), multipath.conf(5).
"""

import os
import re
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from fencer._enum import Enum
from fencer.sidecar.settings import Settings
from fencer.storage.block_devices import read_attribute
from fencer.storage.lun import Lun

MULTIPATHD_S = 5.0
_SHOW_MAPS = ("multipathd", "show", "maps", "raw", "format", "%n|%Q")
_SHOW_CONFIG = ("multipathd", "show", "config", "local")
_POLLING_S = 5.0  # multipath.conf(5), polling_interval


class Queueing(Enum):
    """What a multipath map does with I/O while it has no path."""

    FAIL = "fail"
    QUEUE = "queue"
    FOR_A_WHILE = "for a while"
    UNKNOWN = "unknown"


class PathTimeouts(NamedTuple):
    """All in seconds, None where it does not exist, is off or cannot be read. scsi_s: of a command.

    replacement_s: iSCSI, how long commands of a lost session are held. fast_io_fail_s, dev_loss_s: Fibre Channel, until
    the commands of a lost remote port fail, and until its disks are deleted.
    """

    path: str
    scsi_s: int | None = None
    replacement_s: int | None = None
    fast_io_fail_s: int | None = None
    dev_loss_s: int | None = None


class MapTimeouts(NamedTuple):
    """A multipath map. queueing_s: with FOR_A_WHILE, how long (no_path_retry times polling_interval)."""

    name: str
    queueing: Queueing
    queueing_s: float = 0.0


def read_path(path: str, sys: str = "/sys") -> PathTimeouts:
    """Reads the timeouts of a path. path: ``/dev/sdb`` or ``sdb``."""
    name = path.rpartition("/")[2]
    device = os.path.realpath(f"{sys}/block/{name}/device")
    session = re.search(r"/(session\d+)/", device)
    rport = re.search(r"/(rport-[\d:-]+)/", device)
    fc = f"{sys}/class/fc_remote_ports/{rport[1]}" if rport else ""
    return PathTimeouts(
        name,
        _seconds(f"{device}/timeout"),
        _seconds(f"{sys}/class/iscsi_session/{session[1]}/recovery_tmo") if session else None,
        _seconds(f"{fc}/fast_io_fail_tmo") if fc else None,
        _seconds(f"{fc}/dev_loss_tmo") if fc else None,
    )


def _seconds(path: str) -> int | None:
    """ "off" is None, and so is a negative recovery_tmo, by which iSCSI holds commands for ever."""
    text = read_attribute(path)
    return int(text) if text.isdigit() else None


def read_maps() -> dict[str, MapTimeouts]:
    """Reads the timeouts of all multipath maps, by name. Empty where multipathd does not run."""
    polling_s = _POLLING_S
    if found := re.search(r"^\s*polling_interval\s+\"?(\d+)", _asked(_SHOW_CONFIG), re.MULTILINE):
        polling_s = float(found[1])
    return parse_maps(_asked(_SHOW_MAPS), polling_s)


def parse_maps(text: str, polling_s: float) -> dict[str, MapTimeouts]:
    """``mpatha|12 chk`` a line; also ``5 sec``, ``on``, ``off`` and ``-`` (libmultipath, snprint_queueing)."""
    maps = {}
    for line in text.splitlines():
        name, bar, told = (part.strip() for part in line.rpartition("|"))
        if not bar:
            continue
        match told.split():
            case ["on"]:
                maps[name] = MapTimeouts(name, Queueing.QUEUE)
            case ["off" | "-"]:
                maps[name] = MapTimeouts(name, Queueing.FAIL)
            case [number, unit] if number.isdigit():
                seconds = float(number) * (polling_s if unit == "chk" else 1.0)
                maps[name] = MapTimeouts(name, Queueing.FOR_A_WHILE, seconds)
            case _:
                maps[name] = MapTimeouts(name, Queueing.UNKNOWN)
    return maps


def _asked(command: tuple[str, ...]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=MULTIPATHD_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def advice(luns: Iterable[Lun], settings: Settings, sys: str = "/sys") -> list[str]:
    """One sentence for each kind of setting that does not fit, with the devices it is about."""
    shared = tuple(luns)
    maps = read_maps() if any(lun.multipath for lun in shared) else {}
    found: dict[str, list[str]] = {}
    for lun in shared:
        name = (lun.multipath or "").rpartition("/")[2]
        paths = [read_path(path, sys) for path in lun.paths]
        for subject, sentence in _of_lun(paths, maps.get(name), bool(lun.multipath), settings):
            found.setdefault(sentence, []).append(subject)
    return [f"{', '.join(dict.fromkeys(subjects))}: {sentence}" for sentence, subjects in found.items()]


def _of_lun(
    paths: list[PathTimeouts], mapped: MapTimeouts | None, multipath: bool, settings: Settings
) -> Iterable[tuple[str, str]]:
    grace_s = settings.grace_s
    for path in paths:
        yield from ((path.path, sentence) for sentence in path_advice(path, multipath, settings))
    if mapped is None:
        return
    checks = f"no_path_retry (polling_interval times retries) to {grace_s:g} s or more, or to queue"
    if mapped.queueing is Queueing.FAIL:
        yield (
            mapped.name,
            f"no_path_retry is fail: file systems fail as soon as no path is left, and grace_s = {grace_s:g} saves "
            f"nothing: set {checks}",
        )
    if mapped.queueing is Queueing.FOR_A_WHILE and mapped.queueing_s < grace_s:
        yield (
            mapped.name,
            f"I/O fails after {mapped.queueing_s:g} s without a path (no_path_retry), before grace_s = {grace_s:g} "
            f"ends: set {checks}, or a shorter grace_s",
        )


def path_advice(path: PathTimeouts, multipath: bool, settings: Settings) -> Iterable[str]:
    """What does not fit about one path. Pure."""
    grace_s = settings.grace_s
    seen_s = settings.probe_interval_s + settings.probe_deadline_s + settings.answer_deadline_s
    if path.scsi_s is not None and grace_s < path.scsi_s + seen_s:
        yield (
            f"the SCSI timeout is {path.scsi_s} s: a command that the array drops is tried again only then, and "
            f"grace_s = {grace_s:g} may be over: give grace_s = {path.scsi_s + seen_s:g} or more, or write less into "
            f"/sys/block/{path.path}/device/timeout (by a udev rule)"
        )
    if path.scsi_s is not None and settings.probe_deadline_s >= path.scsi_s:
        yield (
            f"the SCSI timeout is {path.scsi_s} s: the kernel gives a command up before probe_deadline_s = "
            f"{settings.probe_deadline_s:g} counts it as lost: give probe_deadline_s = {path.scsi_s / 2:g} or less"
        )
    held = (
        ("replacement_timeout", path.replacement_s, "node.session.timeo.replacement_timeout in /etc/iscsi/iscsid.conf"),
        ("fast_io_fail_tmo", path.fast_io_fail_s, "fast_io_fail_tmo in /etc/multipath.conf"),
    )
    for name, seconds, place in held:
        if seconds is None:
            continue
        if multipath and seconds >= grace_s:
            yield (
                f"{name} is {seconds} s: when this path is lost, I/O stands still for so long although others work, "
                f"longer than grace_s = {grace_s:g}: set {place} to 5 to 15"
            )
        if not multipath and seconds < grace_s:
            yield (
                f"{name} is {seconds} s and there is no multipath map: I/O fails before grace_s = {grace_s:g} ends: "
                f"set {place} to {grace_s:g} or more, or a shorter grace_s"
            )
    if path.dev_loss_s is not None and path.dev_loss_s < grace_s:
        yield (
            f"dev_loss_tmo is {path.dev_loss_s} s: the kernel deletes this disk before grace_s = {grace_s:g} ends: set "
            f"dev_loss_tmo in /etc/multipath.conf to infinity"
        )
