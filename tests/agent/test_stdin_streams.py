# SPDX-License-Identifier: Apache-2.0
"""What callers on stdin read, byte for byte: as it was before there was anything for people at a terminal.

Recorded from the commit before the first line for people (21de555), except for what is an option of its own since
(json). stderr is once a pipe, and then a terminal of 40 columns that understands colour. There the steps are shown, as
with verbose=1, and nothing is coloured, wrapped or taken back.
"""

import re
import socket
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.agent.halvm import AGENT, ENVIRONMENT, not_hurried
from tests.rig.bmc import Bmc
from tests.rig.journal import own_journal, own_state_dir
from tests.rig.terminal import on_terminal

SILENT = "127.0.7.78"


class Call(NamedTuple):
    """given: lines on stdin, behind those that reach the BMC. BMC in stderr stands for its address."""

    given: str
    status: int
    stdout: str
    stderr: str


PASSWORD = "password=ADMIN\n"
CALLS = {
    "off": Call(PASSWORD + "action=off\nnodename=n1\n", 0, "Success: Powered OFF\n", ""),
    "reboot, Pacemaker's names": Call(PASSWORD + "nodename=n1\nplug=n1\n", 0, "Success: Rebooted\n", ""),
    "cman's names": Call(
        "agent=fence_halvm\nlogin=ADMIN\npasswd=ADMIN\nnodename=n1\noption=off\n", 0, "Success: Powered OFF\n", ""
    ),
    "on": Call(PASSWORD + "action=on\nplug=n1\n", 0, "Success: Already ON\n", ""),
    "status": Call(PASSWORD + "action=status\n", 0, "Status: ON\n", ""),
    "monitor": Call(PASSWORD + "action=monitor\n", 0, "", ""),
    "list": Call(PASSWORD + "action=list\nplug=n1\n", 0, "n1\n", ""),
    "validate-all": Call(PASSWORD + "action=validate-all\n", 0, "", ""),
    "wrong password": Call(
        "password=x\naction=off\n", 1, "",
        "fence_halvm: ERROR: BMC: login: wrong password for user ADMIN: correct what it refuses, in the options or at "
        "the BMC\n",
    ),
    "silent BMC": Call(
        f"{PASSWORD}ip={SILENT}\naction=off\ndeadline=4\n", 1, "",
        f"fence_halvm: ERROR: {SILENT}: Timed out: the BMC opened no session within 4 s: check its address, network "
        "and power\n",
    ),
    "unknown name": Call(
        PASSWORD + "action=status\nfoo=bar\n", 0, "Status: ON\n",
        "fence_halvm: WARNING: stdin: line 8 names no option of this agent and is ignored\n",
    ),
    "unknown action": Call(
        PASSWORD + "action=explode\n", 1, "",
        "fence_halvm: ERROR: Failed: Unrecognised action 'explode': give one of on, off, reboot, status, list, "
        "list-status, monitor, metadata, manpage, validate-all, diag, history\n",
    ),
    "bad value": Call(
        PASSWORD + "action=off\npower_timeout=soon\n", 1, "",
        "fence_halvm: ERROR: power_timeout: not a time: give seconds, 0 or more\n",
    ),
    "json": Call(
        PASSWORD + "action=off\njson=1\n", 1, "",
        "fence_halvm: ERROR: json: only for a person or a script on the command line (--json): remove it from the "
        "cluster's configuration\n",
    ),
    "dry_run": Call(
        PASSWORD + "action=off\ndry_run=1\n", 1, "",
        "fence_halvm: ERROR: dry_run: only for a person on the command line (--dry-run): remove it from the cluster's "
        "configuration\n",
    ),
}  # fmt: skip


def test_a_bmc_without_ipmi_is_told_apart_from_a_silent_one(bmc: Bmc) -> None:
    files = f"journal={own_journal()}\nstate_dir={own_state_dir()}\n"
    given = f"ip={SILENT}\nipport={bmc.port}\nusername=ADMIN\n{PASSWORD}action=status\ndeadline=4\n{files}"
    done = subprocess.run(
        [AGENT], input=given, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"opened no session within 4 s: nothing listens on its UDP port {bmc.port}: " in not_hurried(done.stderr)


def plain(text: str) -> list[str]:
    """Its lines, in which T stands for each time."""
    return re.sub(r" *\d+\.\d+", " T", not_hurried(text)).splitlines()


@pytest.fixture
def silent(bmc: Bmc) -> Iterator[None]:
    """A port that takes packets and answers none; an unused one is refused by the kernel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((SILENT, bmc.port))
        yield


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("name", CALLS)
def test_a_caller_on_stdin_reads_what_it_always_read(name: str, bmc: Bmc) -> None:
    call = CALLS[name]
    files = f"journal={own_journal()}\nstate_dir={own_state_dir()}\n"
    given = f"ip={bmc.address}\nipport={bmc.port}\nusername=ADMIN\n{files}{call.given}"
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "NO_COLOR"} | {"TERM": "xterm"}

    def piped(given: str) -> tuple[int, str, str]:
        bmc.power = "on"
        done = subprocess.run(
            [AGENT], input=given, capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        return done.returncode, done.stdout, not_hurried(done.stderr)

    assert piped(given) == (call.status, call.stdout, call.stderr.replace("BMC:", f"{bmc.address}:", 1))
    status, stdout, steps = piped(f"{given}verbose=1\n")  # a terminal has always shown the steps
    bmc.power = "on"
    told = on_terminal([AGENT], given, 40, environment, stdout_too=False)
    assert (told.status, plain(told.text)) == (status, plain(steps))
    bmc.power = "on"
    both = on_terminal([AGENT], given, 40, environment)
    assert (both.status, sorted(plain(both.text))) == (status, sorted(plain(steps + stdout)))
