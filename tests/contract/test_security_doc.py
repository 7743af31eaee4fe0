# SPDX-License-Identifier: Apache-2.0
"""docs/security.md: each row of attackers names tests that exist; SECURITY.md says how to report."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    table = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_each_row_names_tests_that_exist() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    found = rows("Attackers and what they want")
    assert len(found) > 15
    for row in found:
        assert len(row) == 5, row
        assert all(row), row
        named = re.findall(r"`(test_\w+)`", row[4])
        assert named, row
        assert set(named) <= defined, set(named) - defined


def test_whoever_is_trusted_is_told_what_to_configure() -> None:
    found = rows("Who is trusted")
    assert {row[0] for row in found} >= {"the peer node", "the BMC of a node", "the exporter", "local users of a node"}
    assert all(len(row) == 4 and all(row) for row in found)


def test_how_to_report_is_said_and_linked() -> None:
    assert "in private" in (ROOT / "SECURITY.md").read_text()
    assert "(../SECURITY.md)" in TEXT
    assert "docs/security.md" in (ROOT / "README.md").read_text()


def test_every_link_leads_somewhere() -> None:
    for page, place in ((TEXT, ROOT / "docs"), ((ROOT / "SECURITY.md").read_text(), ROOT)):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page):
            assert (place / target).exists(), target
