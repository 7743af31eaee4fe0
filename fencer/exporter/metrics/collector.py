# SPDX-License-Identifier: Apache-2.0
"""Collects all families of a scrape. Reads both files once, then runs each subsystem; a failure of one does not
affect the others."""

from collections.abc import Callable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from fencer.exporter.metrics import journal, sidecar, table
from fencer.exporter.metrics.families import Families, Family, SeenLabels
from fencer.state.readings import JournalReading, Readings, SnapshotReading, Source
from fencer.state.snapshot import Snapshot

P = TypeVar("P")


class Subsystem(Generic[P]):
    """One collector: a pure function of one part of the readings. The same part gives the same families.

    reads_journal: whether it fails with the journal, or with the snapshot.
    """

    def __init__(
        self, name: str, part: Callable[[Readings], P], collect: Callable[[P, Families], None], *, reads_journal: bool
    ) -> None:
        self.name = name
        self.part = part
        self.reads_journal = reads_journal
        self._collect = collect

    def collect(self, readings: Readings, before: Families | None) -> Families:
        """The families. before: those of the last scrape. An invalid reading may raise ValueError and the like."""
        families = Families(before)
        self._collect(self.part(readings), families)
        return families


def _reading(readings: Readings) -> SnapshotReading:
    return readings.snapshot


def _fresh(readings: Readings) -> Snapshot | None:
    return readings.snapshot.fresh


def _journal(readings: Readings) -> JournalReading:
    return readings.journal


AnySubsystem = Subsystem[SnapshotReading] | Subsystem[Snapshot | None] | Subsystem[JournalReading]
SUBSYSTEMS: Final[tuple[AnySubsystem, ...]] = (
    Subsystem("snapshot", _reading, sidecar.collect_snapshot, reads_journal=False),
    Subsystem("sidecar", _fresh, sidecar.collect_sidecar, reads_journal=False),
    Subsystem("watchdog", _fresh, sidecar.collect_watchdog, reads_journal=False),
    Subsystem("reservations", _fresh, sidecar.collect_reservations, reads_journal=False),
    Subsystem("paths", _fresh, sidecar.collect_paths, reads_journal=False),
    Subsystem("journal", _journal, journal.collect_journal, reads_journal=True),
    Subsystem("fences", _journal, journal.collect_fences, reads_journal=True),
    Subsystem("monitors", _journal, journal.collect_monitors, reads_journal=True),
)
READING: Final = "read"
"""The collector that reads both files."""


class HalvmCollector:
    """Collects all metrics of this node.

    clock: for durations only. config_current: whether the web configuration in force is that of its file.
    """

    def __init__(
        self,
        read: Source,
        clock: Callable[[], float],
        version: str,
        python: str,
        config_current: Callable[[], bool] = lambda: True,
    ) -> None:
        self._read = read
        self._clock = clock
        self._version = version
        self._python = python
        self._config_current = config_current
        self._known = SeenLabels()
        self._last: dict[str, _Collected] = {}

    def gather(self) -> Iterator[Family]:
        """The families of one scrape. A family that has not changed is the same object as in the last one."""
        began = self._clock()
        readings = self._read()
        own = Families()
        own.put(table.BUILD_INFO, 1, self._version, self._python)
        own.put(table.CLOCK, readings.now.unix_s)
        own.put(table.PATHS_ACCEPTED, readings.paths_accepted_unix_s)
        own.put(table.WEB_CONFIG_CURRENT, self._config_current())
        own.put(table.COLLECTOR_DURATION, self._clock() - began, READING)
        own.put(table.COLLECTOR_SUCCESS, not (readings.snapshot.failed or readings.journal.failed), READING)
        for subsystem in SUBSYSTEMS:
            began = self._clock()
            collected = self._last.get(subsystem.name)
            if collected is None or collected.part is not subsystem.part(readings):  # else its file has not changed
                collected = self._last[subsystem.name] = self._collected(subsystem, readings, collected)
            failed = readings.journal.failed if subsystem.reads_journal else readings.snapshot.failed
            own.put(table.COLLECTOR_DURATION, self._clock() - began, subsystem.name)
            own.put(table.COLLECTOR_SUCCESS, collected.families is not None and not failed, subsystem.name)
            yield from collected.ready
        yield from own.ready(self._known)

    def _collected(self, subsystem: AnySubsystem, readings: Readings, before: "_Collected | None") -> "_Collected":
        part = subsystem.part(readings)
        try:
            families = subsystem.collect(readings, before.families if before is not None else None)
            return _Collected(part, families, list(families.ready(self._known)))
        except (ValueError, TypeError, ArithmeticError, LookupError):  # a reading that is not valid
            return _Collected(part, None, [])


class _Collected(NamedTuple):
    """What a subsystem made of part. families: None if it failed. ready: its families, with labels bounded."""

    part: object
    families: Families | None
    ready: list[Family]
