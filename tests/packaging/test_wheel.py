# SPDX-License-Identifier: Apache-2.0
"""The wheel, for who installs from source: what it brings, and that it runs. All other tests run what the .deb has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = ("fence_halvm", "halvm-watchdogd", "halvmctl", "halvm-exporter")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed this tree, beside the libraries of this virtual environment."""
    target = tmp_path_factory.mktemp("wheel") / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--target", target, PROJECT], check=True, timeout=300, stdin=subprocess.DEVNULL)
    return target


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_has_the_programs_pages_and_units_and_runs(installed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for program in PROGRAMS:
        command = [installed / "bin" / program, "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, ""), program
        assert (installed / f"share/man/man8/{program}.8").is_file()
        assert (installed / f"share/bash-completion/completions/{program}").is_file()
        assert (installed / f"share/zsh/site-functions/_{program}").is_file()
    for unit in ("halvm-watchdogd.service", "halvm-watchdogd-storage.service", "halvm-exporter.service"):
        assert (installed / "share/fence-halvm" / unit).is_file()
