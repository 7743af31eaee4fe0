# SPDX-License-Identifier: Apache-2.0
"""Who may read the journal, beside whom, and that reading changes nothing."""

import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fencer.journal.file import LEAST_TRIES, Journal, JournalError
from fencer.journal.reading import JournalSnapshot
from fencer.journal.schema import SCHEMA
from tests.journal.events import FAILED, FENCE, MONITOR, in_a_process, start, wait_all

NOBODY = 65534


def as_nobody(job: Callable[[], None]) -> None:
    def dropped() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        job()

    in_a_process(dropped)


@pytest.fixture
def public() -> Iterator[str]:
    """A journal in a directory whose group is NOBODY's, as /var/lib/fence-halvm has the exporter's.

    Not below tmp_path: each pytest that starts meanwhile takes everybody's right to enter that away.
    """
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("run as root: only root can become another user")
        pytest.skip("run as root: only root can become another user")
    with tempfile.TemporaryDirectory(prefix="fence-halvm.") as directory:
        # The directories that the test run has made for itself and its workers, and this one.
        for each in (Path(directory), *Path(directory).parents):
            if each.name.startswith("fence-halvm"):
                each.chmod(each.stat().st_mode | 0o055)
        path = f"{directory}/public/journal.db"
        Path(path).parent.mkdir(mode=0o755)
        os.chown(Path(path).parent, -1, NOBODY)
        old = os.umask(0o077)
        try:
            journal = Journal(path)
            journal.append(FENCE)
            journal.close()
        finally:
            os.umask(old)
        yield path


def _reads(path: str, events: int) -> Callable[[], None]:
    def read() -> None:
        assert len(list(Journal(path).events())) == events
        assert sum(total.events for total in Journal(path).totals()) == events

    return read


def test_an_unprivileged_reader_reads_beside_a_writer(public: str) -> None:
    writer = Journal(public)
    writer.append(FAILED)
    as_nobody(_reads(public, 2))
    writer.append(MONITOR)
    as_nobody(_reads(public, 3))


def test_an_unprivileged_reader_reads_what_agents_left(public: str) -> None:
    """Nobody has it open, and nobody closed it: the log is there, its index belongs to nobody."""
    for number in range(3):
        in_a_process(lambda: Journal(public).append(FAILED))
        assert Path(f"{public}-wal").stat().st_size > 0
        as_nobody(_reads(public, 2 + number))


def test_an_unprivileged_reader_reads_a_closed_journal(public: str) -> None:
    """As after a sidecar's orderly stop, or sqlite3 on the command line: there is no log."""
    writer = Journal(public)
    writer.append(FAILED)
    writer.close()
    assert not Path(f"{public}-wal").exists()
    as_nobody(_reads(public, 2))
    assert not Path(f"{public}-wal").exists()


def test_a_reader_writes_nothing_and_takes_nothing_away(public: str) -> None:
    in_a_process(lambda: Journal(public).append(FAILED))
    before = {each.name: each.read_bytes() for each in Path(public).parent.iterdir() if not each.name.endswith("-shm")}
    assert len(before) == 2
    _reads(public, 2)()
    as_nobody(_reads(public, 2))
    after = {each.name: each.read_bytes() for each in Path(public).parent.iterdir() if not each.name.endswith("-shm")}
    assert after == before


def test_an_unprivileged_process_cannot_write(public: str) -> None:
    def writes() -> None:
        with pytest.raises(JournalError):
            Journal(public).append(FAILED)

    as_nobody(writes)
    assert list(Journal(public).events()) == [FENCE]


class Visited:
    """A question during which a writer comes and goes, so many times."""

    def __init__(self, path: str, visits: int) -> None:
        self.path = path
        self.asked: list[int] = []
        self._visits = visits
        self.visit()

    def visit(self) -> None:
        writer = Journal(self.path)
        writer.append(FENCE)
        writer.close()  # empties the log into the file and takes it away

    def __call__(self, moment: JournalSnapshot) -> int:
        counted = sum(total.events for total in moment.totals())
        if len(self.asked) < self._visits:
            self.visit()
        self.asked.append(counted)
        return counted


def test_an_answer_under_which_a_writer_came_and_went_is_asked_for_again(path: str) -> None:
    question = Visited(path, visits=1)
    assert Journal(path, patience_s=PATIENCE_S).ask(question) == 2
    assert question.asked == [1, 2]


def test_a_reader_that_spends_its_time_in_one_try_asks_again_all_the_same(path: str) -> None:
    """A process that gets no processor for a second is not refused because a writer came in that second."""
    question = Visited(path, visits=LEAST_TRIES - 1)
    assert Journal(path, patience_s=0.0).ask(question) == LEAST_TRIES


def test_a_reader_does_not_ask_for_ever(path: str) -> None:
    question = Visited(path, visits=LEAST_TRIES)
    with pytest.raises(JournalError, match="changed while it was read"):
        Journal(path, patience_s=0.0).ask(question)
    assert len(question.asked) == LEAST_TRIES


PATIENCE_S = 60.0
"""What the command line and the exporter have 1 s for; other tests want the processors, too."""


def test_an_unprivileged_reader_follows_writers_that_come_and_go(public: str) -> None:
    """Reading without the index, with it, and without again, while the log is emptied into the file."""
    stop_read, stop_write = os.pipe()

    def follows() -> None:
        os.close(stop_write)
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        last = 0
        reader = Journal(public, patience_s=PATIENCE_S)
        os.set_blocking(stop_read, False)
        while True:
            try:
                if os.read(stop_read, 1) == b"":
                    break
            except BlockingIOError:
                pass
            counted, listed = reader.ask(
                lambda moment: (sum(total.events for total in moment.totals()), len(moment.page(limit=10_000)))
            )
            assert listed == counted
            assert counted >= last
            last = counted
        assert last > 0

    pid = start(follows)
    os.close(stop_read)
    for number in range(60):
        if number % 10 == 9:
            journal = Journal(public)
            journal.append(MONITOR)
            journal.close()
        else:
            in_a_process(lambda: [Journal(public).append(FENCE) for _ in range(5)] and None)
    os.close(stop_write)
    wait_all([pid])


@pytest.mark.parametrize("forbidden_s", [0.2, None])
def test_a_log_that_sqlite_has_made_and_not_yet_given_to_the_group(public: str, forbidden_s: float | None) -> None:
    """A reader waits for the group. Where the log stays root's, it says which file, and what to do."""
    writer = Journal(public)
    writer.append(FENCE)
    log = Path(f"{public}-wal")
    mode = stat.S_IMODE(log.stat().st_mode)
    log.chmod(0o600)
    os.chown(log, 0, 0)
    ready, given = os.pipe()

    def reads() -> None:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        os.write(given, b".")
        if forbidden_s is None:
            with pytest.raises(JournalError, match=f"{log}: Permission denied: give it the owner, group and mode of"):
                Journal(public, patience_s=0.3).totals()
        else:
            assert sum(total.events for total in Journal(public, patience_s=PATIENCE_S).totals()) == 2

    pid = start(reads)
    os.read(ready, 1)
    if forbidden_s is not None:
        time.sleep(forbidden_s)
        os.chown(log, 0, Path(public).stat().st_gid)
        log.chmod(mode)
    wait_all([pid])
    writer.close()


def test_the_schema_that_is_written_is_ours(public: str) -> None:
    assert sqlite3.connect(public).execute("PRAGMA user_version").fetchone() == (SCHEMA,)
