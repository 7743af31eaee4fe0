# SPDX-License-Identifier: Apache-2.0
"""A person at a terminal: what is waited for, and colour; never for a cluster manager, and never in a pipe."""

import fcntl
import json
import os
import re
import struct
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

from fencer.agent.awaited import awaited
from fencer.agent.facts import Facts
from fencer.model import Action, ProofPolicy
from fencer.observations import PowerDone, SessionOpened, StorageDone
from fencer.terminal import Terminal
from tests.agent.halvm import AGENT, ENVIRONMENT, at, in_time
from tests.decisions.calls import WON, plan
from tests.journal.calls import recorded
from tests.rig.bmc import Bmc
from tests.rig.terminal import NONE, never_quiet_for, on_terminal
from tests.rig.udp_proxy import UdpProxy

CLEAR = "\r\x1b[K"
GREEN, RED = "\x1b[32m", "\x1b[1;31m"


def seen(bmc: Bmc, port: int, *argv: str, stdin: str | None = None, columns: int = 0, **environ: str) -> str:
    """All that a call writes to a terminal, on stdout and stderr. columns: its width; 0: it does not tell."""
    return run([AGENT, *(argv and (*at(bmc, port), *argv))], stdin, columns, environ)


def run(command: list[str], stdin: str | None = None, columns: int = 0, environ: Mapping[str, str] = NONE) -> str:
    """The same for any call."""
    return on_terminal(command, stdin, columns, ENVIRONMENT | {"TERM": "xterm"} | dict(environ)).text


def ticks(said: str, what: str) -> set[str]:
    """The different times left that were shown for what is waited for."""
    return set(re.findall(rf"\r\x1b\[Kwaiting for {what}: (\d+) s left", said))


def test_a_person_sees_what_is_waited_for_and_how_long(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.blackhole = True
    waits = f"{CLEAR}waiting for BMC {bmc.address} to open a session: "
    said = in_time(
        lambda limit_s: seen(bmc, proxy.port, "-o", "off", f"--deadline={limit_s:g}"), lambda said: waits in said, 8
    )
    assert waits in said
    assert " s left" in said
    assert f"{CLEAR}fence_halvm: \x1b[1;31mERROR\x1b[0m: {bmc.address}: " in said, "its line is taken back"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_who_wants_no_colour_gets_none(bmc: Bmc, proxy: UdpProxy, environ: dict[str, str]) -> None:
    proxy.blackhole = True
    said = in_time(
        lambda limit_s: seen(bmc, proxy.port, "-o", "off", f"--deadline={limit_s:g}", **environ),
        lambda said: "TERM" in environ or "waiting for" in said,
        8,
    )
    assert "ERROR: " in said
    assert "\x1b[1" not in said
    assert ("waiting for" in said) is ("TERM" not in environ)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "deadline_s", "what"),
    [
        (("-o", "reboot"), 14, "BMC [0-9.]+ to open a session"),
        (("-o", "list-status"), 14, "BMC [0-9.]+ to open a session"),
        (("-o", "off", "--delay=10"), 1, "the delay to pass"),
        (("-o", "status", "-S", "sleep 60"), 14, "password_script"),
    ],
    ids=["silent BMC", "list of states", "delay", "hanging script"],
)
def test_what_is_waited_for_is_told_again_and_again(
    bmc: Bmc, proxy: UdpProxy, arguments: tuple[str, ...], deadline_s: float, what: str
) -> None:
    """No line of nothing, whatever a call waits for."""
    proxy.blackhole = True
    said = in_time(
        lambda limit_s: seen(bmc, proxy.port, "-n", "n", *arguments, f"--deadline={limit_s:g}"),
        lambda said: len(ticks(said, what)) > 1,
        deadline_s,
    )
    assert len(ticks(said, what)) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "silent", "ends"),
    [
        (("-o", "reboot", "--deadline=8"), True, "no session within "),
        (("-o", "reboot", "-p", "wrong"), False, "wrong password for user ADMIN"),
        (("-o", "reboot"), False, "Success\x1b[0m: Rebooted"),
    ],
    ids=["silent BMC", "wrong password", "success"],
)
def test_no_two_seconds_of_nothing(
    bmc: Bmc, proxy: UdpProxy, arguments: tuple[str, ...], silent: bool, ends: str
) -> None:
    """From the start of the call to its end."""
    proxy.blackhole = silent
    command = [AGENT, *at(bmc, proxy.port), "-n", "n", *arguments]
    told = never_quiet_for(2, lambda: on_terminal(command, environ={**ENVIRONMENT, "TERM": "xterm"}))
    assert ends in told.text


def test_a_narrow_terminal_shows_the_time_left(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.blackhole = True
    lines = in_time(
        lambda limit_s: re.findall(
            r"\r\x1b\[K(waiting for BMC [^\r]*\.\.\.: \d+ s left)",
            seen(bmc, proxy.port, "-o", "off", f"--deadline={limit_s:g}", columns=44),
        ),
        lambda lines: len(set(lines)) > 1,
        12,
    )
    assert len(set(lines)) > 1
    assert max(map(len, lines)) < 44


def test_quiet_is_quiet(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.blackhole = True
    assert "waiting" not in seen(bmc, proxy.port, "-o", "off", "--deadline=3", "-q")


@pytest.mark.parametrize(("environ", "colour"), [({}, GREEN), ({"NO_COLOR": "1"}, ""), ({"TERM": "dumb"}, "")], ids=str)
def test_the_verdict_is_in_colour(bmc: Bmc, environ: dict[str, str], colour: str) -> None:
    said = seen(bmc, bmc.port, "-o", "off", "-n", "n", **environ)
    assert f"{colour}Success{colour and chr(27) + '[0m'}: Powered OFF\n" in said
    assert bool(colour) is ("\x1b[32m" in said)


def test_a_sentence_is_wrapped_at_words(bmc: Bmc) -> None:
    arguments = ("-o", "off", "-n", "n", "-p", "wrong")
    narrow = re.sub(r"\r\x1b\[K(waiting for [^\r]*)?|\x1b\[[\d;]*m", "", seen(bmc, bmc.port, *arguments, columns=50))
    assert max(map(len, narrow.splitlines())) <= 50
    sentence = f"ERROR: {bmc.address}: login: wrong password for user ADMIN: correct what it refuses, in the options or"
    assert sentence in " ".join(narrow.split())
    assert "\n    " in narrow


def test_a_word_that_is_wider_than_the_terminal_is_whole() -> None:
    leader, terminal = os.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 40, 0, 0))
        with open(terminal, "w", closefd=False) as stream:
            word = "/dev/disk/by-id/" + "0" * 30
            assert Terminal(stream, {"TERM": "xterm"}).sentence("agent: ", f"{word}: no") == f"agent: {word}:\n    no"
    finally:
        os.close(leader)
        os.close(terminal)


def test_a_plan_is_wrapped_at_words(bmc: Bmc) -> None:
    storage = ("-d", "/dev/sdb", "-k", "1", "--local-key=2")
    said = seen(bmc, bmc.port, "-o", "off", "-n", "n", *storage, "--dry-run", columns=60)
    assert "PREEMPT AND ABORT key 0x1 with this node's key 0x2" in " ".join(said.split())
    assert max(map(len, said.splitlines())) <= 60


def test_json_is_not_wrapped(bmc: Bmc) -> None:
    said = seen(bmc, bmc.port, "-o", "off", "-n", "n", "-p", "wrong", "--json", columns=60)
    (line,) = [line for line in said.splitlines() if "outcome" in line]
    assert json.loads(line[line.index("{") :])["outcome"] == "failure"


def test_a_cluster_manager_that_is_refused_gets_a_plain_line(bmc: Bmc) -> None:
    said = run([AGENT], "action=off\nip=\n", columns=40)
    assert said.startswith("fence_halvm: ERROR: ")
    assert ("\x1b" in said, said.count("\n")) == (False, 1)


def test_history_on_a_terminal(bmc: Bmc, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.db")
    seen(bmc, bmc.port, "-o", "off", "-n", "n", "-p", "wrong", f"--journal={journal}")
    recorded(journal)
    command = [AGENT, "-o", "history", "--limit=1", f"--journal={journal}"]
    said = run(command, columns=90)
    head, row, *error = said.splitlines()
    assert head.split()[-1] == "took"
    assert f"{RED}failure\x1b[0m  -" in row
    assert all(line.startswith("    ") and len(line) <= 90 for line in error)
    assert f"{bmc.address}: login: wrong password" in " ".join(said.split())
    assert "\x1b" not in run(command, environ={"NO_COLOR": "1"})


def test_history_on_a_terminal_that_is_narrower_than_its_table(bmc: Bmc, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.db")
    name = "serv-0001.cluster-of-the-second-floor.example.org"
    seen(bmc, bmc.port, "-o", "off", "-n", name, f"--journal={journal}")
    recorded(journal)
    said = run([AGENT, "-o", "history", f"--journal={journal}"], columns=80)
    assert re.search(
        rf": off of {name}: {re.escape(GREEN)}success\x1b\[0m, proved by power, \d", " ".join(said.split())
    )
    assert max(len(line) for line in re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()) <= 80


def test_a_cluster_manager_with_a_terminal_gets_lines_alone(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.blackhole = True
    lines = [
        f"ip={bmc.address}",
        f"ipport={proxy.port}",
        "username=ADMIN",
        "password=ADMIN",
        "action=off",
        "deadline=3",
    ]
    said = seen(bmc, proxy.port, stdin="\n".join([*lines, "journal=none", ""]))
    assert "ERROR: " in said
    assert "\x1b" not in said


def test_what_is_awaited() -> None:
    fence = plan(Action.OFF, ProofPolicy.SELF)
    assert awaited(fence, Facts()) == "BMC bmc to open a session and the fence race on the LUNs"
    assert awaited(fence, Facts.of([SessionOpened()])) == "the fence race on the LUNs"
    assert awaited(fence, Facts.of([SessionOpened(), WON])) == "BMC bmc to show the chassis power and the LUNs"
    assert awaited(fence, Facts.of([WON, StorageDone(1), PowerDone()])) == "victim to reset itself"
    assert awaited(plan(storage=False), Facts.of([PowerDone()])) == "the end"
