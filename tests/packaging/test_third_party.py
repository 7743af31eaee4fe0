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


def test_each_c_library_has_a_row() -> None:
    """The libraries that the code names by their sonames."""
    code = "".join(path.read_text() for path in (PROJECT / "fencer").rglob("*.py"))
    names = {f"lib{name}" for name in re.findall(r"\blib([a-z]+[0-9]*)[-.0-9]*\.so\b", code)} - {"libc"}
    page = (PROJECT / "THIRD-PARTY.md").read_text()
    assert names >= {"libcrypto", "libiscsi", "libsgutils2"}
    assert {name for name in names if not re.search(rf"^\| {name}\b", page, re.MULTILINE)} == set()
