# SPDX-License-Identifier: Apache-2.0
"""The units as systemd judges them, against what the pages say."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.peer
@pytest.mark.parametrize(
    ("unit", "page", "sentence"),
    [
        ("halvm-watchdogd", "watchdogd.md", 'exposure {}, "OK"'),
        ("halvm-exporter", "exporter.md", "**{} OK**"),
        ("halvm-watchdogd-storage", "packaging.md", "halvm-watchdogd-storage has {}, UNSAFE"),
    ],
)
def test_the_exposure_is_as_the_page_says(unit: str, page: str, sentence: str) -> None:
    """Newer versions of systemd may find more: the pages name the version."""
    assert shutil.which("systemd-analyze"), "install what tests/host-packages.txt lists"
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", PROJECT / f"packaging/{unit}.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(rf"Overall exposure level for {unit}.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert sentence.format(found[1]) in (PROJECT / "docs" / page).read_text()
