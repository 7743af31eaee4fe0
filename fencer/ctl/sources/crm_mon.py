# SPDX-License-Identifier: Apache-2.0
"""``crm_mon --output-as=xml``: Pacemaker's nodes, resources and failed operations. Pure."""

from collections.abc import Iterator
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from fencer.cluster.xml_lines import parse_xml
from fencer.errors import UsageError

COMMAND: Final = ("crm_mon", "--one-shot", "--inactive", "--output-as=xml")
_ENABLED: Final = ("stonith-enabled", "fencing-enabled")
"""Pacemaker 3.0.2 prints both, and has announced the end of the first."""


class Node(NamedTuple):
    """A cluster node as Pacemaker has it. state: ``online``, ``OFFLINE``, ``UNCLEAN``, ``standby``, ``maintenance`` or
    ``pending``."""

    name: str
    state: str


class Resource(NamedTuple):
    """agent: ``stonith:fence_halvm``, ``ocf:heartbeat:Filesystem``. nodes: where it is active. failed: an operation of
    it failed; blocked: Pacemaker does nothing about it until an operator does."""

    name: str
    agent: str
    role: str
    nodes: tuple[str, ...]
    failed: bool
    blocked: bool
    managed: bool

    @property
    def is_stonith(self) -> bool:
        """Whether it is a fence device."""
        return self.agent.startswith("stonith:")


class Failure(NamedTuple):
    """A failed operation. operation: ``fence-serv-0001_monitor_60000``."""

    operation: str
    node: str
    status: str
    reason: str


class Pacemaker(NamedTuple):
    """dc: the node that decides, "" when there is none. quorate: None when it was not said."""

    dc: str
    quorate: bool | None
    stonith_enabled: bool
    maintenance: bool
    nodes: tuple[Node, ...]
    resources: tuple[Resource, ...]
    failures: tuple[Failure, ...]


def parse_crm_mon(text: str) -> Pacemaker:
    """Raises ValueError where the text is not what crm_mon prints (Pacemaker 2.1, 3.0: xml/api/crm_mon-*.rng)."""
    try:
        root = parse_xml(text, "crm_mon", "output").root
    except UsageError as error:
        raise ValueError(str(error)) from error
    if root.tag not in ("pacemaker-result", "crm_mon"):
        raise ValueError(f"crm_mon: the root element is <{root.tag}>")
    dc, options = root.find("summary/current_dc"), root.find("summary/cluster_options")
    if dc is None:
        errors = [each.text or "" for each in root.findall("status/errors/error")]
        raise ValueError(errors[-1] if errors else "crm_mon: no summary")
    return Pacemaker(
        dc.get("name", ""),
        _truth(dc.get("with_quorum")) if dc.get("with_quorum") is not None else None,
        options is None or all(_truth(options.get(name, "true")) for name in _ENABLED),
        options is not None and _truth(options.get("maintenance-mode", "false")),
        tuple(Node(each.get("name", ""), _state(each)) for each in root.findall("nodes/node")),
        tuple(_resources(root)),
        tuple(
            Failure(
                each.get("op_key", each.get("id", "")),
                each.get("node", ""),
                each.get("exitstatus", ""),
                each.get("exitreason", "") or each.get("status", ""),
            )
            for each in root.findall("failures/failure")
        ),
    )


def _resources(root: Element) -> Iterator[Resource]:
    for parent in root.findall("resources"):
        for each in parent.iter("resource"):
            yield Resource(
                each.get("id", ""),
                each.get("resource_agent", "").replace("::", ":"),
                each.get("role", ""),
                tuple(node.get("name", "") for node in each.findall("node")),
                _truth(each.get("failed")),
                _truth(each.get("blocked")),
                _truth(each.get("managed", "true")),
            )


def _state(node: Element) -> str:
    if _truth(node.get("unclean")):
        return "UNCLEAN"
    for state in ("pending", "standby", "maintenance"):
        if _truth(node.get(state)):
            return state
    return "online" if _truth(node.get("online")) else "OFFLINE"


def _truth(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1", "yes", "on")
