# SPDX-License-Identifier: Apache-2.0
"""What is asked for the password: whatever it is and does, there is a password in time or one sentence."""

import os
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fencer.agent.password_script import OUTPUT_BYTES, ask, doubt
from fencer.errors import UsageError
from tests.agent.halvm import Call, at, halvm
from tests.rig.bmc import Bmc

LONG_S = 60.0
"""Within it a shell starts and answers, also on a busy machine."""


def program(directory: Path, text: str, mode: int = 0o755) -> str:
    path = directory / "script"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("#!/bin/sh\necho s3cret\n", "{}"),
        ("echo s3cret\n", "{}"),  # no #!
        ("#!/bin/sh\necho s3cret\n[ -n '' ] && echo never\n", "{}"),  # ends with status 1
        ("#!/bin/sh\necho $1\n", "{} s3cret"),
        ("s3XcretX\n", "cat {} | tr -d X"),
        ("s3cret\n", "cat ~root/../../../..{}"),
        ("s3cret", "cat < {}"),
        ("s3cret \n\n", "cat {} ; exit 3"),
        ("#!/bin/sh\nsleep 100 &\necho s3cret\n", "{}"),  # what it leaves keeps the pipe open
        ("#!/bin/sh\necho s3cret; exec >&-; sleep 0.1\n", "{}"),
        ("#!/bin/sh\nkill -PIPE $$; echo no\n", "{} || echo s3cret"),  # signals are as a shell expects them
    ],
)
def test_it_is_what_a_shell_makes_of_it(tmp_path: Path, text: str, script: str) -> None:
    began = time.monotonic()
    assert ask(script.format(program(tmp_path, text)), LONG_S) == b"s3cret"
    assert time.monotonic() - began < LONG_S - 10


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("a\0b", "NUL"),
        ("/nonexistent/x s3cret", "no such command"),
        ("/etc/passwd", "permission denied"),
        ("exit 4 # s3cret", "exit status 4, and printed nothing"),
        ("kill -9 $$", "ended by signal 9"),
        ("'s3cret", "exit status 2, and printed nothing"),
        ("yes s3cret", f"more than {OUTPUT_BYTES} bytes"),
        ("head -c 5000 /dev/zero", f"more than {OUTPUT_BYTES} bytes"),
        ("sleep 60; echo s3cret", "no answer within 1 s"),
        ("echo s3cret; sleep 60", "no answer within 1 s"),
    ],
)
def test_what_gives_no_password_is_one_sentence_without_its_text(script: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask(script, 1.0 if "no answer" in says else LONG_S)
    assert str(caught.value).startswith("password_script: ")
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_what_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    name = program(tmp_path, "#!/bin/sh\n(sleep 60) &\nwait\n")
    with pytest.raises(UsageError, match="no answer within"):
        ask(f"{shlex.quote(name)} | cat", 0.5)
    end = time.monotonic() + 60  # the kernel ends what was killed when it gets to it
    while _running(name):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_cannot_be_killed_is_not_waited_for(tmp_path: Path) -> None:
    """As in state D: a stopped process that ptrace or a disk holds does not die at once."""
    waited: list[int] = []

    def killpg(pid: int, _number: int) -> None:
        waited.append(pid)

    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError, match="no answer within"):
        patch.setattr(os, "killpg", killpg)
        ask("sleep 100", 0.3)
    assert time.monotonic() - began < LONG_S
    with suppress(ProcessLookupError):
        os.killpg(waited[0], signal.SIGKILL)


def _running(name: str) -> bool:
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            commands.append(path.read_bytes())
    return any(name.encode() in each for each in commands)


@pytest.mark.parametrize(
    ("mode", "owner", "told"),
    [(0o700, 0, False), (0o755, 0, False), (0o775, 0, True), (0o757, 0, True), (0o755, 1, True)],
)
def test_a_program_that_others_may_change_is_told(tmp_path: Path, mode: int, owner: int, told: bool) -> None:
    name = program(tmp_path, "#!/bin/sh\n", mode)
    os.chown(name, owner, -1)
    assert (doubt(f"{name} --secret") is not None) is told


@pytest.mark.parametrize("script", ["cat /x | tr a b", "echo x", "/nonexistent", "", "/etc"])
def test_what_is_no_program_by_its_path_is_not_judged(script: str) -> None:
    assert doubt(script) is None


def test_others_program_is_one_warning_and_fences(bmc: Bmc, tmp_path: Path) -> None:
    name = program(tmp_path, "echo ADMIN\n", 0o777)
    options = ("-a", bmc.address, "-u", str(bmc.port), "-l", "ADMIN", "-S", name, "-o", "off", "-n", "b")
    outcome = halvm(*options)
    assert (outcome.status, bmc.power) == (0, "off"), outcome.stderr
    assert [line for line in outcome.lines if "WARNING: password_script" in line] == [
        "WARNING: password_script: others than root may change the program: let root own it, and chmod go-w"
    ]


@pytest.mark.slow
def test_one_that_hangs_ends_in_a_sentence_at_the_deadline(bmc: Bmc) -> None:
    call = Call(*at(bmc), "--deadline=2", "-o", "off", "-S", "sleep 60")
    outcome = call.end()
    call.assert_all_gone()
    assert outcome.lines[0].startswith("ERROR: password_script: no answer within 2 s: give ")
    assert bmc.power == "on"
