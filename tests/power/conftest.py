# SPDX-License-Identifier: Apache-2.0
"""A simulated BMC, and a proxy before it that loses packets."""

from collections.abc import Iterator

import pytest

from tests.rig import require_program
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import UdpProxy


@pytest.fixture
def bmc() -> Iterator[Bmc]:
    require_program("ipmi_sim", "openipmi")
    with Bmc() as started:
        yield started


@pytest.fixture
def proxy(bmc: Bmc) -> Iterator[UdpProxy]:
    with UdpProxy((bmc.address, bmc.port)) as started:
        yield started
