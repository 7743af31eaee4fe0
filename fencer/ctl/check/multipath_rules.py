# SPDX-License-Identifier: Apache-2.0
"""Finds what in multipath.conf would make a failover fail or hang. Pure but for the files.

Source: multipath.conf(5). Keys that multipathd registers: fencer.coexistence, which the sidecar shares.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from fencer.coexistence import find
from fencer.ctl.check.finding import CheckFinding, fault, warning


class _Setting(NamedTuple):
    """A setting in one section. Sections that begin on two lines are two."""

    kind: str
    section: tuple[str, int]
    name: str
    values: tuple[str, ...]
    source: str
    line: int


def queueing_findings(texts: Sequence[tuple[str, str]]) -> Iterator[CheckFinding]:
    """Findings of maps that hold I/O for ever while they have no path. texts: all files, each with its source.

    overrides win over devices and defaults, and multipaths over those. queue_if_no_path in features counts only where
    nothing sets no_path_retry (libmultipath/propsel.c, select_no_path_retry, reconcile_features_with_options).
    """
    settings = [each for text, source in texts for each in _settings(text, source)]
    retries = {(each.source, each.section): each for each in settings if each.name == "no_path_retry"}
    anywhere = {each.kind for each in retries.values()}
    for each in settings:
        if each.name == "no_path_retry":
            last = retries[each.source, each.section] is each
            queues = last and each.values[:1] == ("queue",)
            counts = each.kind in ("multipath", "overrides") or "overrides" not in anywhere
        else:
            queues = each.name == "features" and "queue_if_no_path" in each.values
            counts = (each.source, each.section) not in retries and anywhere.isdisjoint(("overrides", "defaults"))
        if queues and counts:
            said = "a node that lost its storage hangs in it for ever: it is fenced only when a stop times out"
            remedy = "set no_path_retry to a number of checks, or run halvm-watchdogd, which resets such a node"
            yield warning(each.source, each.line, f"{each.name} queues without end: {said}", remedy)


_SECTIONS: Final = frozenset({
    "defaults", "blacklist", "blacklist_exceptions", "devices", "device", "overrides", "protocol", "multipaths",
    "multipath",
})  # fmt: skip


def _settings(text: str, source: str) -> Iterator[_Setting]:
    """A line begins or ends a section, or sets something. # and ! begin a comment (libmpathutil/parser.c)."""
    sections: list[tuple[str, int]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        first, *values = re.sub(r"[!#].*", "", line).replace('"', " ").replace("{", " ").split() or [""]
        if first in _SECTIONS:
            sections.append((first, number))
        elif first == "}":
            sections = sections[:-1]
        elif first and sections:
            yield _Setting(sections[-1][0], sections[-1], first, tuple(values), source, number)


def registering_findings(root: str = "/") -> list[CheckFinding]:
    """Findings of keys that multipathd registers by itself, even on a fenced node."""
    return [
        fault(each.source, each.line, f"{each.name}: {each.text}", "")
        for each in find(root)
        if each.name == "multipathd"
    ]
