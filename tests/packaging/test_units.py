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
    assert shutil.which("systemd-analyze"), "install what tests/host-packages.txt lists"
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", PROJECT / f"packaging/{unit}.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(rf"Overall exposure level for {unit}.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    said = re.search(re.escape(sentence).replace(r"\{\}", "([0-9.]+)"), (PROJECT / "docs" / page).read_text())
    assert said is not None
    # The pages name systemd 252. Another version counts differently by some tenths.
    assert float(found[1]) == pytest.approx(float(said[1]), abs=0.01 if _systemd() == 252 else 0.5)


def _systemd() -> int:
    told = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, timeout=60, check=True)
    return int(told.stdout.split()[1].partition(".")[0])
