# SPDX-License-Identifier: Apache-2.0
"""What is recorded is read; the journal stays small; what it counted stays counted; schemas move on."""

import shutil
import sqlite3
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fencer.journal.cleaning import TEXT_CHARACTERS
from fencer.journal.event import BUCKETS_S, EventKind, FenceOutcome, Step, StepName
from fencer.journal.file import Journal, JournalError
from fencer.journal.schema import SCHEMA
from fencer.journal.writing import OTHER, TARGETS, Bounds
from fencer.model import Side
from tests.journal.events import FAILED, FENCE, MONITOR

SCHEMA_1 = Path(__file__).parent / "fixtures" / "schema-1.sql"


@pytest.fixture
def journal(path: str) -> Journal:
    return Journal(path)


def test_what_is_appended_is_read(journal: Journal, path: str) -> None:
    for event in (FENCE, FAILED, MONITOR):
        journal.append(event)
    assert list(Journal(path).events()) == [MONITOR, FAILED, FENCE]
    assert list(Journal(path).events(newest_first=False)) == [FENCE, FAILED, MONITOR]


@given(
    words=st.text(),
    at=st.floats(0, 1e10, allow_nan=False),
    kind=st.sampled_from(list(EventKind)),
    outcome=st.sampled_from(list(FenceOutcome)),
)
@settings(max_examples=60, deadline=None)
def test_any_text_is_kept_as_one_printable_line(tmp_path_factory, words: str, at: float, kind, outcome) -> None:
    """Also bytes of a caller that are no UTF-8."""
    journal = Journal(str(tmp_path_factory.mktemp("any") / "journal.db"))
    given = FENCE._replace(
        at_unix_s=at,
        kind=kind,
        outcome=outcome,
        target=words + "\udcff<script>\n",
        error=words,
        steps=(Step(0.0, words),),
    )
    journal.append(given)
    (kept,) = journal.events()
    journal.close()
    assert (kept.at_unix_s, kept.kind, kept.outcome) == (at, kind, outcome)
    for text in (kept.target, kept.error, kept.steps[0].text):
        assert text.isprintable()
        assert len(text) <= TEXT_CHARACTERS
    if words.isprintable() and len(words) <= TEXT_CHARACTERS:
        assert kept.error == words


def test_events_are_found(journal: Journal) -> None:
    for number in range(1200):
        journal.append(FENCE._replace(at_unix_s=float(number), target=f"serv-{number % 3}"))
    journal.append(MONITOR._replace(at_unix_s=1200.0))
    journal.append(MONITOR._replace(at_unix_s=1201.0, outcome=FenceOutcome.FAILURE))
    assert [event.at_unix_s for event in journal.events()] == [float(number) for number in range(1201, -1, -1)]
    assert [event.at_unix_s for event in journal.events(limit=2)] == [1201.0, 1200.0]
    assert len(list(journal.events(limit=700))) == 700
    assert [event.at_unix_s for event in journal.events(target="serv-2", limit=2)] == [1199.0, 1196.0]
    assert len(list(journal.events(node="serv-0002"))) == 1202
    assert len(list(journal.events(node="serv-1"))) == 400
    assert len(list(journal.events(kinds=[EventKind.MONITOR]))) == 2
    assert len(list(journal.events(since_unix_s=1199.0))) == 3
    assert next(journal.events(routine=False)).outcome is FenceOutcome.FAILURE
    assert len(list(journal.events(routine=False))) == 1201


def test_a_slow_reader_holds_no_writer_up(journal: Journal, path: str) -> None:
    for _ in range(600):
        journal.append(FENCE)
    reading = Journal(path).events()
    next(reading)
    writing = Journal(path, busy_s=0.0)
    writing.append(FAILED)
    assert len(list(reading)) == 599


def test_totals_are_those_of_all_events(journal: Journal) -> None:
    for event in (FENCE, FENCE._replace(took_s=0.05, at_unix_s=1.0), FAILED):
        journal.append(event)
    totals = {total.outcome: total for total in journal.totals()}
    assert len(totals) == 2
    good, bad = totals[FenceOutcome.SUCCESS], totals[FenceOutcome.FAILURE]
    assert (good.kind, good.target, good.action, good.proof) == (
        EventKind.FENCE,
        "serv-0001",
        "reboot",
        "power+storage",
    )
    assert (good.events, good.sum_s, good.last_unix_s) == (2, 4.55, 1.05), "the end of what was recorded last"
    assert good.buckets == tuple((most >= 0.05) + (most >= 4.5) for most in BUCKETS_S)
    assert (bad.proof, bad.buckets) == ("none", (0,) * 8 + (1, 1, 1))


def test_steps_are_counted(journal: Journal) -> None:
    journal.append(FENCE)
    journal.append(FENCE)
    session = next(total for total in journal.step_totals() if total.name is StepName.SESSION)
    assert (session.kind, session.steps, session.sum_s) == (EventKind.FENCE, 2, 0.25)
    assert session.buckets == (0, *(2,) * 10)


# --- how much is kept -----------------------------------------------------------------------------------------------


def test_rows_are_bounded_and_totals_never_go_back(path: str) -> None:
    journal = Journal(path, Bounds(rows=100))
    for number in range(1, 201):
        journal.append(FENCE._replace(at_unix_s=float(number)))
        assert journal.totals()[0].events == number
        assert journal.step_totals()[0].steps == number
    kept = [event.at_unix_s for event in journal.events()]
    assert kept == [float(number) for number in range(200, 170, -1)], "fences have 30 %"


def test_monitors_never_push_a_fence_out(path: str) -> None:
    journal = Journal(path, Bounds(rows=100))
    journal.append(FENCE)
    for _ in range(300):
        journal.append(MONITOR)
    assert list(journal.events(kinds=[EventKind.FENCE])) == [FENCE]
    assert len(list(journal.events(kinds=[EventKind.MONITOR]))) == 30


def test_bytes_are_bounded(path: str) -> None:
    journal = Journal(path, Bounds(bytes=400_000))
    long = FENCE._replace(steps=tuple(Step(0.0, f"{number} " + "x" * 500) for number in range(50)))
    for _ in range(60):
        journal.append(long)
    assert 2 <= len(list(journal.events())) <= 5
    journal.close()
    assert Path(path).stat().st_size < 1_000_000


def test_the_newest_is_kept_however_long(path: str) -> None:
    journal = Journal(path, Bounds(bytes=1))
    journal.append(FENCE)
    journal.append(FAILED)
    assert list(journal.events()) == [FAILED]


@pytest.mark.slow
def test_the_file_stays_as_small_as_it_was(path: str) -> None:
    journal = Journal(path, Bounds(rows=300))
    sizes = []
    for number in range(1800):  # each of them waits for the disk
        journal.append(FENCE)
        if number % 300 == 299:
            sizes.append(Path(path).stat().st_size)
    assert sizes[-1] <= 1.1 * sizes[1]
    assert Path(f"{path}-wal").stat().st_size <= 8 << 20


def test_the_number_of_totals_is_bounded(journal: Journal) -> None:
    journal.append(FENCE)
    db = sqlite3.connect(journal.path)
    with db:
        db.executemany(
            "INSERT INTO totals VALUES ('fence', ?, 'off', 'success', 'power', 1, 1.0, '[]', 1.0)",
            [(f"node-{number}",) for number in range(TARGETS)],
        )
    journal.append(FENCE._replace(target="one too many"))
    journal.append(FENCE._replace(target="two too many"))
    totals = {total.target: total.events for total in journal.totals()}
    assert totals[OTHER] == 2
    assert "one too many" not in totals


# --- following it ---------------------------------------------------------------------------------------------------


def test_a_reader_knows_that_nothing_has_happened(journal: Journal, path: str) -> None:
    journal.append(FENCE)
    reader = Journal(path)
    before = reader.position()
    assert reader.position() == before
    journal.append(FAILED)
    with reader.read() as moment:
        assert moment.position() != before
        assert moment.since(before) == (FAILED,)
        assert moment.since(None) == (FENCE, FAILED)


def test_a_journal_that_was_moved_away_is_made_anew(journal: Journal, path: str) -> None:
    journal.append(FENCE)
    before = Journal(path).position()
    for suffix in ("", "-wal", "-shm"):
        shutil.move(path + suffix, f"{path}.old{suffix}")
    journal.append(FAILED)
    assert list(Journal(path).events()) == [FAILED]
    with Journal(path).read() as moment:
        assert moment.since(before) == (FAILED,), "another journal: everything is new"


# --- schemas --------------------------------------------------------------------------------------------------------


def _old(path: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(SCHEMA_1.read_text())
    db.execute("PRAGMA journal_mode = WAL")
    db.close()


def _version(path: str) -> int:
    db = sqlite3.connect(path)
    try:
        return db.execute("PRAGMA user_version").fetchone()[0]
    finally:
        db.close()


def test_an_old_schema_is_read_as_it_is(path: str) -> None:
    _old(path)
    assert len(list(Journal(path).events())) == 3
    assert len(Journal(path).totals()) == 3
    assert Journal(path).step_totals() == ()
    assert _version(path) == 1


def test_an_old_schema_is_brought_up_to_ours_by_the_first_who_writes(path: str) -> None:
    _old(path)
    before = Journal(path).totals()
    Journal(path).append(FENCE)
    assert _version(path) == SCHEMA
    assert len(list(Journal(path).events())) == 4
    assert sum(total.events for total in Journal(path).totals()) == sum(total.events for total in before) + 1
    assert Journal(path).step_totals() != ()


def test_which_side_failed_is_kept(path: str) -> None:
    event = FENCE._replace(failed=(Side.POWER, Side.STORAGE))
    Journal(path).append(event)
    Journal(path).append(FENCE)
    assert [each.failed for each in Journal(path).events()] == [(), (Side.POWER, Side.STORAGE)]


def test_an_old_journal_does_not_tell_which_side_failed(path: str) -> None:
    _old(path)
    assert {event.failed for event in Journal(path).events()} == {()}
    Journal(path).append(FENCE._replace(failed=(Side.STORAGE,)))
    assert [event.failed for event in Journal(path).events()] == [(Side.STORAGE,), (), (), ()]


def test_a_newer_schema_is_neither_written_nor_misread(path: str) -> None:
    journal = Journal(path)
    journal.append(FENCE)
    journal.close()  # else whenever it is collected as garbage: then the log is written into the file
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.execute("ALTER TABLE events RENAME TO happenings")
    db.close()
    before = Path(path).read_bytes()
    message = (
        rf"^journal: {path}: written by a newer fence-halvm \(schema {SCHEMA + 1}, this one knows {SCHEMA}\): upgrade"
    )
    with pytest.raises(JournalError, match=message):
        Journal(path).append(FENCE)
    with pytest.raises(JournalError, match=message):
        list(islice(Journal(path).events(), 1))
    assert Path(path).read_bytes() == before


def test_another_programs_database_is_left_alone(path: str) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    for call in (lambda: Journal(path).append(FENCE), lambda: Journal(path).totals()):
        with pytest.raises(JournalError, match="not a journal"):
            call()
    assert _version(path) == 0
