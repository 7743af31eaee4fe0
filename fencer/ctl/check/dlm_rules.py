# SPDX-License-Identifier: Apache-2.0
"""Finds what in dlm.conf would keep a node from being fenced. Pure. Source: dlm.conf(5)."""

from collections.abc import Iterator, Mapping

from fencer.cluster.addresses import is_cut_short
from fencer.cluster.problems import BMC_AGENTS, NOT_POWER_AGENTS
from fencer.ctl.check.devices import AGENT, Device, of_dlm_conf
from fencer.ctl.check.finding import CheckFinding, fault
from fencer.ctl.sources.dlm_conf import DlmConf


def dlm_findings(conf: DlmConf, source: str, names: Mapping[str, str]) -> list[CheckFinding]:
    """names: node id to node name, by corosync.conf; empty: not known."""
    devices = of_dlm_conf(conf, source, names)
    return [
        *_settings(conf, source),
        *(fault(source, each.line, each.text, each.remedy) for each in conf.misplaced),
        *_connects(conf, source, names),
        *_addresses(devices),
        *_unfencing(conf, source),
        *_duel(devices, names),
    ]


def _settings(conf: DlmConf, source: str) -> Iterator[CheckFinding]:
    value, line = conf.settings.get("enable_fencing", ("1", 0))
    if value == "0":
        text = "enable_fencing is 0: lock spaces are recovered although the failed node may still write"
        yield fault(source, line, text, "remove it")


def _connects(conf: DlmConf, source: str, names: Mapping[str, str]) -> Iterator[CheckFinding]:
    """A node that no line connects is fenced by Pacemaker (daemon_cpg.c, add_node_daemon), as all are in a file without
    devices."""
    known = {device.name for device in conf.devices}
    for connect in conf.connects:
        if connect.device not in known:
            text = f"connect names device {connect.device}, which does not exist"
            yield fault(source, connect.line, text, "correct the name, or add the device line")
        if names and connect.node_id not in names:
            text = f"connect {connect.device}: there is no node {connect.node_id or '(no node= is given)'}"
            yield fault(source, connect.line, text, f"give node= one of {', '.join(names)}")
    connected = {connect.node_id for connect in conf.connects}
    for node_id, name in names.items():
        if node_id not in connected and conf.connects and not conf.fence_all:
            text = f"no connect line is for node {node_id} ({name}): dlm_controld leaves its fence to dlm_stonith"
            yield fault(source, 0, text, f"add connect DEVICE node={node_id} plug={name}")


def _addresses(devices: tuple[Device, ...]) -> Iterator[CheckFinding]:
    owners: dict[str, Device] = {}
    for device in devices:
        if device.agent not in BMC_AGENTS or not device.address:
            continue
        if is_cut_short(device.address):
            text = f"device {device.name}: {device.address} is no whole IPv4 address: no BMC answers there"
            yield fault(device.source, device.line, text, "write all four numbers")
        owner = owners.setdefault(device.address, device)
        if owner.nodes != device.nodes:
            text = f"{owner.nodes[0]} and {device.nodes[0]} are fenced by one BMC address {device.address}"
            yield fault(device.source, device.line, text, "give each the address of its own BMC")


def _unfencing(conf: DlmConf, source: str) -> Iterator[CheckFinding]:
    for device in conf.devices:
        storage = device.arguments.get("vg") or device.arguments.get("devices")
        if device.agent == AGENT and storage and device.name not in conf.unfence:
            text = f"device {device.name} has storage and no unfence line: no node registers its key by it"
            yield fault(source, device.line, text, f"add unfence {device.name}")


def _duel(devices: tuple[Device, ...], names: Mapping[str, str]) -> Iterator[CheckFinding]:
    first: dict[str, Device] = {}
    for device in devices:
        first.setdefault(device.nodes[0], device)
    shoots = [each for each in first.values() if not each.arbitrates and each.agent not in NOT_POWER_AGENTS]
    delayed = any(each.attributes.get("delay", "0") not in ("", "0") for each in first.values())
    if len(names or first) == 2 and len(shoots) == 2 and not delayed:
        text = "two nodes without arbitration: when they lose sight of each other, each switches the other off"
        yield fault(shoots[1].source, shoots[1].line, text, "give each fence_halvm device vg=GROUP")
