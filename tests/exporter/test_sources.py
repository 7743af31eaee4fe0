# SPDX-License-Identifier: Apache-2.0
"""What is read of a journal bit by bit is what a reader finds who has never seen it."""

import shutil
import sqlite3
import time

import pytest

from fencer.exporter import sources as module
from fencer.exporter.sources import Sources
from fencer.journal.event import EventKind
from fencer.journal.file import Journal
from fencer.journal.writing import Bounds
from fencer.state.readings import JournalStatus, Now
from tests import scenes

EVENTS = (
    (scenes.monitor(),),
    (scenes.monitor(20, target="serv-0003"), scenes.monitor(10)),
    (scenes.fence(),),
    (scenes.self_fence(), scenes.monitor(5)),
    tuple(scenes.unfence(each) for each in range(60)),
    (scenes.fence(1, target="serv-0003"),),
    tuple(scenes.monitor(each, target=f"made-up-{each}") for each in range(90)),
    (scenes.monitor(4),),
)


def now() -> Now:
    return Now(time.time(), time.monotonic())


def sources(place) -> Sources:
    return Sources(place.snapshot, place.journal, now, lambda _: None)


@pytest.fixture
def asked(monkeypatch):
    """The pages that the journal was asked for."""
    pages = []
    page = module.JournalSnapshot.page

    def told(self, **what):
        pages.append(what)
        return page(self, **what)

    monkeypatch.setattr(module.JournalSnapshot, "page", told)
    return pages


def test_bit_by_bit_is_all_at_once(place):
    following = sources(place)
    for events in EVENTS:
        place.record(*events)
        reading = following.read().journal
        assert reading.status is JournalStatus.READABLE
        assert reading == sources(place).read().journal
    assert len(reading.monitors) == 2 + 90
    assert (len(reading.story), reading.told) == (50, 63)


def test_a_monitor_makes_no_reader_read_the_story_again(place, asked):
    following = sources(place)
    place.record(scenes.fence(), scenes.monitor())
    before = following.read().journal
    asked.clear()
    place.record(scenes.monitor(1))
    after = following.read().journal
    assert (asked, after.story) == ([], before.story)
    assert after.monitors != before.monitors
    place.record(scenes.fence(1))
    assert len(following.read().journal.story) == 2
    assert [page["kinds"] for page in asked] == [module.STORY]


def test_an_older_copy_that_was_put_back_is_read_anew(place, tmp_path):
    """The same journal by its name; its events, from the copy on, are others, as many as before or more."""
    copy = tmp_path / "copy"
    place.record(scenes.fence(100), scenes.monitor(90))
    shutil.copy(place.journal, copy)
    for since in (0, 1, 2, 3):
        following = sources(place)
        place.record(scenes.fence(80, target="serv-0007"), scenes.monitor(70, target="serv-0008"))
        assert any(event.target == "serv-0008" for event in following.read().journal.monitors)
        shutil.copy(copy, place.journal)
        place.record(*(scenes.fence(60 - each) for each in range(since)))
        reading = following.read().journal
        assert reading == sources(place).read().journal, since
        assert [event.target for event in reading.monitors] == ["serv-0001"]
        assert all(event.target == "serv-0001" for event in reading.story)
        shutil.copy(copy, place.journal)


def test_more_monitors_between_two_scrapes_than_any_page_holds(place):
    following = sources(place)
    place.record(scenes.monitor(100, target="serv-0003"), scenes.monitor(99))
    following.read()
    place.record(scenes.monitor(90, target="serv-0003"), *(scenes.monitor(80 - each / 10) for each in range(200)))
    reading = following.read().journal
    assert reading == sources(place).read().journal
    (third,) = (event for event in reading.monitors if event.target == "serv-0003")
    assert third.at_unix_s > scenes.NOW.unix_s - 95 + (time.time() - scenes.NOW.unix_s) - 60


def test_a_target_whose_monitors_were_dropped_shows_what_was_seen_last(place):
    place.path.chmod(0o755)
    journal = Journal(str(place.journal), bounds=Bounds(rows=10))  # three of them are monitors
    journal.append(scenes.monitor(300, target="serv-0009"))
    journal.append(scenes.fence(250))
    following = sources(place)
    following.read()
    for each in range(5):
        journal.append(scenes.monitor(200 - each))
    assert {event.target for event in following.read().journal.monitors} == {"serv-0001", "serv-0009"}
    fresh = sources(place).read().journal
    assert {event.target for event in fresh.monitors} == {"serv-0001"}
    assert {total.target for total in fresh.totals} == {"serv-0001", "serv-0009"}
    journal.close()


def test_the_latest_of_each_target(place):
    place.record(
        scenes.monitor(9),
        scenes.monitor(8, target="b"),
        scenes.fence(7),
        scenes.monitor(6, took_s=7.0),
        scenes.fence(5),
    )
    journal = Journal(str(place.journal))
    latest = journal.ask(lambda snapshot: snapshot.latest(EventKind.MONITOR))
    assert [(event.target, event.took_s) for event in latest] == [("b", 0.5), ("serv-0001", 7.0)]
    assert [e.target for e in journal.ask(lambda snapshot: snapshot.latest(EventKind.MONITOR, 2))] == ["serv-0001"]
    assert journal.ask(lambda snapshot: snapshot.latest(EventKind.MONITOR, 4)) == ()
    with sqlite3.connect(place.journal) as database:
        database.execute("DELETE FROM totals WHERE target = 'b'")
    database.close()
    assert [e.target for e in journal.ask(lambda snapshot: snapshot.latest(EventKind.MONITOR))] == ["serv-0001"]


def test_one_event_by_its_id(place):
    place.record(scenes.monitor(), scenes.fence(took_s=9.0))
    journal = Journal(str(place.journal))
    assert journal.ask(lambda snapshot: snapshot.event(2)).took_s == 9.0
    assert journal.ask(lambda snapshot: snapshot.event(3)) is None
