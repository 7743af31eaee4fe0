# SPDX-License-Identifier: Apache-2.0
"""The CIB, Pacemaker's configuration, with the line of each thing. Pure.

Source: Pacemaker Explained; ``cibadmin --query``, ``pcs cluster cib``, /var/lib/pacemaker/cib/cib.xml.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from fencer.cluster.xml_lines import parse_xml
from fencer.ctl.sources.cib_constraints import FencingLevel, Location, colocations, levels, locations, orders
from fencer.ctl.sources.cib_values import Document, Value, is_false, is_true, seconds, text_of, unconditional, values_of
from fencer.errors import UsageError

COMMAND: Final = ("cibadmin", "--query", "--local")
CIB_FILE: Final = "/var/lib/pacemaker/cib/cib.xml"
"""This node's copy, for while Pacemaker does not run."""
DEFAULT_TIMEOUT_S: Final = 20.0
"""Of an operation that gives none, and for which op_defaults gives none."""


class Operation(NamedTuple):
    """An ``<op>`` that is not disabled. timeout_s: None where it gives none."""

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


class CibNode(NamedTuple):
    """A ``<node>``. standby, maintenance: set for it. remote: it runs pacemaker-remoted and no corosync."""

    name: str
    node_id: str
    standby: bool
    maintenance: bool
    line: int
    remote: bool = False


class Cib(NamedTuple):
    """properties: the cluster's. holders: the meta attributes of groups and clones; parents: what each thing in one is
    in. orders: pairs of (first, then) that always hold; colocations: pairs that are always on one node, in both orders.
    remote_nodes: those of ocf:pacemaker:remote. guests: virtual machines and bundles, which are nodes, too.

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
    parents: Mapping[str, str]
    remote_nodes: tuple[str, ...]
    guests: frozenset[str]

    def setting(self, name: str, default: str = "") -> str:
        """A cluster property."""
        found = self.properties.get(name)
        return default if found is None else found.text.strip()

    def names_of(self, name: str) -> frozenset[str]:
        """A resource and all that it is in: a constraint may name any of them."""
        found = {name}
        while (name := self.parents.get(name, "")) not in ("", *found):
            found.add(name)
        return frozenset(found)

    @property
    def stonith(self) -> tuple[Primitive, ...]:
        """The fence devices."""
        return tuple(each for each in self.primitives if each.standard == "stonith")

    def of_kind(self, kind: str) -> tuple[Primitive, ...]:
        """The resources of an OCF agent."""
        return tuple(each for each in self.primitives if each.standard == "ocf" and each.kind == kind)


def parse_cib(content: str | bytes, source: str) -> Cib:
    """Raises UsageError, naming source and line, where the content is no CIB."""
    parsed = parse_xml(content, "cib", source)
    root = parsed.root
    if root.tag == "pacemaker-result":  # of a crm_mon or cibadmin that was asked for XML
        inner = root.find(".//cib")
        root = root if inner is None else inner
    if root.tag != "cib" or (configuration := root.find("configuration")) is None:
        raise UsageError(f"cib: {source}: the root element is <{root.tag}>: give what cibadmin --query prints")
    document = Document(parsed.lines, {each.get("id", ""): each for each in configuration.iter() if each.get("id")})
    templates = {each.get("id", ""): each for each in configuration.iter("template")}
    defaults = values_of(unconditional(configuration.findall("op_defaults/meta_attributes")), document)
    default_s = seconds(defaults["timeout"].text) if "timeout" in defaults else None
    nodes = tuple(_node(each, document) for each in configuration.findall("nodes/node"))
    primitives = tuple(_primitive(each, parent, templates, document) for each, parent in _primitives(configuration))
    return Cib(
        values_of(configuration.findall("crm_config/cluster_property_set"), document),
        nodes,
        primitives,
        {
            each.get("id", ""): tuple(member.get("id", "") for member in each.findall("primitive"))
            for each in configuration.iter("group")
        },
        {
            each.get("id", ""): values_of(each.findall("meta_attributes"), document)
            for each in configuration.iter()
            if each.tag in _HOLDERS
        },
        tuple(location for each in configuration.iter("rsc_location") for location in locations(each, document)),
        levels(configuration, document),
        tuple(pair for each in configuration.iter("rsc_order") for pair in orders(each, document)),
        tuple(pair for each in configuration.iter("rsc_colocation") for pair in colocations(each, document)),
        DEFAULT_TIMEOUT_S if default_s is None else default_s,
        values_of(unconditional(configuration.findall("rsc_defaults/meta_attributes")), document),
        document.lines[configuration],
        {
            child.get("id", ""): each.get("id", "")
            for each in configuration.iter()
            if each.tag in _HOLDERS
            for child in each
            if child.tag in ("primitive", *_HOLDERS)
        },
        tuple(each.name for each in primitives if (each.standard, each.kind) == ("ocf", "remote")),
        frozenset(_guests(configuration, primitives)),
    )


def _node(element: Element, document: Document) -> CibNode:
    given = values_of(element.findall("instance_attributes"), document)
    return CibNode(
        element.get("uname", ""),
        element.get("id", ""),
        is_true(text_of(given.get("standby"))),
        is_true(text_of(given.get("maintenance"))),
        document.lines[element],
        element.get("type", "") == "remote",
    )


def _guests(configuration: Element, primitives: tuple[Primitive, ...]) -> Iterator[str]:
    for each in primitives:
        if (guest := each.meta.get("remote-node")) is not None:
            yield guest.text
    for bundle in configuration.iter("bundle"):
        replicas = max((int(n) for each in bundle if (n := each.get("replicas", "")).isdecimal()), default=1)
        yield from (f"{bundle.get('id', '')}-{number}" for number in range(min(replicas, 100)))


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


def _primitive(element: Element, parent: str, templates: Mapping[str, Element], document: Document) -> Primitive:
    """A primitive with what its template gives it."""
    sources = [element]
    if (template := templates.get(element.get("template", ""))) is not None:
        sources.append(template)
    kind = next((source for source in sources if source.get("type")), element)
    return Primitive(
        element.get("id", ""),
        kind.get("class", ""),
        kind.get("type", ""),
        values_of([each for source in sources for each in source.findall("instance_attributes")], document),
        values_of([each for source in sources for each in source.findall("meta_attributes")], document),
        tuple(_operations(sources, document)),
        parent,
        document.lines[element],
    )


def _operations(sources: list[Element], document: Document) -> Iterator[Operation]:
    """Those of the primitive, and those of its template that it does not have (unpack_template)."""
    own: set[tuple[str, str]] = set()
    for source in sources:
        found = [
            document.resolved(op)
            for each in source.findall("operations")
            for op in document.resolved(each).findall("op")
        ]
        for each in found:
            more = values_of([*each.findall("meta_attributes"), *each.findall("instance_attributes")], document)
            timeout = each.get("timeout") or text_of(more.get("timeout"))
            disabled = is_false(each.get("enabled") or text_of(more.get("enabled")))
            if (each.get("name", ""), each.get("role", "")) not in own and not disabled:
                yield Operation(each.get("name", ""), seconds(timeout), document.lines[each])
        own |= {(each.get("name", ""), each.get("role", "")) for each in found}
