# SPDX-License-Identifier: Apache-2.0
"""Runs fence_halvm, or its peer, as a caller does."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fencer.agent import time_limits
from tests.rig.bmc import Bmc
from tests.rig.journal import own_journal, own_state_dir

T = TypeVar("T")

AGENT = str(Path(sys.executable).with_name("fence_halvm"))
UNHURRIED = (sys.executable, "-P", str(Path(__file__).parents[1] / "rig/unhurried_agent.py"))
LOOKS = {look for name in time_limits.LOOKS for look in (name, f"action={name}")}
PEER = "/usr/sbin/fence_ipmilan"
LIMIT_S = 300.0
"""Against a hang: how long a call is waited for, unless a test tells otherwise."""
SETTLE_S = 60.0
"""How long after its exit nothing of an agent may be left: a killed process needs a processor to end."""

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PCMK_service"} | {"LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller gets. status: negative when a signal ended it. took_s: from start to the end of its output."""

    status: int
    stdout: str
    stderr: str
    took_s: float

    @property
    def lines(self) -> list[str]:
        """stderr's lines without the agent's name."""
        return [line.removeprefix("fence_halvm: ") for line in self.stderr.splitlines()]


class Call:
    """One running agent, leader of a process group of its own, as Pacemaker starts it."""

    def __init__(
        self,
        *argv: str,
        stdin: str | None = None,
        environ: dict[str, str] | None = None,
        program: tuple[str, ...] = (AGENT,),
    ) -> None:
        if program in ((AGENT,), UNHURRIED):
            if argv and not any(word.startswith("--journal") for word in argv):
                argv = (f"--journal={own_journal()}", *argv)
            if stdin is not None and "journal=" not in stdin:
                stdin = f"{stdin.rstrip(chr(10))}\njournal={own_journal()}\n"
            if argv and not any(word.startswith("--state-dir") for word in argv):
                argv = (f"--state-dir={own_state_dir()}", *argv)
            if stdin is not None and "state_dir=" not in stdin:
                stdin = f"{stdin.rstrip(chr(10))}\nstate_dir={own_state_dir()}\n"
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            [*program, *argv],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT | (environ or {}),
            start_new_session=True,
        )
        if stdin is not None and self._process.stdin is not None:
            self._process.stdin.write(stdin.encode("utf-8", "surrogateescape"))
            self._process.stdin.close()
            self._process.stdin = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self, number: signal.Signals, *, group: bool = False) -> None:
        """Sends a signal to the agent, or to its whole process group."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def group(self) -> list[int]:
        """The living processes of its session, itself included. Zombies do not live."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(entry)) and int(fields[3]) == self.pid and fields[0] != "Z":
                found.append(int(entry.name))
        return found

    def end(self, limit_s: float = LIMIT_S) -> Outcome:
        """Reads to the end, as a caller does: a child that kept our streams open would be noticed here."""
        stdout, stderr = self._process.communicate(timeout=limit_s)
        took_s = time.monotonic() - self.began
        return Outcome(self._process.returncode, stdout.decode(), stderr.decode(), took_s)

    def assert_all_gone(self) -> None:
        """Nothing of it is left SETTLE_S after its end."""
        until = time.monotonic() + SETTLE_S
        while (left := self.group()) and time.monotonic() < until:
            time.sleep(0.02)
        if left:
            names = {pid: _cmdline(pid) for pid in left}
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"left behind: {names}")


def in_time(call: Callable[[float], T], is_seen: Callable[[T], bool], deadline_s: float) -> T:
    """The first answer in which something is seen, of calls with growing deadlines: how long a machine takes to come so
    far is no matter of the test. Else the last answer."""
    for stretch in (1, 4, 16):
        answer = call(deadline_s * stretch)
        if is_seen(answer):
            break
    return answer


def not_hurried(text: str) -> str:
    """A failure at the deadline, in the words for a program whose start took no notable part of it."""
    return re.sub(
        r"within \S+ s of the deadline's (\S+ s) \(this program took .*?\)", r"within \1", text, flags=re.DOTALL
    )


def halvm(*argv: str, stdin: str | None = None, environ: dict[str, str] | None = None) -> Outcome:
    """Runs the agent to its end. No stdin: /dev/null. A look without a deadline has time, whatever the machine does."""
    words = [*argv, *(stdin or "").split()]
    timed = any(word.lstrip("-").startswith("deadline") for word in words)
    program = UNHURRIED if LOOKS.intersection(words) and not timed else (AGENT,)
    call = Call(*argv, stdin=stdin, environ=environ, program=program)
    outcome = call.end()
    call.assert_all_gone()
    assert "Traceback" not in outcome.stderr, outcome.stderr
    return outcome


def ipmilan(*argv: str, stdin: str | None = None) -> Outcome:
    """Runs the peer to its end."""
    argv = tuple(word for word in argv if not word.startswith("--journal"))
    return Call(*argv, stdin=stdin, program=("/usr/bin/python3", "-W", "ignore", PEER)).end()


def at(bmc: Bmc, port: int | None = None, username: str = "ADMIN", password: str = "ADMIN") -> tuple[str, ...]:
    """Arguments that reach a BMC, or a proxy in front of it."""
    return (
        f"--journal={own_journal()}",
        "-a",
        bmc.address,
        "-u",
        str(port or bmc.port),
        "-l",
        username,
        "-p",
        password,
    )


def chassis_was_off(bmc: Bmc) -> bool:
    """Whether the chassis really has been off since the log began, or is."""
    return bmc.power == "off" or any(event.words == ("now", "off") for event in bmc.log())


def _stat(directory: Path) -> list[str]:
    """state, ppid, pgrp, session, ... of /proc/PID/stat; empty when it is gone."""
    try:
        return (directory / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "gone"


def together(jobs: Iterable[Callable[[], T]]) -> list[T]:
    """Runs what mostly waits side by side."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]
