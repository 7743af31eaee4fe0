# SPDX-License-Identifier: Apache-2.0
"""The password is nowhere but in the agent's own memory and in the answer of the BMC's arithmetic."""

import io
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fencer.agent.main import Agent
from fencer.agent.option import Option
from fencer.agent.options import BY_NAME, HARMLESS, OPTIONS
from fencer.agent.report import Report
from fencer.journal.file import Journal
from fencer.syslog import SystemLog
from tests.agent.halvm import AGENT, ENVIRONMENT, Call, Outcome, at
from tests.rig import require_program
from tests.rig.bmc import Bmc

PLAIN = b"S3cr3tNeverToBeSeen"  # what ipmi_sim refuses: the agent says so, and must not say what it tried


def by_stdin(bmc: Bmc, password: str, tmp_path: Path) -> tuple[tuple[str, ...], str | None]:
    lines = (f"ipaddr={bmc.address}", f"ipport={bmc.port}", "login=ADMIN", f"passwd={password}", "action=off")
    return (), "\n".join(
        (*lines, "verbose=3", f"debug_file={tmp_path / 'debug'}", f"state_dir={tmp_path}", _journal(tmp_path))
    ) + "\n"


def _journal(tmp_path: Path) -> str:
    return f"journal={tmp_path / 'journal.db'}"


def _script(password: str, tmp_path: Path) -> Path:
    secret = tmp_path / "secret"
    secret.write_text(password + "\n")
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ncat {secret}\necho {password} >&2\n")
    script.chmod(stat.S_IRWXU)
    return script


def by_script(bmc: Bmc, password: str, tmp_path: Path) -> tuple[tuple[str, ...], str | None]:
    script = _script(password, tmp_path)
    argv = ("-a", bmc.address, "-u", str(bmc.port), "-l", "ADMIN", "-S", str(script), "-o", "off", "-vvv")
    return (*argv, "-D", str(tmp_path / "debug"), f"--state-dir={tmp_path}", f"--{_journal(tmp_path)}"), None


def by_script_on_stdin(bmc: Bmc, password: str, tmp_path: Path) -> tuple[tuple[str, ...], str | None]:
    script = _script(password, tmp_path)
    lines = (f"ip={bmc.address}", f"ipport={bmc.port}", "username=ADMIN", f"passwd_script={script}", "action=off")
    return (), "\n".join((*lines, "verbose_level=3", f"debug_file={tmp_path / 'debug'}", _journal(tmp_path))) + "\n"


WAYS = [by_stdin, by_script, by_script_on_stdin]

# Runs the agent with a system log that is a file.
LOGGED = (
    "import sys\n"
    "from fencer.syslog import SystemLog\n"
    "log = open(sys.argv.pop(1), 'a')\n"
    "SystemLog.write = lambda _self, *said: print(*said, file=log, flush=True)\n"
    "from fencer.agent.main import main\n"
    "sys.exit(main())\n"
)


def _without(password: bytes, where: Path, outcome: Outcome) -> None:
    """Looks in all that the agent wrote."""
    assert password.decode() not in outcome.stdout + outcome.stderr
    for path in where.iterdir():
        if path.is_file() and path.name not in ("script", "secret"):
            assert password not in path.read_bytes(), path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("password", [PLAIN.decode(), "x" + PLAIN.decode() * 4], ids=["wrong", "too long"])
def test_not_in_output_debug_file_system_log_or_state(bmc: Bmc, tmp_path: Path, way, password: str) -> None:
    argv, stdin = way(bmc, password, tmp_path)
    program = (sys.executable, "-c", LOGGED, str(tmp_path / "syslog"))
    sent = len(password) == len(PLAIN)  # one that is too long is found before anything is sent
    errors: list[str | None] = []
    for _ in range(10):  # the journal waits for no busy machine: what it could not write in time is not there
        outcome = Call(*argv, stdin=stdin, program=program).end()
        assert outcome.status == 1
        journal = tmp_path / "journal.db"
        if not sent or (journal.exists() and (errors := [event.error for event in Journal(str(journal)).events()])):
            break
    assert "password" in (tmp_path / "syslog").read_text()  # it was logged that it is wrong
    assert bool(errors) == sent
    _without(PLAIN, tmp_path, outcome)


def test_not_in_a_message_when_given_in_the_wrong_place(bmc: Bmc, tmp_path: Path) -> None:
    secret = PLAIN.decode()
    for lines in (f"passwd\n{secret}\n", f"passwd=ADMIN\n{secret}\n", f"passwd = {secret}\nverbose={secret}\n"):
        outcome = Call(stdin=f"ipaddr={bmc.address}\nipport={bmc.port}\naction=status\ndeadline=2\n{lines}").end()
        assert secret not in outcome.stdout + outcome.stderr
    outcome = Call(*at(bmc), "-o", "status", "-P", secret).end()  # -P is a flag
    assert secret not in outcome.stdout + outcome.stderr


SECRET = "hunter2secret"
ELSEWHERE = [row for row in OPTIONS if row.name not in HARMLESS]


@pytest.mark.parametrize("row", ELSEWHERE, ids=lambda row: row.name)
@pytest.mark.parametrize("value", [SECRET, f"{SECRET}\0", f"0x{SECRET}", f"9{SECRET}", f"-{SECRET}", f" {SECRET} "])
def test_whatever_stands_in_an_option_that_is_not_harmless_is_in_no_message(
    tmp_path: Path, row: Option, value: str
) -> None:
    """A slip puts a password anywhere."""
    given = {"action": "validate-all", "nodename": "b", "local_key": "1", "key": "2", "verbose": "1"}
    given |= {"devices": "iscsi://127.0.0.1:1/iqn.2026-11.nowhere/1", "ip": "127.0.0.9", "journal": "none"}
    given |= {"state_dir": str(tmp_path)}
    for name in row.names:
        _said_without_it(
            [], "".join(f"{n}={v}\n" for n, v in {**given, name: value}.items() if n != row.name or n == name)
        )
    if row.argument and "\0" not in value:
        rest = [f"--{BY_NAME[n].long}={v}" for n, v in given.items() if n not in (row.name, "verbose")]
        _said_without_it([*rest, f"--{row.long}={value}", "-v"], "")
    _said_without_it(["-o", "validate-all", f"--{row.long}{SECRET}"], "")


@pytest.mark.parametrize(
    ("argv", "stdin"),
    [
        (["-o", "status", f"--passwrd={SECRET}"], ""),
        (["-o", "status", f"--lanplus={SECRET}"], ""),
        (["-o", "status", f"--pass={SECRET}"], ""),
        (["-o", "validate-all", "-a", "127.0.0.9", "-P", SECRET], ""),
        (["-o", "validate-all", "-p", "x", f"--password{SECRET}"], ""),
        ([], f"action=validate-all\nip=127.0.0.9\npasswd=abc\n{SECRET}=x\n"),
        ([], f"action=validate-all\nip=127.0.0.9\npasswd=abc\n{SECRET}\n"),
        ([], f"action=monitor\ndevices=iscsi://bob%{SECRET}@10.0.0.1/iqn.2000-01.x:y/0\nlocal_key=1\nkey=2\n"),
        ([], f"action=monitor\ndevices=iscsi://bob%{SECRET}\nlocal_key=1\nkey=2\n"),
        ([], f"action=off\nnodename=b\ndevices=ISCSI://bob%{SECRET}@10.0.0.1/x/0\nlocal_key=1\nkey=2\n"),
        ([], f"action=off\nnodename=b\ndevices=http://{SECRET}@10.0.0.1/x/0\nlocal_key=1\nkey=2\n"),
    ],
)
def test_a_secret_in_the_wrong_place_is_in_no_message(argv: list[str], stdin: str) -> None:
    _said_without_it(argv, stdin and f"{stdin}journal=none\ndeadline=2\n")


def _said_without_it(argv: list[str], stdin: str) -> None:
    """In this process: what is refused or validated needs no other. What a monitor's child says is told by it, too."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemLog, "write", lambda *_said: None)
        patch.setattr(resource, "setrlimit", lambda *_: None)
        patch.setattr("_signal.signal", lambda *_: None)
        patch.setattr(Report, "open_debug_file", lambda *_: None)  # it would be made here
        Agent(argv, io.BytesIO(stdin.encode("utf-8", "surrogateescape")), out, err, {}).run()
    assert SECRET not in out.getvalue() + err.getvalue(), (argv, stdin, err.getvalue())


@pytest.mark.parametrize("way", WAYS)
def test_not_in_what_is_executed(bmc: Bmc, tmp_path: Path, way) -> None:
    """Every execve of the agent and of all its children, with arguments and environment."""
    argv, stdin = way(bmc, PLAIN.decode(), tmp_path)
    trace = tmp_path / "trace"
    outcome = subprocess.run(
        [_strace(), "-f", "-v", "-s", "100000", "-e", "trace=execve", "-o", str(trace), AGENT, *argv],
        input=stdin, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False,
    )  # fmt: skip
    assert outcome.returncode == 1
    assert "wrong password" in outcome.stderr
    assert AGENT in trace.read_text()
    assert PLAIN.decode() not in trace.read_text()


def test_a_password_in_our_own_argv_goes_no_further(bmc: Bmc, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    argv = at(bmc, password=PLAIN.decode())
    subprocess.run(
        [_strace(), "-f", "-v", "-s", "100000", "-e", "trace=execve", "-o", str(trace), AGENT, *argv, "-o", "off"],
        stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT, timeout=60, check=False,
    )  # fmt: skip
    assert trace.read_text().count(PLAIN.decode()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_not_in_proc_and_no_core_of_any_process(bmc: Bmc, tmp_path: Path, way) -> None:
    """While it waits for a slow BMC: /proc of the agent and its child, as a local user or a crash handler reads it."""
    bmc.slow(get_s=1.0)
    argv, stdin = way(bmc, "test", tmp_path)  # ipmi_sim's user/test
    argv = tuple(each.replace("ADMIN", "user") for each in argv)
    call = Call(*argv, stdin=stdin and stdin.replace("ADMIN", "user"))
    looked_at: set[int] = set()
    while call.running:
        for pid in call.group():
            words, variables = _read(pid, "cmdline").split(b"\0"), _read(pid, "environ").split(b"\0")
            assert b"test" not in words
            assert b"test" not in [each.partition(b"=")[2] for each in variables]
            if len(call.group()) > 1 and (core := _core_limits(pid)):
                assert core == ["0", "0"], pid
                looked_at.add(pid)
        time.sleep(0.01)
    assert call.end().status == 0
    assert len(looked_at) >= 2, "the agent and its power worker"


def _core_limits(pid: int) -> list[str]:
    """Soft and hard; empty when the process is gone."""
    lines = _read(pid, "limits").decode().splitlines()
    return next((line.split()[4:6] for line in lines if line.startswith("Max core file size")), [])


def _strace() -> str:
    return require_program("strace", "strace")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
