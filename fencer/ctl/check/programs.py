# SPDX-License-Identifier: Apache-2.0
"""Runs the checks of the agent and the sidecar, so that their rules are not repeated here."""

import shutil
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from fencer.ctl.check.devices import AGENT, Device
from fencer.ctl.check.finding import CheckFinding, fault, unknown, warning
from fencer.ctl.sources.commands import ProgramEnd, Run, run_program
from fencer.model import Action

VALIDATE_S: Final = 20.0
MONITOR_S: Final = 25.0
"""The agent ends within 15 s of its own accord."""
SIDECAR: Final = "halvm-watchdogd"
SIDECAR_S: Final = 30.0
_APART: Final = {"key": "1", "local_key": "2"}
"""Where files are looked at apart from this machine: no key must be derived from this machine's own files."""
_OF_THE_NODES: Final = frozenset({"password_script", "passwd_script", "cluster_conf", "state_dir", "debug_file"})
"""Options that name files of the nodes, which need not be on this machine."""
_AT_ONCE: Final = 8


def program(name: str) -> str:
    """The path of one of this project's programs: beside this one, else where the system has it."""
    beside = Path(sys.argv[0]).resolve().with_name(name)
    if beside.exists():
        return str(beside)
    return shutil.which(name) or f"/usr/sbin/{name}"


def validated(devices: Iterable[Device], *, apart: bool, run: Run = run_program) -> list[CheckFinding]:
    """Findings of the agent about its options (validate-all): nothing is sent to a BMC or a LUN.

    apart: the devices are of files that were given, not of this machine.
    """
    return _asked(devices, Action.VALIDATE_ALL, VALIDATE_S, _APART if apart else {}, run)


def monitored(devices: Iterable[Device], run: Run = run_program) -> list[CheckFinding]:
    """Findings of the agent's monitor: BMC, LUNs, keys. Needs root. Only the agent's own notes are written."""
    return _asked(devices, Action.MONITOR, MONITOR_S, {}, run)


def _asked(
    devices: Iterable[Device], action: Action, limit_s: float, extra: Mapping[str, str], run: Run
) -> list[CheckFinding]:
    ours = [device for device in devices if device.ours]
    if not ours:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(ours))) as pool:
        answers = pool.map(lambda device: _ask(device, action, limit_s, extra, run), ours)
        return [finding for answer in answers for finding in answer]


def _ask(device: Device, action: Action, limit_s: float, extra: Mapping[str, str], run: Run) -> list[CheckFinding]:
    given = {name: value for name, value in device.attributes.items() if name not in ("action", "agent", "option")}
    if len(device.nodes) == 1:
        given["nodename"] = device.nodes[0]
    if extra is _APART:
        given = {name: value for name, value in given.items() if name not in _OF_THE_NODES} | {"password": "x"}
    given = {**extra, **given, "action": action.value, "journal": "none"}
    if any("\n" in value for value in given.values()):
        return []  # which is a finding of its own: the agent would read other options
    done = run([program(AGENT)], "".join(f"{name}={value}\n" for name, value in given.items()), limit_s)
    return agent_findings(device, action, done)


def agent_findings(device: Device, action: Action, done: ProgramEnd) -> list[CheckFinding]:
    """Makes findings of what the agent printed. Its sentences end in their remedy. Pure."""
    where, subject = (device.source, device.line), f"device {device.name}: {AGENT} -o {action}"
    if done.status is None:
        return [unknown(device.source, f"{subject}: {done.errors}", f"install {AGENT}, or run it by hand")]
    found = []
    for line in done.errors.splitlines():
        sentence = line.removeprefix(f"{AGENT}: ")
        if sentence.startswith("ERROR: "):
            found.append(fault(*where, f"{subject}: {sentence.removeprefix('ERROR: ')}", ""))
        elif sentence.startswith("WARNING: "):
            found.append(warning(*where, f"{subject}: {sentence.removeprefix('WARNING: ')}", ""))
    if done.status and not any(line.status.name == "FAULT" for line in found):
        found.append(fault(*where, f"{subject}: exit status {done.status}", "run it by hand with -vv"))
    return found


def sidecar_checked(config: str, run: Run = run_program) -> list[CheckFinding]:
    """Findings of ``halvm-watchdogd --check-config``: configuration, LUNs, watchdog, timeouts. Needs root."""
    return sidecar_findings(config, run([program(SIDECAR), "--check-config", f"--config={config}"], "", SIDECAR_S))


def sidecar_findings(config: str, done: ProgramEnd) -> list[CheckFinding]:
    """Makes findings of what the sidecar printed. Its sentences end in their remedy. Pure."""
    if done.status is None:
        return [unknown(config, f"{SIDECAR} --check-config: {done.errors}", "install it, or run it by hand")]
    if done.status:
        lines = [line.removeprefix(f"{SIDECAR}: ").removeprefix(f"{config}: ") for line in done.errors.splitlines()]
        said = [line for line in lines if line.strip()] or [f"exit status {done.status}"]
        return [fault(config, 0, f"{SIDECAR} --check-config: {line}", "") for line in said]
    advice = [line.removeprefix("advice: ") for line in done.out.splitlines() if line.startswith("advice: ")]
    return [warning(config, 0, f"{SIDECAR} --check-config: {line}", "") for line in advice]
