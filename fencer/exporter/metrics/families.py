# SPDX-License-Identifier: Apache-2.0
"""Rows of the metrics table with their values, and their conversion to prometheus-client's families."""

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, NamedTuple, ParamSpec, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as ClientFamily

from fencer.exporter.metrics.table import Metric, MetricKind
from fencer.journal.event import BUCKETS_S

LABEL_CHARACTERS: Final = 256
_BOUNDS: Final = (*(str(float(bound)) for bound in BUCKETS_S), "+Inf")

V = TypeVar("V", float, "Histogram")
Of = ParamSpec("Of")
Labels = tuple[str, ...]
"""Label values, in the order of the table's row."""


class Histogram(NamedTuple):
    """One series of a histogram. buckets: cumulative, one for each bound of BUCKETS_S."""

    buckets: tuple[int, ...]
    events: int
    sum_s: float


class Family:
    """A row of the table and its series. Immutable once it was handed out: the same object means the same values."""

    def __init__(self, metric: Metric, series: Mapping[Labels, float | Histogram]) -> None:
        self.metric = metric
        self.series = series

    def of_client(self, only: Iterable[Labels] | None = None) -> ClientFamily:
        """As a family of prometheus-client. only: these series; None: all."""
        name, text, labels = self.metric.name, self.metric.help, self.metric.labels
        series = self.series if only is None else {each: self.series[each] for each in only}
        if self.metric.kind is MetricKind.HISTOGRAM:
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for each, value in series.items():
                if isinstance(value, Histogram):
                    counts = zip(_BOUNDS, (*value.buckets, value.events), strict=True)
                    histogram.add_metric(each, [(bound, float(count)) for bound, count in counts], value.sum_s)
            return histogram
        made = (CounterMetricFamily if self.metric.kind is MetricKind.COUNTER else GaugeMetricFamily)(
            name, text, labels=labels
        )
        for each, value in series.items():
            if not isinstance(value, Histogram):
                made.add_metric(each, value)
        return made


class Families:
    """Collects values. A second value of a series replaces the first.

    All values are floats, and none is -0.0 (hence ``+ 0.0``), so that equal values have equal text.
    """

    def __init__(self, before: "Families | None" = None) -> None:
        """before: those of the last scrape; take reuses what it took then."""
        self._took_before = before._took if before is not None else {}
        self._took: dict[tuple[object, ...], Families] = {}
        self._rows: dict[str, _Row[float]] = {}
        self._histograms: dict[str, _Row[Histogram]] = {}

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        """Sets one series. labels: in the order of the row."""
        self._series(metric, _latter)[labels] = value + 0.0

    def put_each(self, metric: Metric, series: Iterable[tuple[Labels, float]]) -> None:
        """Sets many series of one metric."""
        into = self._series(metric, _latter)
        for labels, value in series:
            into[labels] = value + 0.0

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Adds to a series: several rows of the journal are summed in one series."""
        series = self._series(metric, operator.add)
        series[labels] = series.get(labels, 0.0) + value

    def most(self, metric: Metric, value: float, *labels: str) -> None:
        """Keeps the largest value: the latest of several times."""
        series = self._series(metric, max)
        series[labels] = max(series.get(labels, value), value) + 0.0

    def add_histogram(self, metric: Metric, buckets: Sequence[int], events: int, sum_s: float, *labels: str) -> None:
        """Adds to a histogram. buckets: cumulative, one for each bound of BUCKETS_S."""
        if len(buckets) != len(BUCKETS_S):
            raise ValueError(f"{len(buckets)} buckets")
        series = self._histograms.setdefault(metric.name, _Row(metric, _sum, {})).series
        value = Histogram(tuple(buckets), events, sum_s + 0.0)
        series[labels] = _sum(series[labels], value) if labels in series else value

    def take(self, make: "Callable[Of, Families]", *of: Of.args, **named: Of.kwargs) -> None:
        """Sets all series that make(...) returns. make is a pure function: with the arguments of the last scrape, the
        result of the last scrape is reused."""
        key = (make, *of, *named.items())
        other = self._took_before.get(key) or make(*of, **named)
        self._took[key] = other
        for row in other._rows.values():
            self._series(row.metric, row.merge).update(row.series)
        for name, histograms in other._histograms.items():
            self._histograms.setdefault(name, histograms._replace(series={})).series.update(histograms.series)

    def _series(self, metric: Metric, merge: Callable[[float, float], float]) -> dict[Labels, float]:
        row = self._rows.get(metric.name)
        if row is None:
            row = self._rows[metric.name] = _Row(metric, merge, {})
        return row.series

    def ready(self, known: "SeenLabels") -> Iterator[Family]:
        """The families. One that has not changed since the last scrape is the same object, and is not encoded again."""
        for row in self._rows.values():
            yield known.family(row)
        for histograms in self._histograms.values():
            yield known.family(histograms)


class _Row(NamedTuple, Generic[V]):
    """A row of the table and its series. merge: combines two values of one series."""

    metric: Metric
    merge: Callable[[V, V], V]
    series: dict[Labels, V]


class SeenLabels:
    """The families of the last scrape, one for each metric."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[object, Family]] = {}

    def family(self, row: _Row[V]) -> Family:
        """The family of the last scrape, if it had these series; else a new one."""
        before, family = self._families.get(row.metric.name, (None, None))
        if family is None or before != row.series:
            family = Family(row.metric, _shown(row))
            self._families[row.metric.name] = (row.series, family)
        return family


def _latter(_: float, value: float) -> float:
    return value


def _sum(one: Histogram, other: Histogram) -> Histogram:
    counts = tuple(map(operator.add, one.buckets, other.buckets))
    return Histogram(counts, one.events + other.events, one.sum_s + other.sum_s)


def _shown(row: _Row[V]) -> dict[Labels, V]:
    """The series with their labels cleaned by label_value. All are checked at once, because hardly any needs it."""
    every = list(itertools.chain.from_iterable(row.series))
    if "".join(every).isprintable() and max(map(len, every), default=0) <= LABEL_CHARACTERS:
        return row.series
    shown: dict[Labels, V] = {}
    for labels, value in row.series.items():
        key = tuple(map(label_value, labels))
        shown[key] = row.merge(shown[key], value) if key in shown else value
    return shown


def label_value(text: str) -> str:
    """Cleans a label value: without characters that are not printable, and at most LABEL_CHARACTERS long."""
    if len(text) > LABEL_CHARACTERS:
        text = text[: LABEL_CHARACTERS - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
