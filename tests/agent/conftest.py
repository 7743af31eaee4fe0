# SPDX-License-Identifier: Apache-2.0
"""One simulated BMC a test module, reset before each test; proxies in front of it."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import UdpProxy

_ADDRESSES = count(1)


@pytest.fixture(scope="module")
def _module_bmc() -> Iterator[Bmc]:
    with Bmc(f"127.0.7.{next(_ADDRESSES) % 250 + 1}") as started:
        yield started


@pytest.fixture
def bmc(_module_bmc: Bmc) -> Bmc:
    """A node that is on, its BMC without a knob turned, with an empty log."""
    reset(_module_bmc)
    return _module_bmc


@pytest.fixture
def proxy(bmc: Bmc) -> Iterator[UdpProxy]:
    """Between the agent and the BMC; passes everything until told otherwise."""
    with UdpProxy((bmc.address, bmc.port), address=bmc.address) as started:
        yield started


@pytest.fixture
def cluster_conf(tmp_path: Path) -> Path:
    """Where a test writes its cluster.conf."""
    return tmp_path / "cluster.conf"


def reset(bmc: Bmc) -> None:
    """As if it had just been started: sessions that a killed agent left behind are gone only after a restart."""
    bmc.slow()
    bmc.lag()
    bmc.refuse(refusing=False)
    bmc.ignore()
    bmc.power = "on"
    (bmc.chassis / "log").write_text("")
