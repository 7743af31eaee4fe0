# SPDX-License-Identifier: Apache-2.0
"""What a PromQL expression names: metrics, matchers, labels it groups or joins by.

For expressions as plain as ours: what this reading does not understand has to be made plainer.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from fencer.exporter.metrics import table
from fencer.exporter.metrics.collector import READING, SUBSYSTEMS
from fencer.exporter.metrics.table import MetricKind
from fencer.journal.event import EventKind, FenceOutcome
from fencer.state.readings import JournalStatus, SnapshotStatus
from fencer.state.snapshot import PolicyState, RegistrationState

SCRAPED: Final = frozenset({"cluster", "instance", "job"})
"""Labels that Prometheus or the scrape configuration adds to every series."""

VALUES: Final[dict[tuple[str, str], frozenset[str]]] = {
    (table.SNAPSHOT_STATUS.name, "status"): frozenset(SnapshotStatus),
    (table.JOURNAL_STATUS.name, "status"): frozenset(JournalStatus),
    (table.SIDECAR_STATE.name, "state"): frozenset(PolicyState),
    (table.LUN_REGISTRATION.name, "registration"): frozenset({*RegistrationState, "unknown"}),
    (table.COLLECTOR_SUCCESS.name, "collector"): frozenset({READING, *(each.name for each in SUBSYSTEMS)}),
    **{(metric.name, "kind"): frozenset(EventKind) for metric in table.METRICS if "kind" in metric.labels},
    **{(metric.name, "outcome"): frozenset(FenceOutcome) for metric in table.METRICS if "outcome" in metric.labels},
}
"""What a label can be, where the code says so: a matcher for anything else never matches."""


_PROMETHEUS: Final = {"up": SCRAPED, "ALERTS": SCRAPED | {"alertname", "alertstate", "severity"}}


class Selector(NamedTuple):
    """A metric and its matchers: (label, operator, value)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


def selectors(expression: str) -> Iterator[Selector]:
    """Every series selector in it."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', lambda text: '"' + "_" * (len(text[0]) - 2) + '"', expression)
    for found in re.finditer(r"\b(?:[a-z_]+:)?(?:halvm_\w+(?::\w+)?|up|ALERTS)\b", bare):
        matchers = re.match(r"\{([^}]*)\}", bare[found.end() :])
        given = expression[found.end() + 1 : found.end() + matchers.end() - 1] if matchers else ""
        yield Selector(found[0], tuple(re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"', given)))


def grouping(expression: str) -> Iterator[str]:
    """Every label in by, without, on, ignoring, group_left, group_right."""
    for labels in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", expression):
        yield from (label.strip() for label in labels.split(",") if label.strip())


def labels_of(name: str) -> frozenset[str] | None:
    """The labels of a series of this name as Prometheus has it; None when there is no such metric."""
    for metric in table.METRICS:
        if metric.kind is MetricKind.HISTOGRAM:
            if name in (f"{metric.name}_sum", f"{metric.name}_count"):
                return SCRAPED.union(metric.labels)
            if name == f"{metric.name}_bucket":
                return SCRAPED.union(metric.labels, {"le"})
        elif name == metric.name:
            return SCRAPED.union(metric.labels)
    return _PROMETHEUS.get(name)


def complaints(expression: str, recorded: dict[str, frozenset[str]], variables: frozenset[str]) -> list[str]:
    """What it names that is not there. recorded: recording rules and their labels. variables: a dashboard's."""
    found: list[str] = []
    known = {label.name for label in table.LABELS} | SCRAPED | {"le"}
    for metric, matchers in selectors(expression):
        labels = recorded.get(metric) or labels_of(metric)
        if labels is None:
            found.append(f"{metric}: no such metric")
            continue
        for label, operator, value in matchers:
            if label not in labels:
                found.append(f"{metric}: has no label {label}")
            elif (possible := VALUES.get((metric, label))) and value not in variables:
                wanted = [each for each in possible if _matches(operator, value, each)]
                if not wanted or (operator == "=~" and not all(word in possible for word in value.split("|"))):
                    found.append(f"{metric}: {label}{operator}{value!r} matches none, or names what cannot be")
    found += [f"no label is called {label}" for label in grouping(expression) if label not in known]
    return found


def _matches(operator: str, value: str, text: str) -> bool:
    same = re.fullmatch(value, text) is not None if "~" in operator else value == text
    return same is not operator.startswith("!")
