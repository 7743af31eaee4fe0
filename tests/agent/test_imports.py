# SPDX-License-Identifier: Apache-2.0
"""What a call loads: Pacemaker asks for metadata often, and a fence is downtime (docs/decisions/0004)."""

import subprocess

import pytest

from tests.agent.halvm import AGENT, ENVIRONMENT, at
from tests.rig.bmc import Bmc


def modules_loaded(*argv: str) -> set[str]:
    """By the process that the caller starts, as CPython reports them (its children have no stderr)."""
    environment = {**ENVIRONMENT, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run([AGENT, *argv], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("argv", [("-o", "metadata"), ("--help",), ("--version",)])
def test_documentation_loads_nothing_of_fencing(argv: tuple[str, ...]) -> None:
    loaded = modules_loaded(*argv)
    assert "fencer.agent.options" in loaded
    for library in ("pyghmi", "pyudev", "ctypes", "dataclasses", "socket", "fencer.agent.run", "fencer.model"):
        assert library not in loaded


def test_power_alone_loads_nothing_of_storage(bmc: Bmc) -> None:
    loaded = modules_loaded(*at(bmc), "-o", "status")
    assert "fencer.agent.run" in loaded
    for library in ("pyudev", "dataclasses", "subprocess", "fencer.storage.pr", "fencer.storage.nexus"):
        assert library not in loaded
