# SPDX-License-Identifier: Apache-2.0
"""--help, the man page and docs/options.md: golden, current, and without a formatter's warning."""

import os
import re
import subprocess
import sys
from pathlib import Path

import peer_options
import pytest

from fencer.agent.manual import MARKDOWN_COMMAND, help_text, main, man_page, options_markdown, options_table
from fencer.agent.metadata import AGENT
from fencer.agent.option import Effect, Group, Origin
from fencer.agent.options import ACTIONS, OPTIONS
from fencer.errors import UsageError

GOLDEN = Path(__file__).parent / "golden"
PAGE = Path(__file__).parents[2] / "packaging" / "fence_halvm.8"
DOCS = Path(__file__).parents[2] / "docs" / "options.md"


def test_help_is_golden():
    """After a wanted change: ``python -m fencer.agent.manual help > tests/contract/golden/help.txt``."""
    assert help_text() == (GOLDEN / "help.txt").read_text()


def test_the_packaged_man_page_is_current():
    assert man_page() == PAGE.read_text(), "run make texts"


def test_docs_are_current():
    assert options_markdown() == DOCS.read_text(), f"run {MARKDOWN_COMMAND}"


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_help_fits_and_keeps_its_words(columns):
    lines = help_text(columns).splitlines()
    examples = [line for line in lines if line.startswith(f"    {AGENT} ")]
    assert len(examples) > 2, "whole lines, to be copied"
    longest = 8 + len("(callback|user|operator|administrator,")  # a word is not broken
    assert all(len(line) <= max(columns, longest) for line in lines if line not in examples)
    assert " ".join(help_text(columns).split()) == " ".join(help_text().split())


def test_help_has_each_option_once_under_its_group():
    text = help_text()
    for row in OPTIONS:
        assert len(re.findall(rf"^ +{re.escape(row.synopsis)}( |$)", text, re.MULTILINE)) == 1
    start = {group: text.index(f"\n{group.value}:\n") for group in Group}
    assert start[Group.POWER] < text.index("\n  -a, --ip=[ip]") < start[Group.STORAGE]
    assert text.index("\nAccepted for other agents' callers, ignored:\n") < text.index("\n  -P, --lanplus")


def test_help_names_every_action_and_the_man_page():
    text = help_text()
    assert all(re.search(rf"^  ([a-z, -]+, )?{action}\b", text, re.MULTILINE) for action in ACTIONS)
    assert text.endswith("man fence_halvm\n")


@pytest.mark.parametrize(("told", "expected"), [("60", 60), ("", 80), ("wide", 80), ("200", 100)])
def test_help_is_as_wide_as_columns_says(told, expected):
    command = [Path(sys.executable).with_name("fence_halvm"), "--help"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env=os.environ | {"COLUMNS": told}
    )
    assert done.stdout == help_text(expected)


def test_every_option_is_in_every_text():
    for row in OPTIONS:
        assert row.short_description.replace("-", "\\-").replace("'", "\\(aq") in man_page()
        assert f"| `{row.name}`" in options_markdown()


def test_a_table_for_the_readme():
    ours = options_table(Effect.USED, Origin.OURS)
    assert ours.count("\n") == 2 + sum(row.origin is Origin.OURS for row in OPTIONS)
    assert all(line.replace("\\|", "").count("|") == 6 for line in ours.splitlines())


@pytest.mark.peer
@pytest.mark.parametrize(
    "command",
    [
        ["man", "--warnings", "-E", "UTF-8", "-l"],
        ["groff", "-ww", "-rCHECKSTYLE=2", "-man", "-Tutf8", "-z"],
        ["groff", "-ww", "-man", "-Thtml", "-z"],
    ],
    ids=lambda command: " ".join(command),
)
def test_the_man_page_formats_without_a_warning(command, tmp_path):
    page = tmp_path / "fence_halvm.8"
    page.write_text(man_page())
    program = peer_options.needs(command[0])
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [program, *command[1:], str(page)], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    if command[0] == "man":
        assert "fence_halvm" in done.stdout
        assert "--power-timeout=[seconds]" in done.stdout


@pytest.mark.peer
def test_whatis_finds_the_name_line(tmp_path):
    page = tmp_path / "fence_halvm.8"
    page.write_text(man_page())
    lexgrog = peer_options.needs("lexgrog")
    done = subprocess.run([lexgrog, str(page)], capture_output=True, text=True, timeout=60, check=False)
    assert '"fence_halvm - Fence agent for shared-disk' in done.stdout


def test_the_printing_command(capsys):
    assert main(["man"]) == 0
    assert capsys.readouterr().out == man_page()
    for wrong in ([], ["html"], ["man", "help"]):
        with pytest.raises(UsageError, match="give one of help, man, markdown"):
            main(wrong)
