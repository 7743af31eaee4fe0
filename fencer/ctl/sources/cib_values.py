# SPDX-License-Identifier: Apache-2.0
"""Values in a CIB as Pacemaker reads them: times, booleans, scores, and the sets in which they stand. Pure."""

import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element


class Value(NamedTuple):
    """An nvpair's value."""

    text: str
    line: int


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


def text_of(value: Value | None) -> str:
    return "" if value is None else value.text


class Document(NamedTuple):
    """lines: where each element begins. ids: the elements that ``id-ref`` may name."""

    lines: Mapping[Element, int]
    ids: Mapping[str, Element]

    def resolved(self, element: Element) -> Element:
        """The element that is meant: one with ``id-ref`` stands for another."""
        return self.ids.get(element.get("id-ref", ""), element)


def unconditional(sets: list[Element]) -> list[Element]:
    """Those that hold always: a rule makes defaults hold for some resources, operations or times."""
    return [each for each in sets if each.find("rule") is None]


def values_of(sets: list[Element], document: Document) -> Mapping[str, Value]:
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
    return each.find("rule") is not None, -score_of(each.get("score", "0"))


def score_of(text: str) -> float:
    """A score as Pacemaker reads it; 0 for what is none. From a million on it is infinite (pcmk_parse_score)."""
    word = text.strip().upper().removeprefix("+")
    if word.removeprefix("-") == "INFINITY":
        return -math.inf if word.startswith("-") else math.inf
    number = int(word) if re.fullmatch(r"-?\d{1,18}", word, re.ASCII) else 0
    return number if abs(number) < INFINITE else math.copysign(math.inf, number)


INFINITE: Final = 1000000
