# SPDX-License-Identifier: Apache-2.0
"""Each benchmark that is a command of its own can be loaded, and says how it is called."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IN_A_GUEST = {"sidecar_on_files"}
"""What another benchmark starts."""
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if '__name__ == "__main__"' in path.read_text() and path.stem not in {*IN_A_GUEST, "__main__"}
)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_says_how_it_is_called(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m benchmarks.{name}")


def test_there_are_some() -> None:
    assert "storage_peer" in COMMANDS
