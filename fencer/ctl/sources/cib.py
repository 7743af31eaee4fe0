# SPDX-License-Identifier: Apache-2.0
"""The CIB, Pacemaker's configuration, with the line of each thing. Pure.

Source: Pacemaker Explained; ``cibadmin --query``, ``pcs cluster cib``, /var/lib/pacemaker/cib/cib.xml.
"""

import math
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from fencer.cluster.xml_lines import parse_xml
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


class Location(NamedTuple):
    """An ``<rsc_location>`` that names a resource and, itself or in a rule, a node. score: as written."""

    name: str
    resource: str
    node: str
    score: str
    line: int


class FencingLevel(NamedTuple):
    """A ``<fencing-level>`` of one node. target: where it is for no node of the CIB, the pattern or attribute."""

    target: str
    number: int
    devices: tuple[str, ...]
    line: int


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
    document = _Document(parsed.lines, {each.get("id", ""): each for each in configuration.iter() if each.get("id")})
    templates = {each.get("id", ""): each for each in configuration.iter("template")}
    defaults = _values(_unconditional(configuration.findall("op_defaults/meta_attributes")), document)
    default_s = seconds(defaults["timeout"].text) if "timeout" in defaults else None
    nodes = tuple(_node(each, document) for each in configuration.findall("nodes/node"))
    primitives = tuple(_primitive(each, parent, templates, document) for each, parent in _primitives(configuration))
    return Cib(
        _values(configuration.findall("crm_config/cluster_property_set"), document),
        nodes,
        primitives,
        {
            each.get("id", ""): tuple(member.get("id", "") for member in each.findall("primitive"))
            for each in configuration.iter("group")
        },
        {
            each.get("id", ""): _values(each.findall("meta_attributes"), document)
            for each in configuration.iter()
            if each.tag in _HOLDERS
        },
        tuple(location for each in configuration.iter("rsc_location") for location in _locations(each, document)),
        _levels(configuration, document),
        tuple(pair for each in configuration.iter("rsc_order") for pair in _orders(each, document)),
        tuple(pair for each in configuration.iter("rsc_colocation") for pair in _colocations(each, document)),
        DEFAULT_TIMEOUT_S if default_s is None else default_s,
        _values(_unconditional(configuration.findall("rsc_defaults/meta_attributes")), document),
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


def seconds(text: str) -> float | None:
    """A time as Pacemaker reads it: ``60``, ``60s``, ``1min``, ``500ms``, ``PT1M30S``; None for anything else.

    Pacemaker looks at the first letters of a unit only, and drops decimals (lib/common/strings.c, pcmk__parse_ms).
    """
    if duration := re.fullmatch(r"P(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?", text):
        return float(sum(int(n or 0) * scale for n, scale in zip(duration.groups(), (86400, 3600, 60, 1), strict=True)))
    match = re.fullmatch(r"\s*\+?(\d{1,9})[\d.]*\s*([a-z]*)\s*", text.lower())
    if match is None:
        return None
    unit = match[2] or "s"
    return next((int(match[1]) * scale for first, scale in _UNITS_S if unit.startswith(first)), None)


_UNITS_S = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("m", 60.0), ("h", 3600.0))


def is_true(text: str) -> bool:
    """A boolean as Pacemaker reads it (crm_str_to_boolean)."""
    return text.strip().lower() in ("true", "on", "yes", "y", "1")


def is_false(text: str) -> bool:
    """Also a boolean that is no word of either kind: Pacemaker then takes the default."""
    return text.strip().lower() in ("false", "off", "no", "n", "0")


def _text(value: Value | None) -> str:
    return "" if value is None else value.text


class _Document(NamedTuple):
    """lines: where each element begins. ids: the elements that ``id-ref`` may name."""

    lines: Mapping[Element, int]
    ids: Mapping[str, Element]

    def resolved(self, element: Element) -> Element:
        """The element that is meant: one with ``id-ref`` stands for another."""
        return self.ids.get(element.get("id-ref", ""), element)


def _unconditional(sets: list[Element]) -> list[Element]:
    """Those that hold always: a rule makes defaults hold for some resources, operations or times."""
    return [each for each in sets if each.find("rule") is None]


def _values(sets: list[Element], document: _Document) -> Mapping[str, Value]:
    """The nvpairs of several sets. Of a name, the one in the set with the highest score counts, and then the first. A
    set with a rule counts where nothing else gives a value."""
    found: dict[str, Value] = {}
    for each in sorted(map(document.resolved, sets), key=_order_of_sets):
        for written in each.findall("nvpair"):
            pair = document.resolved(written)
            name = written.get("name") or pair.get("name") or ""
            found.setdefault(name, Value(pair.get("value", ""), document.lines[pair]))
    return found


def _order_of_sets(each: Element) -> tuple[bool, float]:
    return each.find("rule") is not None, -_score(each.get("score", "0"))


def _score(text: str) -> float:
    """A score as Pacemaker reads it; 0 for what is none. From a million on it is infinite (pcmk_parse_score)."""
    word = text.strip().upper().removeprefix("+")
    if word.removeprefix("-") == "INFINITY":
        return -math.inf if word.startswith("-") else math.inf
    number = int(word) if re.fullmatch(r"-?\d{1,18}", word, re.ASCII) else 0
    return number if abs(number) < INFINITE else math.copysign(math.inf, number)


INFINITE: Final = 1000000


def _node(element: Element, document: _Document) -> CibNode:
    given = _values(element.findall("instance_attributes"), document)
    return CibNode(
        element.get("uname", ""),
        element.get("id", ""),
        is_true(_text(given.get("standby"))),
        is_true(_text(given.get("maintenance"))),
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


def _locations(element: Element, document: _Document) -> Iterator[Location]:
    """A constraint names its node itself, or in a rule (crmsh)."""
    resources = [element.get("rsc", ""), *(each.get("id", "") for each in element.iter("resource_ref"))]
    nodes = [(element.get("node", ""), element.get("score", ""))]
    for rule in element.findall("rule"):
        match rule.findall("expression"):
            case [one] if len(rule) == 1 and one.get("attribute") == "#uname" and one.get("operation") == "eq":
                nodes.append((one.get("value", ""), rule.get("score", "")))
    for resource in filter(None, resources):
        for node, score in nodes:
            if node:
                yield Location(element.get("id", ""), resource, node, score, document.lines[element])


def _levels(configuration: Element, document: _Document) -> tuple[FencingLevel, ...]:
    """A node that levels name has no others; then those whose pattern fits its name count, and then those of an
    attribute that it has (pacemaker-fenced, find_topology_for_host)."""
    levels = list(configuration.iter("fencing-level"))
    nodes = configuration.findall("nodes/node")
    named = {each.get("target") for each in levels}
    by_pattern: set[str] = set()
    found = []
    for key in ("target", "target-pattern", "target-attribute"):
        for each in levels:
            if not (wanted := each.get(key, "")):
                continue
            if key == "target":
                targets = [wanted]
            elif key == "target-pattern":
                targets = [
                    name for node in nodes if (name := node.get("uname", "")) not in named and _fits(wanted, name)
                ]
                by_pattern.update(targets)
            else:
                value = each.get("target-value", "")
                targets = [
                    name
                    for node in nodes
                    if (name := node.get("uname", "")) not in named | by_pattern
                    and _text(_values(node.findall("instance_attributes"), document).get(wanted)) == value
                ]
                wanted = f"{wanted}={value}"
            wanted = f"pattern {wanted}" if key == "target-pattern" else wanted
            index = each.get("index", "")
            number = int(index) if index.isdecimal() and len(index) < 10 else 0
            devices = tuple(name.strip() for name in each.get("devices", "").split(",") if name.strip())
            found += [FencingLevel(target, number, devices, document.lines[each]) for target in targets or [wanted]]
    return tuple(found)


def _fits(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except (re.error, RecursionError, OverflowError):  # POSIX knows expressions that Python does not
        return False


def _sets(element: Element, document: _Document) -> list[tuple[list[str], bool]]:
    """The resource sets of a constraint: members, and whether these depend on each other."""
    return [
        (
            [member.get("id", "") for member in each.findall("resource_ref")],
            not is_false(each.get("sequential", "true")),
        )
        for each in map(document.resolved, element.findall("resource_set"))
        if each.get("action", "start") not in ("stop", "demote")
    ]


def _pairs_of_sets(sets: list[tuple[list[str], bool]]) -> Iterator[tuple[str, str]]:
    """Neighbours in each set, and each member of a set with each of the next set."""
    for members, sequential in sets:
        if sequential:
            yield from pairwise(members)
    for (members, _), (others, _) in pairwise(sets):
        yield from product(members, others)


def _orders(element: Element, document: _Document) -> Iterator[tuple[str, str]]:
    """(first, then) of an order that always holds: one that is optional orders only what happens to start together."""
    if element.get("kind", "Mandatory").casefold() != "mandatory" or (
        "kind" not in element.attrib and _score(element.get("score", "INFINITY")) == 0
    ):
        return
    if element.get("first") and element.get("first-action", "start") not in ("stop", "demote"):
        yield element.get("first", ""), element.get("then", "")
    yield from _pairs_of_sets(_sets(element, document))


def _colocations(element: Element, document: _Document) -> Iterator[tuple[str, str]]:
    """Pairs, in both orders, that are always on one node. A finite score is a wish."""
    pairs = [(element.get("rsc", ""), element.get("with-rsc", ""))] if element.get("rsc") else []
    if _score(element.get("score", "0")) == math.inf:
        for one, other in (*pairs, *_pairs_of_sets(_sets(element, document))):
            yield from ((one, other), (other, one))


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


def _primitive(element: Element, parent: str, templates: Mapping[str, Element], document: _Document) -> Primitive:
    """A primitive with what its template gives it."""
    sources = [element]
    if (template := templates.get(element.get("template", ""))) is not None:
        sources.append(template)
    kind = next((source for source in sources if source.get("type")), element)
    return Primitive(
        element.get("id", ""),
        kind.get("class", ""),
        kind.get("type", ""),
        _values([each for source in sources for each in source.findall("instance_attributes")], document),
        _values([each for source in sources for each in source.findall("meta_attributes")], document),
        tuple(_operations(sources, document)),
        parent,
        document.lines[element],
    )


def _operations(sources: list[Element], document: _Document) -> Iterator[Operation]:
    """Those of the primitive, and those of its template that it does not have (unpack_template)."""
    own: set[tuple[str, str]] = set()
    for source in sources:
        found = [
            document.resolved(op)
            for each in source.findall("operations")
            for op in document.resolved(each).findall("op")
        ]
        for each in found:
            more = _values([*each.findall("meta_attributes"), *each.findall("instance_attributes")], document)
            timeout = each.get("timeout") or _text(more.get("timeout"))
            disabled = is_false(each.get("enabled") or _text(more.get("enabled")))
            if (each.get("name", ""), each.get("role", "")) not in own and not disabled:
                yield Operation(each.get("name", ""), seconds(timeout), document.lines[each])
        own |= {(each.get("name", ""), each.get("role", "")) for each in found}
