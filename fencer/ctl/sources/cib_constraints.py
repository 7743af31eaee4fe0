# SPDX-License-Identifier: Apache-2.0
"""The constraints and fencing levels of a CIB. Pure."""

import math
import re
from collections.abc import Iterator
from itertools import pairwise, product
from typing import NamedTuple
from xml.etree.ElementTree import Element

from fencer.ctl.sources.cib_values import Document, is_false, score_of, text_of, values_of


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


def locations(element: Element, document: Document) -> Iterator[Location]:
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


def levels(configuration: Element, document: Document) -> tuple[FencingLevel, ...]:
    """A node that levels name has no others; then those whose pattern fits its name count, and then those of an
    attribute that it has (pacemaker-fenced, find_topology_for_host)."""
    elements = list(configuration.iter("fencing-level"))
    nodes = configuration.findall("nodes/node")
    named = {each.get("target") for each in elements}
    by_pattern: set[str] = set()
    found = []
    for key in ("target", "target-pattern", "target-attribute"):
        for each in elements:
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
                    and text_of(values_of(node.findall("instance_attributes"), document).get(wanted)) == value
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


def _sets(element: Element, document: Document) -> list[tuple[list[str], bool]]:
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


def orders(element: Element, document: Document) -> Iterator[tuple[str, str]]:
    """(first, then) of an order that always holds: one that is optional orders only what happens to start together."""
    if element.get("kind", "Mandatory").casefold() != "mandatory" or (
        "kind" not in element.attrib and score_of(element.get("score", "INFINITY")) == 0
    ):
        return
    if element.get("first") and element.get("first-action", "start") not in ("stop", "demote"):
        yield element.get("first", ""), element.get("then", "")
    yield from _pairs_of_sets(_sets(element, document))


def colocations(element: Element, document: Document) -> Iterator[tuple[str, str]]:
    """Pairs, in both orders, that are always on one node. A finite score is a wish."""
    pairs = [(element.get("rsc", ""), element.get("with-rsc", ""))] if element.get("rsc") else []
    if score_of(element.get("score", "0")) == math.inf:
        for one, other in (*pairs, *_pairs_of_sets(_sets(element, document))):
            yield from ((one, other), (other, one))
