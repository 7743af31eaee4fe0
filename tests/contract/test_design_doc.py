"""docs/design.md: each row of the failure table names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_row_of_the_failure_table_names_its_tests():
    table = (ROOT / "docs" / "design.md").read_text().partition("## Failure table")[2]
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
