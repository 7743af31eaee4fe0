"""Rows of the table with values: what prometheus-client exposes."""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family

from fencer.event import BUCKETS_S
from fencer.metrics.table import Kind, Metric

LABEL_CHARACTERS: Final = 256
_BOUNDS: Final = (*(str(float(bound)) for bound in BUCKETS_S), "+Inf")


class Families:
    """Collects values, each series once: a second value of one series replaces the first."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Metric, dict[tuple[str, ...], float]]] = {}
        self._histograms: dict[str, tuple[Metric, dict[tuple[str, ...], tuple[Sequence[int], int, float]]]] = {}

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        """labels: in the order of the row."""
        _, series = self._rows.setdefault(metric.name, (metric, {}))
        series[tuple(map(label_value, labels))] = float(value)

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Sums: for totals of several journal rows that one series shows."""
        _, series = self._rows.setdefault(metric.name, (metric, {}))
        key = tuple(map(label_value, labels))
        series[key] = series.get(key, 0.0) + float(value)

    def most(self, metric: Metric, value: float, *labels: str) -> None:
        """Keeps the largest: for the latest of several times."""
        _, series = self._rows.setdefault(metric.name, (metric, {}))
        key = tuple(map(label_value, labels))
        series[key] = max(series.get(key, value), float(value))

    def add_histogram(self, metric: Metric, buckets: Sequence[int], events: int, sum_s: float, *labels: str) -> None:
        """buckets: cumulative, one a bound of BUCKETS_S."""
        _, series = self._histograms.setdefault(metric.name, (metric, {}))
        key = tuple(map(label_value, labels))
        counts, before, total_s = series.get(key, ((0,) * len(BUCKETS_S), 0, 0.0))
        series[key] = ([a + b for a, b in zip(counts, buckets, strict=True)], before + events, total_s + sum_s)

    def ready(self, known: "Known") -> Iterator[Family]:
        """What is as it was in the last scrape is the same object as then: whoever encodes it need not do so again."""
        for name, (metric, series) in self._rows.items():
            if (family := known.same(name, series)) is None:
                counter = metric.kind is Kind.COUNTER
                made = (CounterMetricFamily if counter else GaugeMetricFamily)(name, metric.help, labels=metric.labels)
                for labels, value in series.items():
                    made.add_metric(labels, value)
                family = known.keep(name, series, made)
            yield family
        for name, (metric, histograms) in self._histograms.items():
            if (family := known.same(name, histograms)) is None:
                histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
                for labels, (counts, events, sum_s) in histograms.items():
                    buckets = [(bound, float(count)) for bound, count in zip(_BOUNDS, (*counts, events), strict=True)]
                    histogram.add_metric(labels, buckets, sum_value=sum_s)
                family = known.keep(name, histograms, histogram)
            yield family


class Known:
    """The families of the last scrape: one a metric."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[object, Family]] = {}

    def same(self, name: str, series: object) -> Family | None:
        """The family of the last scrape, if it had these series."""
        before = self._families.get(name)
        return before[1] if before is not None and before[0] == series else None

    def keep(self, name: str, series: object, family: Family) -> Family:
        self._families[name] = (series, family)
        return family


def label_value(text: str) -> str:
    """As it may stand in an exposition: on one line, and no longer than somebody wants to read."""
    if len(text) > LABEL_CHARACTERS:
        text = text[: LABEL_CHARACTERS - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
