# SPDX-License-Identifier: Apache-2.0
"""The version stands in one place, and CHANGELOG.md knows it."""

import re
from pathlib import Path

from fencer import __version__

PROJECT = Path(__file__).resolve().parents[2]
PLACES = ("packaging", "agents", "exporters", "pyproject.toml", "package.mk", "README.md", "docs/packaging.md")
SAMPLES = {"fence-halvm.test.yml"}
"""Files that name some version as an example."""


def test_no_other_file_of_the_packages_has_a_version_of_its_own() -> None:
    files = [file for place in PLACES for file in [PROJECT / place, *(PROJECT / place).rglob("*")] if file.is_file()]
    texts = {file: file.read_text() for file in files if file.suffix not in (".pyc", ".json")}
    assert not [
        str(file)
        for file, text in texts.items()
        if file.name not in SAMPLES and re.search(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])", text)
    ]


def test_the_newest_heading_of_the_changelog_is_this_version_or_still_open() -> None:
    heading = re.search(r"^## (.*)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert heading[1] == "Unreleased" or heading[1].split()[0] == __version__
