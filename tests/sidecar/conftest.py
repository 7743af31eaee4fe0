# SPDX-License-Identifier: Apache-2.0
"""The sidecar that each test of the whole daemon has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sidecar.running import Sidecar


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    sidecar = Sidecar(tmp_path)
    yield sidecar
    for process in sidecar.processes:
        process.kill()
        process.wait()
