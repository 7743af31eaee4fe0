# SPDX-License-Identifier: Apache-2.0
"""The man pages as packages install them, by two formatters."""

import shutil
import subprocess
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).resolve().parents[2] / "packaging").glob("*.8"))


@pytest.mark.peer
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize(
    "command",
    [("groff", "-ww", "-rCHECKSTYLE=2", "-man", "-Tutf8", "-z"), ("mandoc", "-T", "lint", "-W", "warning")],
    ids=lambda command: command[0],
)
def test_it_formats_without_a_warning(command: tuple[str, ...], page: Path) -> None:
    """mandoc's remarks on style are left out: it wants lines of the source to be short."""
    assert shutil.which(command[0]), "install what tests/host-packages.txt lists"
    done = subprocess.run([*command, page], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_there_is_a_page_for_each_program() -> None:
    assert {page.stem for page in PAGES} == {"fence_halvm", "halvm-watchdogd", "halvmctl", "halvm-exporter"}
