# SPDX-License-Identifier: Apache-2.0
"""Many at once, killed, locked, full, torn, not ours: the journal stays whole, and says what is wrong."""

import os
import random
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fencer.errors import FenceError
from fencer.journal import pending
from fencer.journal.event import EventKind
from fencer.journal.file import Journal, JournalBusy, JournalError
from fencer.journal.pending import keep
from tests.journal.events import FAILED, FENCE, MONITOR, in_a_process, start, wait_all
from tests.journal.test_file import SCHEMA_1
from tests.rig import require_program


def assert_whole(path: str) -> None:
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


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
    waiting = Journal(path)
    began = time.monotonic()
    with pytest.raises(
        JournalBusy, match=r"locked by another process for 0\.2 s: it is kept in .*, and recorded later$"
    ):
        waiting.append(FAILED)
    assert 0.15 <= time.monotonic() - began < 5
    assert not waiting.record_kept()
    holder.execute("COMMIT")
    waiting.append(MONITOR)
    assert list(Journal(path).events()) == [MONITOR, FAILED, FENCE]
    assert waiting.record_kept()
    assert list(Path(f"{path}.later").iterdir()) == []


def test_what_was_kept_is_recorded_once(path: str) -> None:
    """Whoever takes it along: two at a time, and one that was killed between COMMIT and the removal."""
    journal = Journal(path)
    journal.append(FENCE)
    for number in range(150):
        keep(f"{path}.later", FAILED._replace(at_unix_s=FAILED.at_unix_s + number))
    left = {each: each.read_bytes() for each in Path(f"{path}.later").iterdir()}
    wait_all([start(lambda: Journal(path).record_kept() and None) for _ in range(4)])
    while not journal.record_kept():
        pass
    for each, content in left.items():
        each.write_bytes(content)
    journal.append(MONITOR)
    while not journal.record_kept():
        pass
    found = [event.at_unix_s for event in journal.events(newest_first=False)]
    assert len(found) == 152
    assert sum(total.events for total in journal.totals()) == 152


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"kind": "fence"}', "[" * 100_000, "x" * (2 << 20)])
def test_a_kept_event_that_cannot_be_read_is_dropped(path: str, content: str) -> None:
    journal = Journal(path)
    Path(f"{path}.later").mkdir()
    Path(f"{path}.later/0.json").write_text(content)
    keep(f"{path}.later", FAILED)
    journal.append(FENCE)
    assert list(journal.events()) == [FENCE, FAILED]
    assert list(Path(f"{path}.later").iterdir()) == []


def test_what_is_kept_is_bounded_and_for_root_alone(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "KEPT_MOST", 3)
    Journal(path).append(FENCE)
    for number in range(3):
        keep(f"{path}.later", FAILED._replace(at_unix_s=float(number)))
    with pytest.raises(FenceError, match="3 events wait there already"):
        keep(f"{path}.later", FAILED)
    assert {each.stat().st_mode & 0o777 for each in Path(f"{path}.later").iterdir()} == {0o600}


def test_no_other_user_can_hold_a_lock_on_it(path: str) -> None:
    """Who may read a file may lock it, and a read lock keeps every writer out. Also where an older version made it."""
    journal = Journal(path)
    journal.append(FENCE)
    files = [Path(path + end) for end in ("", "-wal", "-shm")]
    for each in files:
        each.chmod(0o644)
    Journal(path).append(FAILED)
    group = Path(path).parent.stat().st_gid
    assert [(each.stat().st_mode & 0o777, each.stat().st_gid) for each in files] == [(0o640, group)] * 3


def test_its_group_is_that_of_its_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, -1, 65534)
    path = str(tmp_path / "journal.db")
    Journal(path).append(FENCE)
    assert {Path(path + end).stat().st_gid for end in ("", "-wal", "-shm")} == {65534}


# --- killed, torn ---------------------------------------------------------------------------------------------------


def test_killed_at_any_instant_what_was_acknowledged_is_there(path: str) -> None:
    dice = random.Random(5)
    acknowledged = 0
    for number in range(40):
        read, write = os.pipe()

        def appends(write: int = write) -> None:
            journal = Journal(path)
            while True:
                journal.append(FENCE)
                os.write(write, b".")

        pid = start(appends)
        os.close(write)
        if number % 2:  # on a busy machine none may come so far by itself
            assert select.select([read], [], [], 60)[0]
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
    remedy = rf"move {path}\* away, or give another path"  # with its log, which would be played into a new file
    with pytest.raises(JournalError, match=f"^journal: {path}: not a journal: {remedy}$"):
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


def test_a_missing_journal_is_reported_and_not_made(path: str) -> None:
    with pytest.raises(JournalError, match=f"^journal: {path}: there is none yet$"):
        Journal(path).totals()
    assert list(Path(path).parent.iterdir()) == []


# --- full, read-only ------------------------------------------------------------------------------------------------

ON_A_SMALL_DISK = """
import os, subprocess, sys
from fencer.journal.file import Journal, JournalError
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
