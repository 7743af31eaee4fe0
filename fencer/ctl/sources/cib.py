# SPDX-License-Identifier: Apache-2.0
"""The CIB, Pacemaker's configuration, with the line of each thing. Pure.

Source: Pacemaker Explained; ``cibadmin --query``, ``pcs cluster cib``, /var/lib/pacemaker/cib/cib.xml.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from fencer.cluster.xml_lines import LinedXml, parse_xml
from fencer.errors import UsageError

COMMAND: Final = ("cibadmin", "--query", "--local")
CIB_FILE: Final = "/var/lib/pacemaker/cib/cib.xml"
"""This node's copy, for while Pacemaker does not run."""
DEFAULT_TIMEOUT_S: Final = 20.0
"""Of an operation that gives none, and for which op_defaults gives none."""


class Value(NamedTuple):
    """An nvpair's value."""

    text: str
    line: int


class Operation(NamedTuple):
    """An ``<op>``. timeout_s: None where it gives none."""

    name: str
    timeout_s: float | None
    line: int


class Primitive(NamedTuple):
    """A resource. standard: ``stonith``, ``ocf``. kind: the agent's name. parent: id of its group or clone, or ""."""

    name: str
    standard: str
    kind: str
    attributes: Mapping[str, Value]
    meta: Mapping[str, Value]
    operations: tuple[Operation, ...]
    parent: str
    line: int

    def value(self, name: str, default: str = "") -> str:
        """An instance attribute."""
        found = self.attributes.get(name)
        return default if found is None else found.text.strip()

    def line_of(self, name: str) -> int:
        """Where an instance or meta attribute stands; where the resource begins when it has none."""
        found = self.attributes.get(name) or self.meta.get(name)
        return self.line if found is None else found.line


class Location(NamedTuple):
    """An ``<rsc_location>`` that names a resource and a node. score: as written."""

    name: str
    resource: str
    node: str
    score: str
    line: int


class FencingLevel(NamedTuple):
    """A ``<fencing-level>``."""

    target: str
    number: int
    devices: tuple[str, ...]
    line: int


class CibNode(NamedTuple):
    """A ``<node>``. standby, maintenance: set for it."""

    name: str
    node_id: str
    standby: bool
    maintenance: bool
    line: int


class Cib(NamedTuple):
    """properties: the cluster's. holders: the meta attributes of groups and clones. orders: pairs of (first, then);
    colocations: pairs of (resource, with).

    operation_timeout_s: of op_defaults, or Pacemaker's own default. resource_defaults: meta attributes of the resources
    that do not have them.
    """

    properties: Mapping[str, Value]
    nodes: tuple[CibNode, ...]
    primitives: tuple[Primitive, ...]
    groups: Mapping[str, tuple[str, ...]]
    holders: Mapping[str, Mapping[str, Value]]
    locations: tuple[Location, ...]
    levels: tuple[FencingLevel, ...]
    orders: tuple[tuple[str, str], ...]
    colocations: tuple[tuple[str, str], ...]
    operation_timeout_s: float
    resource_defaults: Mapping[str, Value]
    line: int

    def setting(self, name: str, default: str = "") -> str:
        """A cluster property."""
        found = self.properties.get(name)
        return default if found is None else found.text.strip()

    @property
    def stonith(self) -> tuple[Primitive, ...]:
        """The fence devices."""
        return tuple(each for each in self.primitives if each.standard == "stonith")

    def of_kind(self, kind: str) -> tuple[Primitive, ...]:
        """The resources of an OCF agent."""
        return tuple(each for each in self.primitives if each.standard == "ocf" and each.kind == kind)


def parse_cib(content: str | bytes, source: str) -> Cib:
    """Raises UsageError, naming source and line, where the content is no CIB."""
    document = parse_xml(content, "cib", source)
    root = document.root
    if root.tag == "pacemaker-result":  # of a crm_mon or cibadmin that was asked for XML
        inner = root.find(".//cib")
        root = root if inner is None else inner
    if root.tag != "cib" or (configuration := root.find("configuration")) is None:
        raise UsageError(f"cib: {source}: the root element is <{root.tag}>: give what cibadmin --query prints")
    lines = document.lines
    templates = {each.get("id", ""): each for each in configuration.iter("template")}
    defaults = _values(configuration.findall("op_defaults/meta_attributes"), document)
    default_s = seconds(defaults["timeout"].text) if "timeout" in defaults else None
    return Cib(
        _values(configuration.findall("crm_config/cluster_property_set"), document),
        tuple(_node(each, document) for each in configuration.findall("nodes/node")),
        tuple(_primitive(each, parent, templates, document) for each, parent in _primitives(configuration)),
        {
            each.get("id", ""): tuple(member.get("id", "") for member in each.findall("primitive"))
            for each in configuration.iter("group")
        },
        {
            each.get("id", ""): _values(each.findall("meta_attributes"), document)
            for each in configuration.iter()
            if each.tag in _HOLDERS
        },
        tuple(
            Location(each.get("id", ""), each.get("rsc", ""), each.get("node", ""), each.get("score", ""), lines[each])
            for each in configuration.iter("rsc_location")
            if each.get("rsc") and each.get("node")
        ),
        tuple(
            FencingLevel(
                each.get("target", "") or each.get("target-pattern", ""),
                int(index) if (index := each.get("index", "")).isdecimal() else 0,
                tuple(name.strip() for name in each.get("devices", "").split(",") if name.strip()),
                lines[each],
            )
            for each in configuration.iter("fencing-level")
        ),
        tuple((each.get("first", ""), each.get("then", "")) for each in configuration.iter("rsc_order")),
        tuple((each.get("rsc", ""), each.get("with-rsc", "")) for each in configuration.iter("rsc_colocation")),
        DEFAULT_TIMEOUT_S if default_s is None else default_s,
        _values(configuration.findall("rsc_defaults/meta_attributes"), document),
        lines[configuration],
    )


def seconds(text: str) -> float | None:
    """A time as Pacemaker reads it: ``60``, ``60s``, ``1min``, ``500ms``; None for anything else."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*([a-z]*)\s*", text.lower())
    scale = _UNITS_S.get(match[2]) if match else None
    return int(match[1]) * scale if match and scale is not None else None


_UNITS_S = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "usec": 1e-6, "m": 60.0, "min": 60.0,
            "h": 3600.0, "hr": 3600.0}  # fmt: skip


def is_true(text: str) -> bool:
    """A boolean as Pacemaker reads it (crm_str_to_boolean)."""
    return text.strip().lower() in ("true", "on", "yes", "y", "1")


def is_false(text: str) -> bool:
    """Also a boolean that is no word of either kind: Pacemaker then takes the default."""
    return text.strip().lower() in ("false", "off", "no", "n", "0")


def _text(value: Value | None) -> str:
    return "" if value is None else value.text


def _values(sets: list[Element], document: LinedXml) -> Mapping[str, Value]:
    """The nvpairs of several sets. The first set that has a name counts."""
    found: dict[str, Value] = {}
    for each in sets:
        for pair in each.findall("nvpair"):
            found.setdefault(pair.get("name", ""), Value(pair.get("value", ""), document.lines[pair]))
    return found


def _node(element: Element, document: LinedXml) -> CibNode:
    given = _values(element.findall("instance_attributes"), document)
    return CibNode(
        element.get("uname", ""),
        element.get("id", ""),
        is_true(_text(given.get("standby"))),
        is_true(_text(given.get("maintenance"))),
        document.lines[element],
    )


_HOLDERS = ("group", "clone", "master", "bundle")


def _primitives(configuration: Element) -> Iterator[tuple[Element, str]]:
    """All primitives, each with the id of what holds it."""
    resources = configuration.find("resources")
    stack = [(child, "") for child in reversed([] if resources is None else list(resources))]
    while stack:
        element, parent = stack.pop()
        if element.tag == "primitive":
            yield element, parent
        elif element.tag in _HOLDERS:
            stack += [(child, element.get("id", "")) for child in reversed(list(element))]


def _primitive(element: Element, parent: str, templates: Mapping[str, Element], document: LinedXml) -> Primitive:
    """A primitive with what its template gives it."""
    sources = [element]
    if (template := templates.get(element.get("template", ""))) is not None:
        sources.append(template)
    kind = next((source for source in sources if source.get("type")), element)
    operations = [operation for source in sources for operation in source.findall("operations/op")]
    return Primitive(
        element.get("id", ""),
        kind.get("class", ""),
        kind.get("type", ""),
        _values([each for source in sources for each in source.findall("instance_attributes")], document),
        _values([each for source in sources for each in source.findall("meta_attributes")], document),
        tuple(
            Operation(each.get("name", ""), seconds(each.get("timeout", "")), document.lines[each])
            for each in operations
        ),
        parent,
        document.lines[element],
    )
