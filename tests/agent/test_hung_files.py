# SPDX-License-Identifier: Apache-2.0
"""A file on a file system that hangs is never waited for past the deadline, and a fence that can do without goes on."""

from collections.abc import Iterator

import pytest

from tests.agent.halvm import AGENT, Call, Outcome
from tests.agent.test_broken_files import stdin
from tests.rig.bmc import Bmc
from tests.rig.hung_files import HungFiles
from tests.rig.journal import own_journal, own_state_dir

DEADLINE_S = 45
"""A busy machine takes longer to start and to log in than the files are waited for."""

SOONER_S = 44.0


@pytest.fixture(scope="module")
def hung() -> Iterator[HungFiles]:
    with HungFiles() as files:
        yield files


def call(hung: HungFiles, *argv: str, stdin: str | None = None) -> Outcome:
    """Fails where the call does not end. A child that hangs in state D is left until the file system is gone."""
    return Call(*argv, stdin=stdin, program=(*hung.seeing, AGENT)).end()


def lines(hung: HungFiles, **options: str) -> tuple[str, ...]:
    given = {"journal": str(own_journal()), "state_dir": str(own_state_dir()), "deadline": str(DEADLINE_S)} | options
    return tuple(f"{name}={value}" for name, value in given.items())


NOT_NEEDED = [
    ("cluster_conf", "looks"),
    ("cluster_conf", "opens"),
    ("cluster_conf", "reads"),
    ("state_dir", "looks"),
    ("state_dir", "there"),
    ("debug_file", "looks"),
    ("debug_file", "opens"),
    ("debug_file", "writes"),
    ("journal", "there/journal.db"),
]


@pytest.mark.parametrize(("option", "name"), NOT_NEEDED)
def test_a_fence_that_names_everything_itself_goes_on(hung: HungFiles, bmc: Bmc, option: str, name: str) -> None:
    outcome = call(hung, stdin=stdin(bmc, *lines(hung, **{option: hung.path(name)})))
    assert (outcome.status, outcome.stdout, bmc.power) == (0, "Success: Powered OFF\n", "off"), outcome.stderr
    assert outcome.took_s < SOONER_S
    if option != "journal":  # its own process says so in the system log
        warnings = [line for line in outcome.lines if line.startswith("WARNING")]
        assert len(warnings) == 1
        assert "no answer within 2 s" in warnings[0]


@pytest.mark.parametrize("name", ["looks", "opens", "reads"])
def test_a_file_that_is_needed_is_one_sentence(hung: HungFiles, name: str) -> None:
    path = hung.path(name)
    outcome = call(hung, f"--journal={own_journal()}", f"--cluster-conf={path}", "-o", "off", "-n", "serv-0001")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert len(outcome.lines) == 1
    assert path in outcome.lines[0]
    assert "no answer within 2 s: " in outcome.lines[0]
    assert outcome.took_s < SOONER_S


@pytest.mark.parametrize("name", ["looks", "opens"])
def test_a_password_script_that_hangs_is_given_up(hung: HungFiles, bmc: Bmc, name: str) -> None:
    given = stdin(bmc, *lines(hung, password_script=hung.path(name), action="monitor")).replace("passwd=ADMIN\n", "")
    outcome = call(hung, stdin=given)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert any("password_script: " in line for line in outcome.lines)
    assert outcome.took_s < SOONER_S


def test_what_hangs_is_told_by_validate_all(hung: HungFiles, bmc: Bmc) -> None:
    given = stdin(bmc, *lines(hung, cluster_conf=hung.path("reads"), action="validate-all"))
    outcome = call(hung, stdin=given)
    assert any("no answer within 2 s" in line for line in outcome.lines)
    assert outcome.took_s < SOONER_S
