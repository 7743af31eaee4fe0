# SPDX-License-Identifier: Apache-2.0
import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def our_programs(monkeypatch):
    """fence_halvm and halvm-watchdogd are those of this tree."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
