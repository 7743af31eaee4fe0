# SPDX-License-Identifier: Apache-2.0
"""A BMC that agents talk to, and a place for their journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import require_program
from tests.rig.bmc import Bmc


@pytest.fixture(scope="module")
def started_bmc() -> Iterator[Bmc]:
    require_program("ipmi_sim", "openipmi")
    with Bmc("127.0.8.1") as started:
        yield started


@pytest.fixture
def bmc(started_bmc: Bmc) -> Bmc:
    """Its chassis is on, it answers everything, and its log is empty."""
    started_bmc.power = "on"
    started_bmc.ignore()
    (started_bmc.chassis / "log").write_text("")
    return started_bmc


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")
