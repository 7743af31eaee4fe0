# SPDX-License-Identifier: Apache-2.0
"""``--help`` of the four programs: as wide as the terminal, with examples and the man page."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = {
    "fence_halvm": "agents/fence_halvm.py",
    "halvm-watchdogd": "agents/halvm_watchdogd.py",
    "halvmctl": "agents/halvmctl.py",
    "halvm-exporter": "exporters/halvm_exporter.py",
}
WORDS = {"halvm-watchdogd": ("status", "last", "pause", "resume", "run"), "halvmctl": ("status", "check")}


def shown(program: str, *words: str, columns: int) -> list[str]:
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"}
    command = [sys.executable, ROOT / PROGRAMS[program], *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True)
    return done.stdout.splitlines()


def is_command(line: str) -> bool:
    """What an example types is not broken: it is there to be copied."""
    return line.split()[0] in (*PROGRAMS, "systemctl", "curl")


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_fits_the_width(program: str, columns: int) -> None:
    for words in ((), *((word,) for word in WORDS.get(program, ()))):
        wide = [line for line in shown(program, *words, columns=columns) if len(line) > columns]
        assert all(map(is_command, wide)), wide


def test_the_agent_s_fits_half_a_screen_but_for_words_that_cannot_be_broken() -> None:
    wide = [line for line in shown("fence_halvm", columns=40) if len(line) > 40 and not is_command(line)]
    assert all(len(line.split()) == 1 for line in wide), wide


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_has_examples_and_names_the_man_page(program: str) -> None:
    lines = shown(program, columns=80)
    assert any(line.lower() == "examples:" for line in lines)
    assert lines[-1].endswith(f"man {program}")


def test_a_path_is_not_broken_at_its_hyphen() -> None:
    assert any("/etc/fence-halvm/watchdogd.toml" in line for line in shown("halvm-watchdogd", "pause", columns=50))


def test_the_meaning_of_an_example_has_a_line_of_its_own_where_it_does_not_fit() -> None:
    wide, narrow = (shown("halvmctl", columns=columns) for columns in (80, 50))
    assert "  halvmctl check              before the night it is needed; as root" in wide
    at = narrow.index("  halvmctl check")
    assert narrow[at + 1] == "      before the night it is needed; as root"
