# SPDX-License-Identifier: Apache-2.0
"""The fence devices of any configuration file, in one form. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from fencer.cluster.cluster_conf import Cluster, merged_attributes
from fencer.ctl.sources.cib import Cib
from fencer.ctl.sources.dlm_conf import DlmConf
from fencer.errors import UsageError

AGENT: Final = "fence_halvm"


class Device(NamedTuple):
    """A fence device for one node or several. nodes: names, () where it takes any. attributes: what its
    agent gets."""

    source: str
    line: int
    name: str
    agent: str
    nodes: tuple[str, ...]
    attributes: Mapping[str, str]

    @property
    def ours(self) -> bool:
        """Whether it is a fence_halvm."""
        return self.agent == AGENT

    @property
    def arbitrates(self) -> bool:
        """Whether a race on the disk decides before it shoots."""
        return self.ours and bool(self.attributes.get("vg") or self.attributes.get("devices"))

    def may_fence(self, node: str) -> bool:
        """Whether it is for the node. Pacemaker compares names without case."""
        return not self.nodes or node.casefold() in (name.casefold() for name in self.nodes)

    @property
    def address(self) -> str:
        """The address of the BMC."""
        return (self.attributes.get("ip") or self.attributes.get("ipaddr") or "").strip().casefold()


def of_cluster_conf(cluster: Cluster, source: str) -> tuple[Device, ...]:
    """One for each node and device that fences it."""
    found: dict[tuple[str, str], Device] = {}
    for node in cluster.nodes:
        for method in node.fence_methods:
            for ref in method.devices:
                try:
                    attributes = merged_attributes(cluster, node, ref)
                except UsageError:  # the device does not exist, which is a problem of its own
                    continue
                line = next((each.line for each in cluster.fence_devices if each.name == ref.name), ref.line)
                agent = attributes.get("agent", "")
                found.setdefault((node.name, ref.name), Device(source, line, ref.name, agent, (node.name,), attributes))
    return tuple(found.values())


def of_cib(cib: Cib, source: str) -> tuple[Device, ...]:
    """The stonith primitives."""
    return tuple(
        Device(
            source,
            each.line,
            each.name,
            each.kind,
            host_names(each.value("pcmk_host_list"), each.value("pcmk_host_map")),
            {name: value.text for name, value in each.attributes.items()},
        )
        for each in cib.stonith
    )


def host_names(host_list: str, host_map: str) -> tuple[str, ...]:
    """pcmk_host_list: names between blanks, commas or semicolons. pcmk_host_map: ``node:plug;node=plug``."""
    names = host_list.replace(",", " ").replace(";", " ").split()
    return tuple(dict.fromkeys((*names, *(node for _, node in _mapped(host_map)))))


def _mapped(host_map: str) -> Iterator[tuple[str, str]]:
    """Entries of pcmk_host_map, each with its node: since Pacemaker 3.0.2 what stands before the first colon or equals
    sign. Pacemaker drops an entry that has no node or no plug. Source: build_port_aliases in fenced_commands.c."""
    for entry in host_map.replace(";", " ").split():
        node, *plug = re.split("[:=]", entry, maxsplit=1)
        if node and any(plug):
            yield entry, node


def read_differently(host_map: str) -> Iterator[tuple[str, str]]:
    """Entries of pcmk_host_map that Pacemaker until 3.0.1 takes for another node's, each with that name.

    There the last colon or equals sign counts that no backslash precedes, and the node is the word before it.
    """
    for entry, node in _mapped(host_map):
        *before, _ = re.split("[:=]", re.sub(r"\\.", "_", entry))
        if (old := next(filter(None, reversed(before)), node)) != node:
            yield entry, old


def of_dlm_conf(conf: DlmConf, source: str, names: Mapping[str, str]) -> tuple[Device, ...]:
    """One for each connect line whose device exists. names: node id to node name."""
    devices = {each.name: each for each in conf.devices}
    found = []
    for connect in conf.connects:
        device = devices.get(connect.device)
        if device is not None:
            node = names.get(connect.node_id, f"node {connect.node_id}")
            attributes = {**device.arguments, **connect.arguments}
            found.append(Device(source, device.line, device.name, device.agent, (node,), attributes))
    return tuple(found)
