# SPDX-License-Identifier: Apache-2.0
"""Golden .metrics files, with a stopped clock.

After a wanted change: ``python -m tests.exporter.metrics.test_golden``."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from fencer.exporter.metrics import table
from fencer.exporter.metrics.collector import HalvmCollector
from fencer.exporter.metrics.manual import markdown
from fencer.exporter.metrics.table import METRICS, MetricKind, Source
from fencer.state.readings import Readings
from tests import scenes
from tests.exporter.metrics.promtool import promtool

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


class _Whole(Collector):
    """As prometheus-client has it: the whole of each family."""

    def __init__(self, collector: HalvmCollector) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        return (family.of_client() for family in self._collector.gather())


def registered(collector: HalvmCollector) -> CollectorRegistry:
    made = CollectorRegistry(auto_describe=False)
    made.register(_Whole(collector))
    return made


def registry(readings: Readings) -> CollectorRegistry:
    return registered(HalvmCollector(lambda: readings, lambda: 0.0, "0.1.0", "3.11.2"))


def exposition(readings: Readings) -> str:
    return generate_latest(registry(readings)).decode()


def samples(readings: Readings) -> dict[str, float]:
    """Every series as ``name{label="value"}``."""
    return {
        each.name + "{" + ",".join(f'{k}="{v}"' for k, v in each.labels.items()) + "}": each.value
        for family in registry(readings).collect()
        for each in family.samples
    }


def families(readings: Readings) -> set[str]:
    return {family.name + ("_total" if family.type == "counter" else "") for family in registry(readings).collect()}


@pytest.mark.parametrize("name", scenes.SCENES)
def test_the_exposition_is_golden(name):
    assert exposition(scenes.SCENES[name]()) == (GOLDEN / f"{name}.metrics").read_text()


@pytest.mark.peer
@pytest.mark.parametrize("name", scenes.SCENES)
def test_promtool_finds_nothing(name):
    done = subprocess.run(
        [promtool(), "check", "metrics"],
        input=exposition(scenes.SCENES[name]()),
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", scenes.SCENES)
def test_both_formats_parse_and_agree(name):
    readings = scenes.SCENES[name]()
    text = {s for family in parse_text(exposition(readings)) for s in _plain(family)}
    opened = {s for family in parse_openmetrics(openmetrics(registry(readings)).decode()) for s in _plain(family)}
    assert text == opened


def _plain(family):
    return {(s.name, tuple(sorted(s.labels.items())), s.value) for s in family.samples}


def test_every_row_of_the_table_is_shown_in_some_scene():
    paused = scenes.snapshot()._replace(paused_until_unix_s=scenes.NOW.unix_s + 60)
    shown = set().union(*(families(make()) for make in scenes.SCENES.values()))
    shown |= families(scenes.readings(paused, scenes.journal()))
    assert {row.name for row in METRICS} == shown


def test_types_labels_and_help_are_the_tables():
    rows = {row.name: row for row in METRICS}
    for make in scenes.SCENES.values():
        for family in registry(make()).collect():
            row = rows[family.name + ("_total" if family.type == "counter" else "")]
            assert (row.kind, row.help) == (family.type, family.documentation)
            for sample in family.samples:
                assert tuple(label for label in sample.labels if label != "le") == row.labels


def test_names_follow_the_conventions():
    for row in METRICS:
        assert row.name.startswith("halvm_")
        assert row.name.endswith("_total") == (row.kind is MetricKind.COUNTER), row.name
        assert set(row.labels) <= {label.name for label in table.LABELS}
        assert not row.name.endswith(("_count", "_sum", "_bucket", "_ms", "_percent"))
        assert row.help.rstrip().endswith(".")
    assert {label.name for label in table.LABELS} == {label for row in METRICS for label in row.labels}


def test_the_documentation_is_current():
    assert markdown() == DOCS.read_text(), "run python -m fencer.exporter.metrics.manual > docs/metrics.md"


def test_what_comes_from_the_snapshot_says_so():
    """The column "from" of the documentation is true: without a snapshot exactly those are absent."""
    without = families(scenes.readings(scenes.nothing().snapshot, scenes.fenced().journal))
    from_snapshot = {row.name for row in METRICS if row.source in (Source.SNAPSHOT, Source.READING)}
    assert not without & from_snapshot
    ages = {table.SNAPSHOT_AGE.name, table.SNAPSHOT_TIME.name, table.SNAPSHOT_INTERVAL.name}
    assert families(scenes.fenced()) - without - ages <= from_snapshot


if __name__ == "__main__":
    for scene, scene_readings in scenes.SCENES.items():
        (GOLDEN / f"{scene}.metrics").write_text(exposition(scene_readings()))
    sys.exit(0)
