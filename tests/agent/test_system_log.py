# SPDX-License-Identifier: Apache-2.0
"""What is sent to the log daemon, and that no caller waits for it."""

import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fencer.agent.report import Report
from fencer.syslog import Severity, SystemLog
from tests.agent.halvm import AGENT, ENVIRONMENT, Call, at
from tests.rig.bmc import Bmc
from tests.rig.log_daemon import LogDaemon

HEADER = re.compile(rb"<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d fence_halvm\[(\d+)\]: ")
AT_ONCE_S = 30.0  # the machine may be busy; who waits for a daemon that never reads waits for ever

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a /dev of its own")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[LogDaemon]:
    with LogDaemon(tmp_path) as started:
        yield started


def _read(line: bytes) -> tuple[int, int, str]:
    """Priority, pid, text."""
    header = HEADER.match(line)
    assert header, line
    return int(header[1]), int(header[2]), line[header.end() :].decode()


@pytest.mark.parametrize(
    ("severity", "priority"), [(Severity.ERROR, 27), (Severity.WARNING, 28), (Severity.NOTICE, 29)]
)
def test_a_line_says_who_what_and_how_grave(daemon: LogDaemon, severity: Severity, priority: int) -> None:
    SystemLog(daemon.path).write(severity, "chassis power is off…")
    assert _read(daemon.line()) == (priority, os.getpid(), "chassis power is off…")


AS_GLIBC = """
import syslog
from fencer.syslog import Severity, SystemLog
syslog.openlog("fence_halvm", syslog.LOG_PID, syslog.LOG_DAEMON)
for _ in range(4):
    syslog.syslog(syslog.LOG_WARNING, "chassis power is off…")
    SystemLog().write(Severity.WARNING, "chassis power is off…")
"""


@needs_root
def test_a_line_is_what_glibc_would_have_written(daemon: LogDaemon) -> None:
    command = daemon.of_the_machine(sys.executable, "-c", AS_GLIBC)
    subprocess.run(command, check=True, timeout=60, env=ENVIRONMENT, cwd=Path(__file__).parents[2])
    lines = daemon.lines()
    assert len(lines) == 8
    assert any(theirs == ours for theirs, ours in zip(lines[::2], lines[1::2], strict=True))  # a second may end between


def test_a_line_that_would_wait_is_dropped_and_the_next_one_is_not(daemon: LogDaemon) -> None:
    log = SystemLog(daemon.path)
    daemon.fill()
    began = time.monotonic()
    log.write(Severity.ERROR, "dropped")
    assert time.monotonic() - began < AT_ONCE_S
    assert not any(b"dropped" in line for line in daemon.lines())
    log.write(Severity.ERROR, "taken")
    assert _read(daemon.line())[2] == "taken"


def _ended(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
        gone.bind(path)


ABSENT: dict[str, Callable[[str], object]] = {
    "no socket": lambda path: None,
    "nobody listens": _ended,
    "a file": lambda path: Path(path).write_text(""),
    "a link to itself": lambda path: Path(path).symlink_to(path),
}


@pytest.mark.parametrize("why", ABSENT)
def test_where_nobody_listens_nothing_is_raised(tmp_path: Path, why: str) -> None:
    path = str(tmp_path / "log")
    ABSENT[why](path)
    SystemLog(path).write(Severity.ERROR, "to nobody")


def test_what_cannot_be_encoded_is_told_all_the_same(daemon: LogDaemon) -> None:
    SystemLog(daemon.path).write(Severity.WARNING, "journal: /\udcff: not a journal")
    assert _read(daemon.line())[2] == "journal: /\\udcff: not a journal"


def test_a_line_too_long_for_a_datagram_is_dropped(daemon: LogDaemon) -> None:
    SystemLog(daemon.path).write(Severity.WARNING, "x" * 10_000_000)
    assert daemon.lines() == []


def test_a_report_tells_it_all_but_details_in_clean_lines(daemon: LogDaemon) -> None:
    report = Report(io.StringIO(), io.StringIO(), quiet=True, verbosity=1, log=SystemLog(daemon.path))
    report.error("LUN\n<24>forged")
    report.warning("x" * 1000)
    report.notice("fenced")
    report.detail("step")
    told = [_read(line) for line in daemon.lines()]
    assert [(priority, pid) for priority, pid, _ in told] == [(each, os.getpid()) for each in (27, 28, 29)]
    error, warning, notice = (text for _, _, text in told)
    assert (error, notice) == ("ERROR: LUN?<24>forged", "fenced")
    assert (warning[-1], len(warning)) == ("…", 600)


@needs_root
def test_the_verdict_is_in_the_system_log(bmc: Bmc, daemon: LogDaemon) -> None:
    call = Call(*at(bmc), "-o", "off", "-q", program=daemon.of_the_machine(AGENT))
    outcome = call.end()
    call.assert_all_gone()
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
    assert any(
        (priority, pid) == (29, call.pid) and text.startswith("off ") and "proved by power" in text
        for priority, pid, text in map(_read, daemon.lines())
    )


@needs_root
@pytest.mark.parametrize(
    ("more", "obeys", "status", "stdout"),
    [
        ((), True, 0, "Success: Powered OFF\n"),
        (("--deadline=1.5",), False, 1, ""),
        (("--no-such-option",), True, 1, ""),
    ],
    ids=["fenced", "deadline", "bad option"],
)
def test_a_log_daemon_that_does_not_read_changes_nothing(
    bmc: Bmc, daemon: LogDaemon, more: tuple[str, ...], obeys: bool, status: int, stdout: str
) -> None:
    bmc.ignore(off=not obeys)
    daemon.fill()
    call = Call(*at(bmc), "-o", "off", *more, program=daemon.of_the_machine(AGENT))
    outcome = call.end()
    call.assert_all_gone()
    assert (outcome.status, outcome.stdout) == (status, stdout)
    assert len(outcome.lines) == 1
    assert outcome.took_s < 1.5 + 30
    assert not any(b"fence_halvm" in line for line in daemon.lines())
