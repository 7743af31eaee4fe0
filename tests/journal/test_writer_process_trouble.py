# SPDX-License-Identifier: Apache-2.0
"""No journal, however broken, is felt by who called the agent."""

import contextlib
import errno
import io
import os
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from fencer.agent.main import Agent
from fencer.journal.file import Journal
from fencer.journal.writer_process import NICENESS, JournalWriter
from tests.agent.halvm import AGENT, Call, at
from tests.journal.calls import call, recorded
from tests.journal.events import FENCE, in_a_process
from tests.rig import require_program
from tests.rig.bmc import Bmc
from tests.rig.log_daemon import LogDaemon


def _locked(path: str, stack: ExitStack) -> None:
    Journal(path).append(FENCE)
    db = sqlite3.connect(path, isolation_level=None)
    stack.callback(db.close)
    db.execute("BEGIN IMMEDIATE")


def _corrupt(path: str, _stack: ExitStack) -> None:
    journal = Journal(path)
    for _ in range(30):
        journal.append(FENCE)
    journal.close()
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def _newer(path: str, _stack: ExitStack) -> None:
    journal = Journal(path)
    journal.append(FENCE)
    journal.close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()


def _no_directory(path: str, _stack: ExitStack) -> None:
    Path(path).parent.rmdir()
    Path(path).parent.write_text("a file")


def _shared_directory(path: str, _stack: ExitStack) -> None:
    Path(path).parent.chmod(0o777)


TROUBLES: dict[str, tuple[Callable[[str, ExitStack], object], str]] = {
    "locked": (_locked, ""),
    "corrupt": (_corrupt, "corrupt"),
    "newer": (_newer, "written by a newer fence-halvm"),
    "not a database": (lambda path, _: Path(path).write_text("x" * 5000), "not a journal"),
    "empty": (lambda path, _: Path(path).write_text(""), "not a journal"),
    "FIFO": (lambda path, _: os.mkfifo(path), "not a regular file"),
    "link": (lambda path, _: Path(path).symlink_to("elsewhere"), "not a regular file"),
    "directory": (lambda path, _: Path(path).mkdir(), "not a regular file"),
    "no directory": (_no_directory, "not a directory"),
    "shared directory": (_shared_directory, "others than root may write to it"),
}


@pytest.mark.parametrize("failing", ["fork", "socketpair"])
def test_no_process_for_the_journal_refuses_no_fence(
    bmc: Bmc, path: str, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    really, forks = os.fork, [0]

    def fork() -> int:
        forks[0] += 1
        if forks[0] == 1:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return really()

    def no_socket(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    stdin = f"action=off\nip={bmc.address}\nipport={bmc.port}\nlogin=ADMIN\npasswd=ADMIN\njournal={path}\nplug=b\n"

    def fences() -> None:
        if failing == "fork":
            monkeypatch.setattr(os, "fork", fork)
        else:
            monkeypatch.setattr("fencer.journal.writer_process.socketpair", no_socket)
        stdout, stderr = io.StringIO(), io.StringIO()
        status = Agent([], io.BytesIO(stdin.encode()), stdout, stderr, {}).run()
        said = stderr.getvalue()
        assert (status, stdout.getvalue()) == (0, "Success: Powered OFF\n"), said
        assert said.count("WARNING") == 1
        assert f"journal: {path}: this call is not in it: no process for its writer" in said

    in_a_process(fences)
    assert bmc.power == "off"


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("action", ["off", "monitor"])
def test_a_journal_in_trouble_is_one_warning_and_nothing_else(
    bmc: Bmc, tmp_path: Path, trouble: str, action: str
) -> None:
    directory = tmp_path / "journal"
    directory.mkdir(mode=0o755)
    path = str(directory / "journal.db")
    make, words = TROUBLES[trouble]
    with ExitStack() as stack:
        make(path, stack)
        well = call(bmc, "none", action)
        bmc.power = "on"
        outcome = call(bmc, path, action)
    assert (outcome.status, outcome.stdout) == (well.status, well.stdout) == (0, well.stdout)
    told = [line for line in outcome.lines if "journal" in line]
    assert len(outcome.lines) - len(told) == len(well.lines)
    if told:  # by then the writer had found it
        assert len(told) == 1
        assert told[0].startswith(f"WARNING: journal: {directory}")
        assert words in told[0]


FULL = """
import os, subprocess, sys
where, words = sys.argv[1], sys.argv[2:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs", where], check=True)
if "--ro" in words:
    words.remove("--ro")
    subprocess.run(["mount", "-o", "remount,ro", where], check=True)
os.execv(words[0], words)
"""


@pytest.mark.parametrize("more", [(), ("--ro",)], ids=["full", "read-only"])
def test_a_full_or_read_only_disk_changes_nothing(bmc: Bmc, tmp_path: Path, more: tuple[str, ...]) -> None:
    require_program("unshare", "util-linux")
    words = (AGENT, *at(bmc), f"--journal={tmp_path}/journal.db", f"--state-dir={tmp_path}", "-o", "off", *more)
    program = ("unshare", "--mount", sys.executable, "-c", FULL, str(tmp_path))
    outcome = Call(*words, program=program).end()
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
    told = [line for line in outcome.lines if "journal" in line]
    assert all(line.startswith(f"WARNING: journal: {tmp_path}") for line in told)
    assert len(told) <= 1


def test_no_caller_waits_for_a_writer_that_hangs(bmc: Bmc, path: str) -> None:
    """Its writer waits for the lock and tries again; the caller has its verdict, and the end of our streams, before."""
    with ExitStack() as stack:
        _locked(path, stack)
        outcome = call(bmc, path, "off")
        assert outcome.status == 0
        stack.close()
    assert len(recorded(path, 2)) == 2, "it was written all the same, when the lock was free"


LOCKS = """
import fcntl, os, struct, sys, time
for path in sys.argv[1:]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.fcntl(descriptor, fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))
        os.set_inheritable(descriptor, True)
    except PermissionError:
        pass
print("tried", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("group", [0, 65534])
def test_a_user_with_a_read_lock_keeps_nothing_from_being_recorded(bmc: Bmc, tmp_path: Path, group: int) -> None:
    """Anybody else cannot; a member of the group can, and what could not be recorded is recorded when it is gone."""
    directory = tmp_path / "journal"
    directory.mkdir(mode=0o755)
    os.chown(directory, -1, group)
    for each in (tmp_path, *tmp_path.parents):
        if each.stat().st_uid == os.geteuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o055)
    path = str(directory / "journal.db")
    call(bmc, path, "off")
    recorded(path)
    drop = ("setpriv", "--reuid=65534", f"--regid={group or 65534}", "--clear-groups", sys.executable)
    with subprocess.Popen(
        [*drop, "-c", LOCKS, path, f"{path}-wal", f"{path}-shm"], stdout=subprocess.PIPE, text=True
    ) as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == "tried\n"
        try:
            for _ in range(2):
                bmc.power = "on"
                assert call(bmc, path, "off").status == 0
            if group == 0:
                assert len(recorded(path, 3)) == 3
        finally:
            locker.kill()
    assert len(recorded(path, 3)) == 3


def test_a_stopped_writer_is_not_waited_for() -> None:
    writer = JournalWriter.start()
    os.kill(writer._pid, signal.SIGSTOP)
    writer.begun("/nonexistent/journal.db", FENCE)
    said = writer.ended(FENCE)
    os.kill(writer._pid, signal.SIGKILL)
    os.waitpid(writer._pid, 0)
    writer.let_go()
    assert said is None


def test_what_the_writer_has_found_by_the_end_is_said(path: str) -> None:
    os.mkfifo(path)
    writer = JournalWriter.start()
    writer.begun(path, FENCE)
    assert select.select([writer._sock], [], [], 60)[0]  # as after a fence that takes longer than opening a journal
    assert writer.ended(FENCE) == f"journal: {path}: not a regular file: move it away"
    writer.let_go()
    os.waitpid(writer._pid, 0)


ENDED = """
import sys
from fencer.journal.writer_process import NICENESS, JournalWriter
from tests.journal.events import FENCE
writer = JournalWriter.start()
writer.begun(sys.argv[1], FENCE)
writer.ended(FENCE)
"""


KILLED = """
import os, signal, sys
from fencer.journal.writer_process import NICENESS, JournalWriter
from tests.journal.events import FENCE
JournalWriter.start().begun(sys.argv[1], FENCE)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a /dev of its own")
@pytest.mark.parametrize(("program", "status"), [(KILLED, -signal.SIGKILL), (ENDED, 0)], ids=["killed", "ended"])
def test_what_no_caller_is_left_to_read_is_in_the_system_log(
    path: str, tmp_path: Path, program: str, status: int
) -> None:
    os.mkfifo(path)
    with LogDaemon(tmp_path) as daemon:
        command = daemon.of_the_machine(sys.executable, "-c", program, path)
        done = subprocess.run(command, check=False, timeout=60, cwd=Path(__file__).parents[2])
        assert done.returncode == status
        line = daemon.line()
    assert line.startswith(b"<28>")
    assert f": WARNING: journal: {path}: not a regular file".encode() in line


def test_a_writer_that_is_gone_is_reported_at_once() -> None:
    writer = JournalWriter.start()
    os.kill(writer._pid, signal.SIGKILL)
    os.waitpid(writer._pid, 0)
    writer.begun("/nonexistent/journal.db", FENCE)
    assert writer.ended(FENCE) == "journal: /nonexistent/journal.db: this call is not in it: its writer is gone"
    writer.let_go()


def test_the_writer_holds_nothing_of_its_caller(tmp_path: Path) -> None:
    read, write = os.pipe()
    writer = JournalWriter.start()
    writer.begun(str(tmp_path / "journal.db"), FENCE)
    descriptors = Path(f"/proc/{writer._pid}/fd")
    writer.ended(FENCE)
    recorded(str(tmp_path / "journal.db"))  # from here on it only waits for the agent
    kept = set()
    for each in descriptors.iterdir():
        with contextlib.suppress(FileNotFoundError):  # SQLite opens and closes while we look; what was inherited stays
            kept.add(str(each.readlink()))
    assert str(Path(f"/proc/self/fd/{write}").readlink()) not in kept
    assert os.getsid(writer._pid) == writer._pid
    assert str(Path(f"/proc/{writer._pid}/cwd").readlink()) == "/"
    for fd in ("0", "1", "2"):
        assert str((descriptors / fd).readlink()) == "/dev/null"
    writer.let_go()
    assert os.waitstatus_to_exitcode(os.waitpid(writer._pid, 0)[1]) == 0, "it ends when the agent does"
    os.close(read)
    os.close(write)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a process more priority")
def test_the_writer_has_the_lowest_priority_until_the_verdict_and_then_its_callers(tmp_path: Path) -> None:
    """The order of begin and end is kept, also where the child has not had a processor meanwhile."""
    path = str(tmp_path / "journal.db")
    writer = JournalWriter.start()
    child = writer._pid
    writer.begun(path, FENCE)
    assert os.getpriority(os.PRIO_PROCESS, child) == NICENESS
    writer.ended(FENCE)
    recorded(path)
    assert os.getpriority(os.PRIO_PROCESS, child) == os.getpriority(os.PRIO_PROCESS, 0)
    writer.let_go()


def test_a_record_too_long_for_a_message_is_sent_with_fewer_steps(tmp_path: Path) -> None:
    writer = JournalWriter.start()
    writer.begun(str(tmp_path / "journal.db"), FENCE)
    writer.ended(FENCE._replace(steps=FENCE.steps * 2000 + (FENCE.steps[0]._replace(text="ü" * 300_000),)))
    (event,) = recorded(str(tmp_path / "journal.db"))
    assert 0 < len(event.steps) <= 400
    writer.let_go()
    os.waitpid(writer._pid, 0)
