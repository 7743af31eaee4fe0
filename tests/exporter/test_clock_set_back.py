# SPDX-License-Identifier: Apache-2.0
"""The latest is what was recorded last, also where the clock was ahead before and has been set back since."""

import sqlite3
import time
from pathlib import Path

import pytest

from fencer.exporter.metrics.collector import HalvmCollector
from fencer.exporter.sources import Sources
from fencer.journal.event import Event, FenceOutcome
from fencer.journal.file import Journal
from fencer.journal.writing import Bounds
from fencer.model import Proof
from fencer.state.readings import Now
from tests import scenes

TARGET = "serv-0001"
NOW_S = scenes.NOW.unix_s
AHEAD_S = 7200.0
FAILED = {"outcome": FenceOutcome.FAILURE, "proofs": (), "error": "192.168.1.50: login: no answer", "steps": ()}


class Scraped:
    """An exporter that follows one journal."""

    def __init__(self, directory: Path, bounds: Bounds | None = None) -> None:
        self.path = directory / "journal.db"
        self._directory = directory
        self._journal = Journal(str(self.path), bounds)
        self.begin_anew()

    def begin_anew(self) -> None:
        """As after a restart: it has read nothing yet."""
        sources = Sources(
            self._directory / "watchdogd.json", self.path, lambda: Now(time.time(), time.monotonic()), lambda _: None
        )
        self._collector = HalvmCollector(sources.read, time.monotonic, "0.1.0", "3.11.2")

    def record(self, *events: Event) -> None:
        for event in events:
            self._journal.append(event)

    def series(self, name: str) -> dict[str, object]:
        """Of one metric, by target."""
        families = {family.metric.name: family.series for family in self._collector.gather()}
        return {target: value for (target,), value in families.get(f"halvm_{name}", {}).items()}


@pytest.fixture
def scraped(tmp_path: Path) -> Scraped:
    tmp_path.chmod(0o755)
    return Scraped(tmp_path)


def ended(event: Event) -> dict[str, float]:
    return {event.target: event.at_unix_s + event.took_s}


@pytest.fixture(params=["bit by bit", "all at once"])
def told(scraped: Scraped, request: pytest.FixtureRequest) -> Scraped:
    """A monitor and a fence that succeeded two hours ahead; then, by the right time, each fails."""
    for event in (scenes.monitor(-AHEAD_S), scenes.fence(-AHEAD_S), scenes.monitor(60, **FAILED)):
        scraped.record(event)
        scraped.series("last_monitor_success")
    scraped.record(scenes.fence(20, **FAILED))
    if request.param == "all at once":
        scraped.begin_anew()
    return scraped


def test_a_monitor_that_fails_is_the_last_word(told: Scraped) -> None:
    assert told.series("last_monitor_success") == {TARGET: 0.0}
    assert told.series("last_monitor_timestamp_seconds") == ended(scenes.monitor(60))
    assert told.series("last_monitor_success_timestamp_seconds") == {}


def test_a_fence_that_fails_is_the_last_attempt_and_no_success_hides_it(told: Scraped) -> None:
    assert told.series("last_fence_timestamp_seconds") == ended(scenes.fence(20))
    assert told.series("last_fence_success_timestamp_seconds") == {}


def test_the_next_success_is_told_by_its_own_time(told: Scraped) -> None:
    told.record(scenes.monitor(10), scenes.fence(5, action="off", proofs=(Proof.POWER,)))
    assert told.series("last_monitor_success") == {TARGET: 1.0}
    assert told.series("last_monitor_timestamp_seconds") == ended(scenes.monitor(10))
    assert told.series("last_monitor_success_timestamp_seconds") == ended(scenes.monitor(10))
    assert told.series("last_fence_timestamp_seconds") == ended(scenes.fence(5))
    assert told.series("last_fence_success_timestamp_seconds") == ended(scenes.fence(5))


def test_a_success_before_the_clock_was_ahead_is_still_told(scraped: Scraped) -> None:
    scraped.record(scenes.fence(900, action="off"), scenes.fence(-AHEAD_S), scenes.fence(20, **FAILED))
    assert scraped.series("last_fence_success_timestamp_seconds") == ended(scenes.fence(900))


def test_a_success_at_the_very_time_of_the_failure_after_it_hides_nothing(scraped: Scraped) -> None:
    scraped.record(scenes.fence(20), scenes.fence(20, **FAILED))
    assert scraped.series("last_fence_success_timestamp_seconds") == {}


def test_an_attempt_without_a_verdict_is_no_success(scraped: Scraped) -> None:
    scraped.record(scenes.fence(-AHEAD_S), scenes.fence(20, **FAILED | {"outcome": FenceOutcome.UNKNOWN}))
    assert scraped.series("last_fence_timestamp_seconds") == ended(scenes.fence(20))
    assert scraped.series("last_fence_success_timestamp_seconds") == {}


def test_other_targets_are_told_as_they_were(scraped: Scraped) -> None:
    other = scenes.fence(400, target="serv-0003")
    scraped.record(scenes.fence(-AHEAD_S), other, scenes.fence(20, **FAILED))
    assert scraped.series("last_fence_timestamp_seconds") == ended(scenes.fence(20)) | ended(other)
    assert scraped.series("last_fence_success_timestamp_seconds") == ended(other)


def test_a_journal_in_which_an_older_version_kept_the_latest_by_the_clock(scraped: Scraped) -> None:
    """In its totals alone: the events say when they were."""
    scraped.record(scenes.monitor(-AHEAD_S), scenes.monitor(30), scenes.fence(-AHEAD_S), scenes.fence(25))
    with sqlite3.connect(scraped.path) as database:
        database.execute("UPDATE totals SET last_unix_s = ?", (NOW_S + AHEAD_S,))
    database.close()
    assert scraped.series("last_monitor_timestamp_seconds") == ended(scenes.monitor(30))
    assert scraped.series("last_monitor_success_timestamp_seconds") == ended(scenes.monitor(30))
    assert scraped.series("last_fence_success_timestamp_seconds") == ended(scenes.fence(25))
    scraped.record(scenes.monitor(10, **FAILED), scenes.fence(5, **FAILED))
    assert scraped.series("last_monitor_success") == {TARGET: 0.0}
    assert scraped.series("last_fence_timestamp_seconds") == ended(scenes.fence(5))
    assert scraped.series("last_fence_success_timestamp_seconds") == {}


def test_of_a_target_whose_events_were_dropped_the_totals_tell(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    scraped = Scraped(tmp_path, Bounds(rows=10))  # three of them are fences, three are monitors
    gone = scenes.fence(900, target="serv-0009"), scenes.monitor(950, target="serv-0009")
    scraped.record(*gone, *(make(100 - each) for each in range(5) for make in (scenes.fence, scenes.monitor)))
    assert scraped.series("last_fence_timestamp_seconds") == ended(gone[0]) | ended(scenes.fence(96))
    assert scraped.series("last_fence_success_timestamp_seconds") == ended(gone[0]) | ended(scenes.fence(96))
    assert scraped.series("last_monitor_success") == {"serv-0009": 1.0, TARGET: 1.0}
    assert scraped.series("last_monitor_timestamp_seconds") == ended(gone[1]) | ended(scenes.monitor(96))
