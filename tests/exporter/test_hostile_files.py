# SPDX-License-Identifier: Apache-2.0
"""Snapshot and journal that are torn, huge, of another version, of another boot, made to harm: told, never believed."""

import json
import os
import random
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencer.exporter.page.page import render
from fencer.exporter.sources import Sources
from fencer.state.readings import JournalStatus, Now, SnapshotStatus
from tests import scenes
from tests.exporter.metrics.test_golden import exposition


def now() -> Now:
    return Now(time.time(), time.monotonic())


@pytest.fixture
def said():
    return []


@pytest.fixture
def sources(place, said):
    return Sources(place.snapshot, place.journal, now, said.append)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def told(readings) -> None:
    """Whatever was read, both answers can be made of it, and neither shows the snapshot."""
    text = exposition(readings)
    assert "halvm_watchdog_armed" not in text
    assert f'halvm_snapshot_status{{status="{readings.snapshot.status}"}} 1.0' in text
    assert "</html>" in render(readings, "0")


def test_a_good_one_is_fresh(healthy, sources, said):
    readings = sources.read()
    assert (readings.snapshot.status, readings.journal.status) == (SnapshotStatus.FRESH, JournalStatus.READABLE)
    assert said == []


def test_a_torn_snapshot_at_every_length(healthy, sources):
    whole = healthy.snapshot.read_bytes()
    for length in [*range(0, len(whole) - 1, 97), len(whole) - 2]:
        healthy.snapshot.write_bytes(whole[:length])
        readings = sources.read()
        assert readings.snapshot.status is SnapshotStatus.MALFORMED
    told(readings)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"schema": 1, "luns": ' + b"[" * 100_000,
        b'{"schema": "1"}',
        b'{"schema": 1}',
        b"9" * 5000,
        b" " * (5 << 20),
        b'{"schema": 1, "x": "' + b"a" * (6 << 20) + b'"}',
    ],
    ids=lambda content: f"{content[:24]!r}+{len(content)}",
)
def test_what_is_no_snapshot(place, sources, said, content):
    place.snapshot.write_bytes(content)
    readings = sources.read()
    assert readings.snapshot.status is SnapshotStatus.MALFORMED
    told(readings)
    sources.read()
    assert len(said) == 1, "told once, not at each scrape"


def test_another_schema_is_told_as_such(place, sources, said):
    place.snapshot.write_bytes(json.dumps(scenes.as_document(scenes.snapshot()) | {"schema": 7}).encode())
    readings = sources.read()
    assert readings.snapshot.status is SnapshotStatus.UNKNOWN_SCHEMA
    assert "schema 7, this halvm-exporter knows 1: install one version of both" in said[0]
    told(readings)


def test_a_newer_writers_fields_are_passed_over(healthy, sources):
    document = json.loads(healthy.snapshot.read_bytes())
    healthy.snapshot.write_text(json.dumps(document | {"a_field_of_tomorrow": [1]}))
    assert sources.read().snapshot.status is SnapshotStatus.FRESH


def test_another_boot_is_not_now(place, sources):
    place.publish()
    document = json.loads(place.snapshot.read_bytes())
    place.snapshot.write_text(json.dumps(document | {"boot_id": "x"}))
    readings = sources.read()
    assert (readings.snapshot.status, readings.snapshot.age_s) == (SnapshotStatus.OTHER_BOOT, None)
    told(readings)


def test_a_time_to_come_is_not_believed(place, sources):
    """Else a snapshot that claims tomorrow would be fresh for a day."""
    place.publish()
    document = json.loads(place.snapshot.read_bytes())
    place.snapshot.write_text(json.dumps(document | {"written_monotonic_s": document["written_monotonic_s"] + 86_400}))
    readings = sources.read()
    assert readings.snapshot.status is SnapshotStatus.MALFORMED
    told(readings)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["written_monotonic_s", "interval_s", "written_unix_s", "check_interval_s"])
def test_no_number_is_believed_for_ever(place, sources, field, value):
    """NaN compares false with everything: it must not make a dead sidecar look alive."""
    place.publish()
    document = json.loads(place.snapshot.read_bytes())
    document[field] = "@"
    place.snapshot.write_text(json.dumps(document).replace('"@"', value))
    readings = sources.read()
    assert readings.snapshot.status is not SnapshotStatus.FRESH
    told(readings)


def test_a_clock_that_is_set_changes_nothing(place, said):
    place.publish(interval_s=1.0)
    tomorrow = Sources(place.snapshot, place.journal, lambda: now()._replace(unix_s=time.time() + 86_400), said.append)
    yesterday = Sources(place.snapshot, place.journal, lambda: now()._replace(unix_s=time.time() - 86_400), said.append)
    assert tomorrow.read().snapshot.status is SnapshotStatus.FRESH
    assert yesterday.read().snapshot.status is SnapshotStatus.FRESH
    later = Sources(
        place.snapshot, place.journal, lambda: Now(time.time() - 86_400, time.monotonic() + 60), said.append
    )
    assert later.read().snapshot.status is SnapshotStatus.STALE


def test_files_that_are_none(place, sources):
    """A FIFO without a writer, a directory, a link: nobody waits, nothing is followed."""
    os.mkfifo(place.snapshot)
    assert sources.read().snapshot.status is SnapshotStatus.MALFORMED
    place.snapshot.unlink()
    place.snapshot.mkdir()
    assert sources.read().snapshot.status is SnapshotStatus.MALFORMED
    before = open_files()
    sources.read()
    assert open_files() == before
    place.snapshot.rmdir()
    place.snapshot.symlink_to("/dev/zero")
    assert sources.read().snapshot.status is SnapshotStatus.UNREADABLE
    place.journal.mkdir()
    assert sources.read().journal.status is JournalStatus.UNREADABLE
    place.journal.rmdir()
    os.mkfifo(place.journal)
    assert sources.read().journal.status is JournalStatus.UNREADABLE


texts = st.text(max_size=40)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=texts, error=texts, key=texts, state=texts, registration=texts)
def test_any_text_makes_a_valid_exposition(place, sources, name, error, key, state, registration):
    """Lone surrogates, newlines, quotes, markup: in each place where a text can stand."""
    of = scenes.snapshot()
    of = of._replace(
        node=name,
        key=key,
        reasons=(error,),
        nodes=(*of.nodes, scenes.NodeSnapshot(name, key)),
        luns=(
            scenes.lun(0, name=name, error=error, registration=registration),
            scenes.lun(1, type=error, holder=key, wwid=name),
        ),
    )
    place.publish(of)
    readings = sources.read()
    assert readings.snapshot.status is SnapshotStatus.FRESH
    text = exposition(readings)
    text.encode()
    series = [line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert len(series) == len(set(series)), "a series stands twice: Prometheus drops such a scrape"
    render(readings, "0").encode("utf-8", "replace")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_snapshot_with_anything_in_a_place_is_read_or_told(healthy, sources, data):
    document = json.loads(healthy.snapshot.read_bytes())
    places = []

    def walk(node):
        for index in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, index))
            walk(node[index])

    walk(document)
    node, index = data.draw(st.sampled_from(places))
    node[index] = data.draw(
        st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}))
    )
    original = healthy.snapshot.read_bytes()
    healthy.snapshot.write_text(json.dumps(document))
    readings = sources.read()
    healthy.snapshot.write_bytes(original)
    exposition(readings)
    render(readings, "0")


# --- the journal --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_journal_is_told(healthy, sources, said, seed):
    """Bytes overwritten anywhere: what comes is either an error or some reading, and always an answer."""
    chance = random.Random(seed)
    content = bytearray(healthy.journal.read_bytes())
    for _ in range(chance.randrange(1, 2000)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    healthy.journal.write_bytes(content)
    readings = sources.read()
    exposition(readings)
    render(readings, "0")
    assert readings.snapshot.status is SnapshotStatus.FRESH, "the snapshot does not suffer"


def test_no_database_at_all(place, sources, said):
    place.journal.write_bytes(os.urandom(10_000))
    readings = sources.read()
    assert readings.journal.status is JournalStatus.UNREADABLE
    assert 'halvm_exporter_collector_success{collector="fences"} 0.0' in exposition(readings)
    assert "cannot be read" in render(readings, "0")
    assert len(said) == 1


def test_a_newer_journal_is_told_as_such(healthy, sources):
    with sqlite3.connect(healthy.journal) as database:
        database.execute("PRAGMA user_version = 99")
    readings = sources.read()
    assert readings.journal.status is JournalStatus.UNKNOWN_SCHEMA
    assert 'halvm_journal_status{status="unknown_schema"} 1.0' in exposition(readings)


def test_another_journal_in_its_place_is_read_anew(healthy, sources, tmp_path_factory):
    assert len(sources.read().journal.story) == 2
    other = tmp_path_factory.mktemp("other") / "journal.db"
    scenes.write_journal(other, scenes.monitor(target="serv-0003"))
    for left in healthy.path.glob("journal.db*"):
        left.unlink()
    shutil.copy(other, healthy.journal)
    journal = sources.read().journal
    assert (len(journal.story), [event.target for event in journal.monitors]) == (0, ["serv-0003"])


def test_a_target_of_a_thousand_names_is_a_bounded_number_of_series(place, sources):
    place.record(*(scenes.fence(1000 - n, target=f"n{n}", steps=()) for n in range(200)))
    text = exposition(sources.read())
    targets = {line.split('target="')[1].split('"')[0] for line in text.splitlines() if "halvm_fences_total{" in line}
    assert len(targets) == 65
    assert "(other)" in targets
    assert sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("halvm_fences_total{")) == 200


def test_a_subsystem_that_fails_spoils_no_other():
    """Of numbers that no sane sidecar writes: the collector that meets them is marked, the rest is there."""
    broken = scenes.healthy()
    assert broken.snapshot.snapshot is not None
    luns = broken.snapshot.snapshot.luns
    snapshot = broken.snapshot.snapshot._replace(luns=(luns[0]._replace(generation=10**400), luns[1]))
    readings = broken._replace(snapshot=broken.snapshot._replace(snapshot=snapshot))
    text = exposition(readings)
    assert 'halvm_exporter_collector_success{collector="reservations"} 0.0' in text
    assert 'halvm_exporter_collector_success{collector="watchdog"} 1.0' in text
    assert "halvm_watchdog_armed 1.0" in text
    assert "halvm_lun_pr_generation" not in text


def test_nothing_is_held_open(healthy, sources):
    sources.read()
    before = open_files()
    for _ in range(50):
        healthy.publish()
        healthy.record(scenes.monitor(1))
        sources.read()
    assert open_files() <= before
