# SPDX-License-Identifier: Apache-2.0
"""Level 2: an array whose controllers take over, as its initiator sees it: away for a while, then back. With the
default grace no node is reset, and it is registered again."""

import time
from collections.abc import Iterator

import pytest

from fencer.sidecar.settings import GRACE_S

from . import watchdog_losses as losses
from . import watchdog_rig
from .conftest import require
from .level2 import TARGET, Shape, restored
from .watchdog_rig import Rig

TIMEOUT_S = 30
"""The processor is emulated and shared: who feeds late is not what these tests are about."""
BACK = {
    "silent": "ip route del blackhole 127.0.1.1/32 table local",
    "refused": f"echo 1 >/sys/kernel/config/target/iscsi/{TARGET}/tpgt_1/enable",
}

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    shape = Shape()
    require(shape.snapshot)
    with restored(shape) as guest, watchdog_rig.feeding(guest, watchdog_timeout_s=TIMEOUT_S, grace_s=GRACE_S) as rig:
        yield rig


@pytest.mark.parametrize(
    ("how", "away_s"),
    [("silent", 20), *(pytest.param(how, 50, marks=pytest.mark.long) for how in BACK)],
)
def test_a_take_over_resets_no_node(rig: Rig, how: str, away_s: int) -> None:
    rig.guest.run(losses.PATH_LOSSES[how](rig), check=True)
    lost = rig.wait_state("degraded", 60)
    assert lost["watchdog"]["armed"]
    began = time.monotonic()
    assert rig.resets.wait(away_s) is None
    rig.guest.run(BACK[how], check=True)
    state = rig.wait_state("keepalive", GRACE_S + 60)
    print(f"{how} for {away_s} s: feeding and registered {time.monotonic() - began - away_s:.1f} s after the end")
    assert rig.resets.wait(0) is None
    assert [lun["registration"] for lun in state["luns"]] == ["registered"]
    assert all(path["up"] and path["registered"] for lun in state["luns"] for path in lun["paths"])
