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

    def __iter__(self) -> Iterator[Family]:
        for metric, series in self._rows.values():
            counter = metric.kind is Kind.COUNTER
            family = (CounterMetricFamily if counter else GaugeMetricFamily)(
                metric.name, metric.help, labels=metric.labels
            )
            for labels, value in series.items():
                family.add_metric(labels, value)
            yield family
        for metric, histograms in self._histograms.values():
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, (counts, events, sum_s) in histograms.items():
                buckets = [(bound, float(count)) for bound, count in zip(_BOUNDS, (*counts, events), strict=True)]
                histogram.add_metric(labels, buckets, sum_value=sum_s)
            yield histogram


def label_value(text: str) -> str:
    """As it may stand in an exposition: on one line, and no longer than somebody wants to read."""
    if len(text) > LABEL_CHARACTERS:
        text = text[: LABEL_CHARACTERS - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
