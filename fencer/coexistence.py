# SPDX-License-Identifier: Apache-2.0
"""Finds what else on this machine uses the watchdog or the reservations (docs/coexistence.md), by its files.

For ``halvm-watchdogd --check-config`` and ``halvmctl check``. root: where the machine's files are, for tests. Only text
files are opened.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fencer._enum import Enum
from fencer.regular_file import read_regular_file


class Weight(Enum):
    """CONFLICT: one of the two must be changed. NOTE: works; the operator should know of it."""

    CONFLICT = "conflict"
    NOTE = "note"


class Neighbour(NamedTuple):
    """Another user of the watchdog or of the reservations.

    name: what it is. source: the file that says so; line: of it, 0 when unknown. text: what it means, and what to
    change.
    """

    name: str
    source: str
    text: str
    weight: Weight = Weight.CONFLICT
    device: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}: {self.source}: {self.text}"


def find(root: str = "/") -> list[Neighbour]:
    """The neighbours that are configured on this machine."""
    place = Path(root)
    looks: tuple[Callable[[Path], Iterator[Neighbour]], ...] = (
        _systemd, _sbd, _watchdog_daemon, _corosync, _multipathd, _kdump,
    )  # fmt: skip
    return [found for look in looks for found in look(place)]


def _systemd(root: Path) -> Iterator[Neighbour]:
    value = device = source = ""
    for path in _with_drop_ins(root, "systemd/system.conf"):
        for key, told in _assignments(path):
            if key == "RuntimeWatchdogSec":
                value, source = told, _shown(path, root)
            elif key == "WatchdogDevice":
                device = told
    if value and value not in ("0", "off", "infinity"):
        device = device or "/dev/watchdog0"
        text = (
            f"RuntimeWatchdogSec={value}: systemd feeds {device} itself: set RuntimeWatchdogSec=off and run systemctl "
            "daemon-reexec, or give systemd another device by WatchdogDevice="
        )
        yield Neighbour("systemd", source, text, device=device)


def _sbd(root: Path) -> Iterator[Neighbour]:
    enabled = any(
        (root / "etc/systemd/system" / f"{unit}.service.{kind}" / "sbd.service").is_symlink()
        for unit in ("corosync", "pacemaker", "dlm")
        for kind in ("requires", "wants")
    )
    if not enabled:
        return
    device, source = "/dev/watchdog", "etc/systemd/system"
    for name in ("etc/default/sbd", "etc/sysconfig/sbd"):
        for key, told in _assignments(root / name):
            if key == "SBD_WATCHDOG_DEV":
                device, source = told, name
    text = (
        f"it feeds {device}: one watchdog serves one of the two: run systemctl disable sbd, or give each a device of "
        'its own (SBD_WATCHDOG_DEV there, watchdog = "/dev/watchdog1" here)'
    )
    yield Neighbour("sbd", f"/{source}", text, device=device)


def _watchdog_daemon(root: Path) -> Iterator[Neighbour]:
    wanting = (root / "etc/systemd/system").glob("*.wants")
    enabled = any((directory / "watchdog.service").is_symlink() for directory in wanting)
    if not enabled or dict(_assignments(root / "etc/default/watchdog")).get("run_watchdog") == "0":
        return
    for key, told in _assignments(root / "etc/watchdog.conf"):
        if key == "watchdog-device":
            text = f"it feeds {told}: run systemctl disable --now watchdog wd_keepalive, or change watchdog-device"
            yield Neighbour("watchdog(8)", "/etc/watchdog.conf", text, device=told)


def _corosync(root: Path) -> Iterator[Neighbour]:
    for line in _lines(root / "etc/corosync/corosync.conf"):
        key, colon, told = (part.strip() for part in line.partition(":"))
        if colon and key == "watchdog_device" and told != "off":
            text = f"resources.watchdog_device: corosync feeds {told}: set watchdog_device: off, and restart corosync"
            yield Neighbour("corosync", "/etc/corosync/corosync.conf", text, device=told)


def _multipathd(root: Path) -> Iterator[Neighbour]:
    files = [root / "etc/multipath.conf", *sorted((root / "etc/multipath/conf.d").glob("*.conf"))]
    for path in files:
        for number, line in _numbered(path):
            match line.replace('"', " ").split():
                case ["reservation_key", "file", *_]:
                    text = (
                        "reservation_key file: multipathd registers the keys of /etc/multipath/prkeys on paths that "
                        "come back, and may undo a fence of the same moment: remove the map's line there"
                    )
                    yield Neighbour("multipathd", _shown(path, root), text, line=number)
                case ["reservation_key", key, *_]:
                    text = (
                        f"reservation_key {key}: multipathd registers this key on paths that come back, also on a node "
                        "that was fenced: remove the line; halvm-watchdogd registers every path itself"
                    )
                    yield Neighbour("multipathd", _shown(path, root), text, line=number)


def _kdump(root: Path) -> Iterator[Neighbour]:
    loaded = root / "sys/kernel/kexec_crash_loaded"
    if "".join(_lines(loaded)) != "1":
        return
    text = (
        "a crash kernel is loaded: the watchdog goes on ticking while it dumps and ends the dump after its timeout; "
        "the dump is lost, the cluster is safe. For dumps raise watchdog_timeout_s, or have the crash kernel load the "
        "watchdog's driver"
    )
    yield Neighbour("kdump", _shown(loaded, root), text, Weight.NOTE)


def _with_drop_ins(root: Path, name: str) -> Iterator[Path]:
    """The main file, then its drop-ins by name, as systemd reads them: those in /etc hide others of the same name."""
    drop_ins: dict[str, Path] = {}
    for directory in ("usr/lib", "run", "etc"):
        for path in (root / directory / f"{name}.d").glob("*.conf"):
            drop_ins[path.name] = path
    main = [path for path in (root / "etc" / name, root / "usr/lib" / name) if path.exists()][:1]
    yield from (*main, *(drop_ins[each] for each in sorted(drop_ins)))


def _assignments(path: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(path):
        if match := re.match(r"(?:export\s+)?([\w-]+)\s*=\s*(.*)", line):
            yield match[1], match[2].strip().strip("\"'")


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file without comments and blank lines; none where it cannot be read."""
    yield from (line for _, line in _numbered(path))


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    """The lines as in _lines, each with its number."""
    try:
        text = read_regular_file(str(path), link=True).decode(errors="replace")
    except (OSError, ValueError):
        return
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.strip()
        if bare and not bare.startswith(("#", ";")):
            yield number, bare


def _shown(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}"
