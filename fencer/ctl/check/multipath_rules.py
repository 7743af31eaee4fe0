# SPDX-License-Identifier: Apache-2.0
"""Finds what in multipath.conf would make a failover fail or hang. Pure but for the files.

Source: multipath.conf(5). Keys that multipathd registers: fencer.coexistence, which the sidecar shares.
"""

import re
from collections.abc import Iterator

from fencer.coexistence import find
from fencer.ctl.check.finding import CheckFinding, fault, warning


def queueing_findings(text: str, source: str) -> Iterator[CheckFinding]:
    """Findings of maps that hold I/O for ever while they have no path."""
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.partition("#")[0].replace('"', " ").strip()
        queues = re.match(r"no_path_retry\s+queue\b", bare) or (
            bare.startswith("features") and "queue_if_no_path" in bare
        )
        if queues:
            said = "a node that lost its storage hangs in it for ever: it is fenced only when a stop times out"
            remedy = "set no_path_retry to a number of checks, or run halvm-watchdogd, which resets such a node"
            yield warning(source, number, f"{bare.split()[0]} queues without end: {said}", remedy)


def registering_findings(root: str = "/") -> list[CheckFinding]:
    """Findings of keys that multipathd registers by itself, even on a fenced node."""
    return [
        fault(each.source, each.line, f"{each.name}: {each.text}", "")
        for each in find(root)
        if each.name == "multipathd"
    ]
