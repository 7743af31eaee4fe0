# SPDX-License-Identifier: Apache-2.0
"""``--json``: one object a line with the documented fields, for people's scripts; refused to cluster managers."""

import json
import signal
import time

import pytest

from fencer.agent.manual import JSON_FIELDS
from tests.agent.halvm import Call, Outcome, at, halvm
from tests.rig.bmc import Bmc

FIELDS = {name for name, _ in JSON_FIELDS}


def only(outcome: Outcome) -> dict[str, object]:
    """The one object that was printed."""
    (line,) = outcome.stdout.splitlines()
    found: dict[str, object] = json.loads(line)
    return found


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("off", {"result": "Success: Powered OFF", "state": "off", "proofs": ["power"]}),
        ("reboot", {"result": "Success: Rebooted", "state": "on", "proofs": ["power"]}),
        ("on", {"result": "Success: Already ON", "state": "on", "proofs": []}),
        ("status", {"result": "Status: ON", "state": "on", "proofs": []}),
        ("monitor", {"result": "", "state": "on", "proofs": []}),
    ],
)
def test_an_action_is_one_object(bmc: Bmc, action: str, expected: dict[str, object]) -> None:
    outcome = halvm(*at(bmc), "-o", action, "-n", "serv-0001", "--json")
    told = only(outcome)
    assert set(told) == FIELDS
    assert (outcome.status, told["exit_status"], told["outcome"]) == (0, 0, "success"), outcome.stderr
    assert (told["action"], told["node"], told["bmc"]) == (action, "serv-0001", bmc.address)
    assert {name: told[name] for name in expected} == expected
    assert told["reasons"] == []
    assert told["weak"] is False


def test_status_of_a_node_that_is_off(bmc: Bmc) -> None:
    bmc.power = "off"
    outcome = halvm(*at(bmc), "-o", "status", "--json")
    told = only(outcome)
    assert (outcome.status, told["exit_status"], told["outcome"], told["state"]) == (2, 2, "success", "off")
    assert told["node"] is None


def test_a_failure_has_its_reasons_and_stderr_stays(bmc: Bmc) -> None:
    wrong = (*at(bmc, password="wrong"), "-o", "off", "-n", "serv-0001")
    outcome = halvm(*wrong, "--json")
    told = only(outcome)
    assert (outcome.status, told["exit_status"], told["outcome"], told["result"]) == (1, 1, "failure", "")
    assert [f"ERROR: {reason}" for reason in told["reasons"]] == outcome.lines == halvm(*wrong).lines  # type: ignore[attr-defined]


def test_an_interrupted_call_is_unknown(bmc: Bmc) -> None:
    bmc.lag(off_s=60)
    call = Call(*at(bmc), "-o", "off", "-n", "serv-0001", "--json")
    until = time.monotonic() + 30
    while not bmc.commands() and time.monotonic() < until:
        time.sleep(0.05)
    call.kill(signal.SIGTERM)
    outcome = call.end()
    told = only(outcome)
    assert (outcome.status, told["exit_status"], told["outcome"]) == (1, 1, "unknown")
    assert told["state"] != "off"
    assert "interrupted by SIGTERM" in str(told["reasons"])


def test_lists(bmc: Bmc) -> None:
    assert only(halvm(*at(bmc), "-o", "list", "-n", "serv-0001", "--json")) == {"node": "serv-0001"}
    states = halvm(*at(bmc), "-o", "list-status", "-n", "serv-0001", "--json")
    assert only(states) == {"node": "serv-0001", "state": "on"}
    unknown = halvm(*at(bmc, password="wrong"), "-o", "list-status", "-n", "serv-0001", "--json")
    assert only(unknown) == {"node": "serv-0001", "state": None}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("-o", "metadata"), "json: metadata prints no result: leave --json out, or give one of on, off, "),
        (("-o", "validate-all"), "json: validate-all prints no result: "),
        (("-o", "off", "--dry-run"), "json: dry_run prints a plan, which is text: leave --json or --dry-run out"),
    ],
)
def test_refused_where_it_has_no_meaning(bmc: Bmc, more: tuple[str, ...], why: str) -> None:
    outcome = halvm(*at(bmc), *more, "-n", "serv-0001", "--json")
    assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
    assert outcome.lines[0].startswith(f"ERROR: {why}")


def test_refused_to_cluster_managers(bmc: Bmc) -> None:
    given = f"ip={bmc.address}\nipport={bmc.port}\nusername=ADMIN\npassword=ADMIN\naction=off\nplug=n\njson=1\n"
    outcome = halvm(stdin=given)
    assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
    assert outcome.lines[0].startswith("ERROR: json: only for a person or a script on the command line")
    assert bmc.power == "on"


def test_help_wins() -> None:
    assert halvm("--help", "--json").stdout.startswith("Usage: fence_halvm")
