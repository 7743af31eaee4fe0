# SPDX-License-Identifier: Apache-2.0
"""Finds the processes that have a watchdog device open, and the remedy for each: for the message when it is busy.

Looks into /proc only. Under the service's own restrictions other processes are not visible there; then the usual
holders are named, and the command that tells which it is.
"""

import os

_REMEDIES = {
    "systemd": "set RuntimeWatchdogSec=off in /etc/systemd/system.conf (or give it another device by WatchdogDevice=), "
    "then systemctl daemon-reexec",
    "sbd": "systemctl disable sbd and restart the cluster on this node, or name another device here",
    "corosync": 'write "watchdog_device: off" into the resources section of corosync.conf and restart corosync',
    "watchdog": "systemctl disable --now watchdog",
    "wd_keepalive": "systemctl disable --now wd_keepalive watchdog",
    "halvm-watchdogd": "stop the other halvm-watchdogd",
}
_AGENTS = ("amsd", "cmahealthd", "hpasmlited", "hp-asrd", "dsm_sa_datamgrd", "dsm_ism_srvmgrd", "bmc-watchdog")
"""Management agents of server vendors that feed a watchdog (HPE, Dell) or FreeIPMI's."""

_USUAL = (
    "sbd, systemd (RuntimeWatchdogSec in /etc/systemd/system.conf), corosync (resources.watchdog_device), watchdog(8), "
    "or a vendor's management agent"
)


def who_has(device: str, proc: str = "/proc") -> str:
    """One sentence: which processes have it open, and the remedy for them."""
    found = holders(device, proc)
    if not found:
        told = f"fuser -v {device} and halvm-watchdogd --check-config tell which"
        return f"another process has it, usually {_USUAL} ({told}): stop it, or name another device"
    return describe(found)


def describe(found: list[tuple[int, str]]) -> str:
    """The processes, and the remedy for each."""
    return "; ".join(f"{name} (pid {pid}) has it: {_remedy(name)}" for pid, name in found)


def _remedy(name: str) -> str:
    if name in _AGENTS:
        return "turn the watchdog off in this vendor's management agent, or name another device"
    return _REMEDIES.get(name, "stop it, or name another device")


def holders(device: str, proc: str = "/proc") -> list[tuple[int, str]]:
    """Process id and command name of each other process that has this device file, or its alias, open."""
    wanted = _number(device)
    found = []
    for entry in _listing(proc):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        for descriptor in _listing(f"{proc}/{entry}/fd"):
            path = f"{proc}/{entry}/fd/{descriptor}"
            if _is(path, device, wanted):
                found.append((int(entry), _name(f"{proc}/{entry}/comm")))
                break
    return sorted(found)


def _is(descriptor: str, device: str, wanted: int) -> bool:
    """/dev/watchdog and /dev/watchdog0 are one device with two numbers."""
    try:
        target = os.readlink(descriptor)
    except OSError:
        return False
    if target == device or (target in _ALIASES and device in _ALIASES):
        return True
    return bool(wanted) and target.startswith("/dev/") and _number(target) == wanted


_ALIASES = ("/dev/watchdog", "/dev/watchdog0")


def _number(path: str) -> int:
    try:
        return os.stat(path).st_rdev
    except OSError:
        return 0


def _name(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "a process"


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
