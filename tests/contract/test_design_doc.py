# SPDX-License-Identifier: Apache-2.0
"""docs/design.md: the tests in its failure table exist, and so do the files and folders that it names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs" / "design.md").read_text()


def test_each_row_of_the_failure_table_names_its_tests():
    table = DESIGN.partition("## Failure table")[2]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row[3])
        assert named, row
        assert set(named) <= defined, set(named) - defined


def test_each_file_that_it_names_exists():
    named = re.findall(r"`((?:fencer|tests|docs|packaging)/[\w/.-]+)`", DESIGN)
    assert len(named) > 6
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_its_tree_is_the_tree():
    """Each folder is listed under its parent, and no folder of programs is missing."""
    listed: set[str] = set()
    parents: list[str] = []
    for indent, name in re.findall(r"^    ( *)([a-z]+)/ ", DESIGN.partition("## The tree")[2], re.MULTILINE):
        parents[len(indent) // 2 :] = [name]
        listed.add("/".join(parents))
    assert [name for name in listed if not (ROOT / name).is_dir()] == []
    packages = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "fencer").rglob("*.py")}
    assert packages <= listed
