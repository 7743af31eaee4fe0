"""Many at once, killed, locked, full, torn, unreadable, not ours: the journal stays whole, and says what is wrong."""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fencer.event import EventKind
from fencer.journal import SCHEMA, Journal, JournalError, Snapshot
from tests.journal.events import FAILED, FENCE, MONITOR, in_a_process, start
from tests.journal.test_journal import SCHEMA_1
from tests.rig import require_program

NOBODY = 65534


def assert_whole(path: str) -> None:
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def wait_all(pids: list[int]) -> None:
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * len(pids)


# --- many at once ---------------------------------------------------------------------------------------------------


def test_fifty_that_start_at_once_make_one_journal_and_lose_nothing(path: str) -> None:
    def one(number: int) -> Callable[[], None]:
        return lambda: Journal(path, busy_s=30.0).append(FENCE._replace(at_unix_s=float(number)))

    wait_all([start(one(number)) for number in range(50)])
    assert sorted(event.at_unix_s for event in Journal(path).events()) == [float(number) for number in range(50)]
    assert Journal(path).totals()[0].events == 50
    assert_whole(path)
    assert sorted(each.name for each in Path(path).parent.iterdir() if "db" not in each.name) == []


def test_an_old_journal_is_brought_up_once_by_many(path: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(SCHEMA_1.read_text())
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    wait_all([start(lambda: Journal(path, busy_s=30.0).append(FENCE)) for _ in range(10)])
    assert len(list(Journal(path).events())) == 13
    assert_whole(path)


def test_an_agent_writes_beside_a_sidecar_that_holds_it_open(path: str) -> None:
    sidecar = Journal(path)
    sidecar.append(FENCE._replace(kind=EventKind.REGISTRATION))
    for _ in range(5):
        in_a_process(lambda: Journal(path).append(FENCE))
        sidecar.append(FENCE._replace(kind=EventKind.REGISTRATION))
    assert len(list(Journal(path).events())) == 11


def test_who_waits_for_a_lock_waits_no_longer_than_told(path: str) -> None:
    Journal(path).append(FENCE)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    waiting = Journal(path, busy_s=0.2)
    began = time.monotonic()
    with pytest.raises(JournalError, match=r"locked by another process for 0\.2 s$"):
        waiting.append(FAILED)
    assert 0.15 <= time.monotonic() - began < 5
    holder.execute("COMMIT")
    waiting.append(FAILED)
    assert list(Journal(path).events()) == [FAILED, FENCE]


# --- killed, torn ---------------------------------------------------------------------------------------------------


def test_killed_at_any_instant_what_was_acknowledged_is_there(path: str) -> None:
    dice = random.Random(5)
    acknowledged = 0
    for _ in range(40):
        read, write = os.pipe()

        def appends(write: int = write) -> None:
            journal = Journal(path)
            while True:
                journal.append(FENCE)
                os.write(write, b".")

        pid = start(appends)
        os.close(write)
        time.sleep(dice.uniform(0.0, 0.12))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while data := os.read(read, 4096):
            acknowledged += len(data)
        os.close(read)
    assert acknowledged > 0
    kept = len(list(Journal(path).events()))
    assert acknowledged <= kept <= acknowledged + 40
    assert Journal(path).totals()[0].events == kept
    assert_whole(path)


def test_a_log_that_a_crash_cut_off_loses_its_end_only(path: str, tmp_path: Path) -> None:
    """The log as a node's disk may have it after a reset: any prefix of what was written."""

    def writes() -> None:
        journal = Journal(path)
        for number in range(20):
            journal.append(FENCE._replace(at_unix_s=float(number)))
        os._exit(0)

    in_a_process(writes)
    file, log = Path(path).read_bytes(), Path(f"{path}-wal").read_bytes()
    dice = random.Random(3)
    seen = set()
    for number in range(60):
        where = tmp_path / f"cut-{number}"
        where.mkdir(mode=0o755)
        cut = dice.randrange(len(log) + 1)
        torn = log[:cut] + (dice.randbytes(64) if number % 2 else b"")
        (where / "journal.db").write_bytes(file)
        (where / "journal.db-wal").write_bytes(torn)
        journal = Journal(str(where / "journal.db"))
        journal.append(FAILED)
        events = list(journal.events(newest_first=False))
        assert [event.at_unix_s for event in events[:-1]] == [float(each) for each in range(len(events) - 1)]
        assert events[-1] == FAILED
        assert_whole(str(where / "journal.db"))
        seen.add(len(events))
    assert len(seen) > 5


@pytest.mark.parametrize("seed", range(25))
def test_a_corrupt_journal_is_named_or_read_never_a_crash(path: str, seed: int) -> None:
    journal = Journal(path)
    for _ in range(30):
        journal.append(FENCE)
    journal.close()
    dice = random.Random(seed)
    data = bytearray(Path(path).read_bytes())
    if seed % 3 == 0:
        data = data[: dice.randrange(len(data))]
    else:
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(data))
            data[at : at + 300] = dice.randbytes(300)
    Path(path).write_bytes(data)
    for call in (lambda: list(Journal(path).events()), lambda: Journal(path).totals(), lambda: journal.append(FENCE)):
        try:
            call()
        except JournalError as error:
            assert str(error).startswith(f"journal: {path}")
            assert "\n" not in str(error)


@pytest.mark.parametrize("content", [b"", b"\0", b"not a database at all, but long enough to look like one" * 40])
def test_what_is_no_journal_is_named_and_left_alone(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(JournalError, match=f"^journal: {path}: not a journal: move it away, or give another path$"):
        Journal(path).append(FENCE)
    assert Path(path).read_bytes() == content


# --- what is in its place -------------------------------------------------------------------------------------------


def _socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


@pytest.mark.parametrize(
    "make",
    [
        Path.mkdir,
        os.mkfifo,
        _socket,
        lambda path: path.symlink_to("/dev/full"),
        lambda path: path.symlink_to("other.db"),
    ],
    ids=["directory", "FIFO", "socket", "link to a device", "dangling link"],
)
def test_what_is_no_file_is_named_and_not_followed(path: str, make: Callable[[Path], None]) -> None:
    make(Path(path))
    for call in (lambda: Journal(path).append(FENCE), lambda: Journal(path).totals()):
        with pytest.raises(JournalError, match=f"^journal: {path}: not a regular file: move it away$"):
            call()
    assert not Path(path).with_name("other.db").exists()


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    with pytest.raises(JournalError, match="others than root may write to it: give a directory"):
        Journal(str(shared / "journal.db")).append(FENCE)
    assert list(shared.iterdir()) == []


def test_one_missing_directory_is_made_two_are_a_typing_error(tmp_path: Path) -> None:
    Journal(str(tmp_path / "new" / "journal.db")).append(FENCE)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    with pytest.raises(JournalError, match=r"typo/new: No such file or directory$"):
        Journal(str(tmp_path / "typo" / "new" / "journal.db")).append(FENCE)


@pytest.mark.parametrize("name", ["a b.db", "a?mode=memory.db", "a#b.db", "a%20b.db", "ü.db"])
def test_any_name_is_a_name(tmp_path: Path, name: str) -> None:
    Journal(str(tmp_path / name)).append(FENCE)
    assert list(Journal(str(tmp_path / name)).events()) == [FENCE]
    assert (tmp_path / name).exists()


def test_a_journal_that_is_not_there_yet_is_said_so_and_not_made(path: str) -> None:
    with pytest.raises(JournalError, match=f"^journal: {path}: there is none yet$"):
        Journal(path).totals()
    assert list(Path(path).parent.iterdir()) == []


# --- full, read-only ------------------------------------------------------------------------------------------------

ON_A_SMALL_DISK = """
import os, subprocess, sys
from fencer.journal import Journal, JournalError
from tests.journal.events import FENCE
where = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k,mode=755", "tmpfs", where], check=True)
journal, path = Journal(where + "/journal.db"), where + "/journal.db"
kept, told = 0, ""
for _ in range(3000):
    try:
        journal.append(FENCE)
        kept += 1
    except JournalError as error:
        told = str(error)
        break
print(told)
assert kept == len(list(Journal(path).events())) == Journal(path).totals()[0].events > 10
subprocess.run(["mount", "-o", "remount,size=4m", where], check=True)
journal.append(FENCE)
assert len(list(Journal(path).events())) == kept + 1
journal.close()
subprocess.run(["mount", "-o", "remount,ro", where], check=True)
assert len(list(Journal(path).events())) == kept + 1
try:
    Journal(path).append(FENCE)
except JournalError as error:
    print(error)
"""


def test_a_full_disk_and_a_read_only_one_are_named_and_lose_nothing(tmp_path: Path) -> None:
    require_program("unshare", "util-linux")
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    full, read_only = done.stdout.splitlines()
    assert full.endswith("full") or "No space left" in full
    assert "readonly" in read_only or "Read-only" in read_only or "unable to open" in read_only


# --- who may read ---------------------------------------------------------------------------------------------------


def as_nobody(job: Callable[[], None]) -> None:
    def dropped() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        job()

    in_a_process(dropped)


@pytest.fixture
def public() -> Iterator[str]:
    """A journal in a directory that everybody may read, as /var/lib/fence-halvm is.

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


def test_an_answer_under_which_a_writer_came_and_went_is_asked_for_again(path: str) -> None:
    def write() -> None:
        writer = Journal(path)
        writer.append(FENCE)
        writer.close()  # empties the log into the file and takes it away

    write()
    asked: list[int] = []

    def question(moment: Snapshot) -> int:
        counted = sum(total.events for total in moment.totals())
        if not asked:
            write()
        asked.append(counted)
        return counted

    assert Journal(path, patience_s=PATIENCE_S).ask(question) == 2
    assert asked == [1, 2]
    asked.clear()
    with pytest.raises(JournalError, match="changed while it was read"):
        Journal(path, patience_s=0.0).ask(question)


PATIENCE_S = 10.0
"""What the command line and the exporter have 1 s for; other tests want the processors, too."""


def test_an_unprivileged_reader_follows_writers_that_come_and_go(public: str) -> None:
    """Reading without the index, with it, and without again, while the log is emptied into the file."""
    stop_read, stop_write = os.pipe()

    def follows() -> None:
        os.close(stop_write)
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


def test_the_schema_that_is_written_is_ours(public: str) -> None:
    assert sqlite3.connect(public).execute("PRAGMA user_version").fetchone() == (SCHEMA,)
