"""What prometheus-client calls at a scrape: reads once, then asks every subsystem, each timed and none able to spoil
the others."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from fencer.metrics import record, sidecar, table
from fencer.metrics.families import Families, Known
from fencer.readings import Readings, Source


class Subsystem(NamedTuple):
    """One collector. reads_journal: whose trouble is its trouble, the journal's or the snapshot's."""

    name: str
    collect: Callable[[Readings, Families], None]
    reads_journal: bool


SUBSYSTEMS: Final = (
    Subsystem("snapshot", sidecar.collect_snapshot, False),
    Subsystem("sidecar", sidecar.collect_sidecar, False),
    Subsystem("watchdog", sidecar.collect_watchdog, False),
    Subsystem("reservations", sidecar.collect_reservations, False),
    Subsystem("paths", sidecar.collect_paths, False),
    Subsystem("journal", record.collect_journal, True),
    Subsystem("fences", record.collect_fences, True),
    Subsystem("monitors", record.collect_monitors, True),
)
READING: Final = "read"
"""The collector that reads both files."""


class HalvmCollector(Collector):
    """Everything of this node. clock: for durations only."""

    def __init__(self, read: Source, clock: Callable[[], float], version: str, python: str) -> None:
        self._read = read
        self._clock = clock
        self._version = version
        self._python = python
        self._known = Known()

    def describe(self) -> Iterator[Family]:
        """Nothing is read when the collector is registered."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """One scrape."""
        began = self._clock()
        readings = self._read()
        own = Families()
        own.put(table.BUILD_INFO, 1, self._version, self._python)
        own.put(table.COLLECTOR_DURATION, self._clock() - began, READING)
        own.put(table.COLLECTOR_SUCCESS, not (readings.snapshot.failed or readings.journal.failed), READING)
        for subsystem in SUBSYSTEMS:
            families = Families()
            began = self._clock()
            try:
                subsystem.collect(readings, families)
                ready = list(families.ready(self._known))
                failed = readings.journal.failed if subsystem.reads_journal else readings.snapshot.failed
            except (ValueError, TypeError, ArithmeticError, LookupError):  # what was read is not what it should be
                ready, failed = [], True
            own.put(table.COLLECTOR_DURATION, self._clock() - began, subsystem.name)
            own.put(table.COLLECTOR_SUCCESS, not failed, subsystem.name)
            yield from ready
        yield from own.ready(self._known)
