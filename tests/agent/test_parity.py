# SPDX-License-Identifier: Apache-2.0
"""Exit status and stdout equal fence_ipmilan's on the same BMC. docs/peer-differences.md has the exceptions."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.agent.halvm import Outcome, at, halvm, ipmilan, together
from tests.rig import require_program
from tests.rig.bmc import Bmc

pytestmark = pytest.mark.peer

DIFFERENCES = Path(__file__).parents[2] / "docs" / "peer-differences.md"

Program = Callable[..., Outcome]
FAST = ("-P", "-C", "3", "--power-wait=0", "--power-timeout=1", "--retry-on=1")
SHORT = "--deadline=4"
"""Where a BMC refuses a command by a code that may pass: ours asks again until the deadline."""
PATIENT = (*FAST, "--power-timeout=20")
"""Where all goes well: nothing waits, but on a busy machine the peer's ipmitool may take more than a second."""


@pytest.fixture(scope="module", autouse=True)
def _peer() -> None:
    require_program("fence_ipmilan", "fence-agents")
    require_program("ipmitool", "ipmitool")


class Side:
    """What one program did to a node in a given state."""

    def __init__(self, program: Program, bmc: Bmc, power: str, argv: tuple[str, ...], stdin: str | None = None) -> None:
        bmc.power = power
        (bmc.chassis / "log").write_text("")
        self.outcome = program(*argv, stdin=stdin)
        self.power = bmc.power
        self.went_through = [event.words[1] for event in bmc.log() if event.words[0] == "now"]

    @property
    def seen(self) -> tuple[int, str, str]:
        """What has to be equal."""
        return self.outcome.status, self.outcome.stdout, self.power


def both(bmc: Bmc, power: str, argv: tuple[str, ...], stdin: str | None = None) -> tuple[Side, Side]:
    """Peer first."""
    return Side(ipmilan, bmc, power, argv, stdin), Side(halvm, bmc, power, argv, stdin)


ACTIONS = [
    ("on", "off", 0, "Success: Powered ON\n"),
    ("on", "on", 0, "Success: Already ON\n"),
    ("off", "on", 0, "Success: Powered OFF\n"),
    ("off", "off", 0, "Success: Already OFF\n"),
    ("reboot", "on", 0, "Success: Rebooted\n"),
    ("reboot", "off", 0, "Success: Rebooted\n"),
    ("status", "on", 0, "Status: ON\n"),
    ("status", "off", 2, "Status: OFF\n"),
    ("monitor", "on", 0, ""),
    ("monitor", "off", 0, ""),
    ("validate-all", "on", 0, ""),
]


@pytest.mark.parametrize("by", ["argv", "stdin"])
@pytest.mark.parametrize(("action", "power", "status", "stdout"), ACTIONS)
def test_an_action_ends_as_the_peers(bmc: Bmc, action: str, power: str, status: int, stdout: str, by: str) -> None:
    if by == "argv":
        peer, ours = both(bmc, power, (*at(bmc), *PATIENT, "-o", action))
    else:
        lines = ["lanplus=1", "cipher=3", "power_wait=0", f"ipaddr={bmc.address}", f"ipport={bmc.port}"]
        lines += ["login=ADMIN", "passwd=ADMIN", f"action={action}"]
        peer, ours = both(bmc, power, (), "\n".join(lines) + "\n")
    assert ours.seen == peer.seen
    assert (ours.outcome.status, ours.outcome.stdout) == (status, stdout)
    if power == "off" and action in ("off", "reboot"):
        assert ours.went_through == ["off", *peer.went_through]
        explained("`off` and `reboot` of a node that is found off")
    else:
        assert ours.went_through == peer.went_through


@pytest.mark.parametrize(("username", "password"), [("ADMIN", "wrong"), ("nobody", "ADMIN")])
def test_a_refused_login_fails_as_the_peers(bmc: Bmc, username: str, password: str) -> None:
    argv = (*at(bmc, username=username, password=password), *FAST, "-o")
    programs = [ipmilan, halvm]
    actions = ["status", "off", "reboot", "on", "monitor"]
    outcomes = together(partial(program, *argv, action) for program in programs for action in actions)
    assert {(outcome.status, outcome.stdout) for outcome in outcomes} == {(1, "")}
    assert bmc.commands() == []


@pytest.mark.slow
@pytest.mark.parametrize(("action", "power"), [("off", "on"), ("reboot", "on"), ("on", "off")])
def test_a_refused_command_fails_as_the_peers(bmc: Bmc, action: str, power: str) -> None:
    bmc.refuse()
    argv = (*at(bmc), *FAST, "-o", action)
    peer, ours = Side(ipmilan, bmc, power, argv), Side(halvm, bmc, power, (*argv, SHORT))
    assert ours.seen == peer.seen == (1, "", power)
    assert ours.went_through == []


def test_a_refusal_does_not_matter_where_nothing_is_to_do(bmc: Bmc) -> None:
    bmc.refuse()
    peer, ours = both(bmc, "off", (*at(bmc), *PATIENT, "-o", "off"))
    assert ours.seen == peer.seen == (0, "Success: Already OFF\n", "off")


@pytest.mark.parametrize("level", ["operator", "administrator"])
def test_a_sufficient_privilege_works_as_the_peers(bmc: Bmc, level: str) -> None:
    peer, ours = both(bmc, "on", (*at(bmc, username="oper", password="oper"), *PATIENT, "-o", "off", "-L", level))
    assert ours.seen == peer.seen == (0, "Success: Powered OFF\n", "off")


def test_the_privilege_user_may_look_and_not_touch_as_the_peers(bmc: Bmc) -> None:
    argv = (*at(bmc, username="user", password="test"), *PATIENT, "-L", "user")
    peer, ours = both(bmc, "on", (*argv, "-o", "status"))
    assert ours.seen == peer.seen == (0, "Status: ON\n", "on")
    peer, ours = both(bmc, "on", (*argv, "-o", "off"))
    assert ours.seen == peer.seen == (1, "", "on")


def test_a_monitor_with_too_low_a_privilege_fails_and_says_so(bmc: Bmc) -> None:
    outcome = halvm(*at(bmc, username="user", password="test"), "-L", "user", "-o", "monitor")
    assert outcome.status == 1
    assert "privlvl: user cannot switch power" in outcome.stderr


@pytest.mark.slow  # the peer takes 20 s to give up
@pytest.mark.parametrize("action", ["status", "off", "monitor"])
def test_an_unreachable_bmc_fails_as_the_peers(bmc: Bmc, action: str) -> None:
    argv = ("-a", "127.0.7.253", "-l", "ADMIN", "-p", "ADMIN", *FAST, "-o", action)
    peer, ours = ipmilan(*argv), halvm(*argv, "--deadline=3")
    assert (ours.status, ours.stdout) == (peer.status, peer.stdout) == (1, "")


@pytest.mark.parametrize(
    "argv",
    [
        ("-o", "status"),
        ("-o", "off"),
        (),
        ("-o", "explode", "-a", "127.0.0.1"),
        ("--no-such-option",),
        ("-a", "127.0.0.1", "-u", "x"),
        ("-a", "127.0.0.1", "-L", "king"),
        ("-a", "127.0.0.1", "-m", "hammer"),
    ],
)
def test_bad_input_fails_as_the_peers(argv: tuple[str, ...]) -> None:
    stdin = None if argv else "\n"
    peer, ours = ipmilan(*argv, stdin=stdin), halvm(*argv, stdin=stdin)
    assert (ours.status, ours.stdout) == (peer.status, peer.stdout) == (1, "")


@pytest.mark.parametrize("action", ["metadata", "manpage"])
def test_documentation_is_given_as_by_the_peer(action: str) -> None:
    peer, ours = ipmilan("-o", action), halvm("-o", action)
    assert ours.status == peer.status == 0
    assert ours.stdout
    assert peer.stdout


def test_version_and_help_succeed_as_the_peers() -> None:
    for option in ("--version", "--help"):
        peer, ours = ipmilan(option), halvm(option)
        assert ours.status == peer.status == 0
        assert ours.stdout


# --- differences on purpose: each has a row in docs/peer-differences.md, found by the word in its first column ------


def explained(word: str) -> None:
    rows = [line.split("|")[1].strip() for line in DIFFERENCES.read_text().splitlines() if line.startswith("| ")]
    assert any(word in row for row in rows), f"docs/peer-differences.md does not explain {word}"


def test_list_prints_names_or_nothing(bmc: Bmc) -> None:
    peer, ours = both(bmc, "on", (*at(bmc), *PATIENT, "-o", "list"))
    assert peer.outcome.stdout.startswith("NOTICE:")  # Pacemaker would take each word for a node
    assert (ours.outcome.status, ours.outcome.stdout) == (0, "")
    explained("list")


def test_list_status_tells_the_state(bmc: Bmc) -> None:
    argv = (*at(bmc), *PATIENT, "-o", "list-status")
    assert Side(ipmilan, bmc, "on", argv).outcome.stdout.startswith("NOTICE:")
    ours = Side(halvm, bmc, "on", (*argv, "-n", "serv-0001"))
    assert (ours.outcome.status, ours.outcome.stdout) == (0, "serv-0001,,ON\n")
    explained("list-status")


def test_a_plug_names_the_node(bmc: Bmc) -> None:
    peer, ours = both(bmc, "on", (*at(bmc), *PATIENT, "-o", "status", "-n", "serv-0001"))
    assert (peer.outcome.status, ours.outcome.status) == (1, 0)
    explained("`-n`")


def test_method_cycle_sees_the_node_off(bmc: Bmc) -> None:
    peer, ours = both(bmc, "on", (*at(bmc), *PATIENT, "-o", "reboot", "-m", "cycle"))
    assert (peer.outcome.status, ours.outcome.status) == (0, 0)
    assert "off" in ours.went_through
    explained("cycle")


@pytest.mark.parametrize("suite", ["1", "0", "8", "12", "03"])
def test_with_another_cipher_suite_ours_are_tried(bmc: Bmc, suite: str) -> None:
    """Recipes for iDRAC and OpenStack name suite 1."""
    ours = halvm(*at(bmc), "-o", "status", "-C", suite)
    assert (ours.status, ours.stdout) == (0, "Status: ON\n")
    warned = [line.startswith("WARNING: cipher: only suites 3 and 17") for line in ours.lines]
    assert warned == ([] if suite == "03" else [True])
    explained("cipher")


def test_diag_fails_as_the_peers_where_the_bmc_cannot(bmc: Bmc) -> None:
    argv = (*at(bmc), *FAST, "-o", "diag")
    peer, ours = Side(ipmilan, bmc, "on", argv), Side(halvm, bmc, "on", (*argv, SHORT))
    assert ours.seen == peer.seen == (1, "", "on")
    explained("diag")


@pytest.mark.parametrize(
    "word",
    ["privlvl", "power_wait", "deadline", "stderr", "password", "lanplus", "delay", "unknown option", "missing"],
)
def test_other_differences_are_explained(word: str) -> None:
    explained(word)
