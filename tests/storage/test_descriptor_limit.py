# SPDX-License-Identifier: Apache-2.0
"""The limit of open descriptors of the processes that open the paths of LUNs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_STORAGE_WORKER = """
from fencer.agent.storage_worker import storage_job
class Silent:
    def receive(self): return None
storage_job(Silent())
"""
_SIDECAR = """
import fencer.sidecar.processes as processes
processes.keep_loaded = lambda: None
processes.jobs("this-boot", 1, 2)
"""
_FILE = """
import os
from fencer import network_file
from fencer.storage.descriptor_limit import raise_descriptor_limit
raise_descriptor_limit()
opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]  # select(2) ends at 1023
network_file.may_hang = lambda path: True
assert network_file.in_time(lambda: 5, "/file", 60.0) == 5
"""


def _limit_after(code: str, soft: int, hard: int) -> str:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n{code}"
    told = f"{limited}\nprint(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


@pytest.mark.parametrize("code", [_STORAGE_WORKER, _SIDECAR, _FILE])
def test_hundreds_of_paths_can_be_opened(code: str) -> None:
    assert _limit_after(code, 256, 4096) == "4096 4096"


def test_a_limit_that_is_high_enough_stays() -> None:
    assert _limit_after(_STORAGE_WORKER, 4096, 4096) == "4096 4096"
