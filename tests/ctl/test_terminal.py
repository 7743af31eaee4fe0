# SPDX-License-Identifier: Apache-2.0
"""halvmctl for a person at a terminal: colour, lines wrapped at words, what is waited for. Nothing of it in a pipe."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.terminal import NONE, Seen, never_quiet_for, on_terminal

ROOT = Path(__file__).parents[2]
GOOD = Path(__file__).parent / "good"
PROGRAM = [sys.executable, str(ROOT / "agents/halvmctl.py")]
FAULTY = ["check", f"--corosync-conf={GOOD}/corosync.conf", "--local-node=nosuch"]
CONTROL = re.compile(r"\x1b\[[\d;]*[mK]|\r")
RED, GREEN, PLAIN = "\x1b[1;31m", "\x1b[32m", "\x1b[0m"


def seen(*words: str, columns: int = 0, environ: dict[str, str] | None = None) -> Seen:
    return on_terminal([*PROGRAM, *words], columns=columns, environ=environ or NONE)


def test_a_fault_is_in_colour_and_wrapped_at_words() -> None:
    told = seen(*FAULTY, columns=60)
    assert f":{RED}FAULT{PLAIN}:" in "".join(told.text.split())  # a long path before it ends the line
    plain = CONTROL.sub("", told.text)
    assert all(len(line) <= 60 for line in plain.splitlines() if " " in line.strip())
    piped = subprocess.run([*PROGRAM, *FAULTY], capture_output=True, text=True, timeout=100, check=False).stdout
    assert plain.split() == piped.split()
    assert (told.status, "\x1b" in piped) == (2, False)
    assert piped.count("\n") == 3, "one line a sentence"


def test_nothing_found_is_green() -> None:
    told = seen("check", f"--corosync-conf={GOOD}/corosync.conf")
    assert told.text == f"{GREEN}Nothing found that would make a failover fail.{PLAIN}\n"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_who_wants_no_colour_gets_none(environ: dict[str, str]) -> None:
    assert "\x1b" not in seen(*FAULTY, environ=environ).text


def test_json_is_neither_coloured_nor_wrapped() -> None:
    piped = subprocess.run([*PROGRAM, *FAULTY, "--json"], capture_output=True, text=True, timeout=100, check=False)
    assert seen(*FAULTY, "--json", columns=50).text == piped.stdout


def test_an_error_is_in_colour_and_wrapped() -> None:
    told = seen("check", "--cib=/nosuch", columns=50)
    assert told.text.startswith(f"halvmctl: {RED}ERROR{PLAIN}: ")
    assert max(map(len, CONTROL.sub("", told.text).splitlines())) <= 50


def test_help_fits_the_terminal() -> None:
    told = seen("check", "--help", environ={"COLUMNS": "60"}).text
    assert max(map(len, CONTROL.sub("", told).splitlines())) <= 60  # argparse has colours since Python 3.14


@pytest.mark.slow
def test_a_person_sees_that_it_asks() -> None:
    """No two seconds of nothing, and the line is taken back before the answer."""
    code = """
import sys, time
import fencer.ctl.status.gather
from fencer.ctl.main import main
from fencer.errors import UsageError
def gather(*_):
    time.sleep(5)
    raise UsageError("slow")
fencer.ctl.status.gather.gather = gather
sys.argv = ["halvmctl", "status"]
sys.exit(main())
"""
    told = never_quiet_for(2, lambda: on_terminal([sys.executable, "-c", code]))
    assert re.search(r"\r\x1b\[Kasking the programs of this machine: \d s", told.text)
    assert told.text.endswith(f"\r\x1b[Khalvmctl: {RED}ERROR{PLAIN}: slow\n")
