# SPDX-License-Identifier: Apache-2.0
"""THIRD-PARTY.md names the licence of everything that the programs depend on."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_each_dependency_has_a_row() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["exporter"]]
    names = {re.split(r"[<>=~!\[; ]", each)[0] for each in wanted}
    page = (PROJECT / "THIRD-PARTY.md").read_text()
    assert {name for name in names if not re.search(rf"^\| {re.escape(name)} \|", page, re.MULTILINE)} == set()
