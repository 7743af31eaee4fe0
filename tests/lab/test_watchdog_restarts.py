# SPDX-License-Identifier: Apache-2.0
"""The sidecar is killed and started again within the watchdog's timeout, as its unit does it."""

import time
from collections.abc import Iterator

import pytest

from . import watchdog_losses as losses
from .agent import keys
from .conftest import require
from .level2 import Shape
from .watchdog_rig import START, Kept, Rig, armed

TIMEOUT_S = 90
"""Loading Python and the first look take ten times as long as outside the lab."""

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def node() -> Iterator[Kept]:
    require(Shape().snapshot)
    with armed(watchdog_timeout_s=TIMEOUT_S, grace_s=10.0) as kept:
        yield kept


@pytest.fixture
def rig(node: Kept) -> Iterator[Rig]:
    with node.restored() as restored:
        yield restored


def test_started_again_in_time(rig: Rig) -> None:
    before = rig.snapshot()
    began = time.monotonic()
    rig.guest.run(f"{losses.killed(rig)}; {START}", check=True)
    after = rig.wait_state("keepalive", TIMEOUT_S, after_pid=before["pid"])
    print(f"fed again {time.monotonic() - began:.2f} s after it was killed, watchdog {TIMEOUT_S} s")
    assert after["pid"] != before["pid"]
    assert after["watchdog"]["armed"]
    assert keys(rig.guest, rig.peer_disk) == ["a1", "b1"]
    assert rig.resets.wait(0) is None


_TELL_KEYS = "while :; do echo keys: $(sg_persist -n -i -k {disk} | grep 0x) >/dev/ttyS0; sleep 0.2; done"


def test_fenced_while_it_was_dead(rig: Rig) -> None:
    """The successor resets the node at its first look, and never registers it again."""
    fenced = losses.preempted(rig)
    rig.guest.run(f"{losses.killed(rig)}; {fenced}", check=True)
    known = len(rig.guest.console())
    rig.guest.run(f"({_TELL_KEYS.format(disk=rig.peer_disk)}) </dev/null >/dev/null 2>&1 &")
    reset, took_s = rig.reset_after(START, TIMEOUT_S + 30)
    print(f"reset {took_s:.2f} s after the start of the successor, watchdog {TIMEOUT_S} s")
    said = rig.guest.console()[known:]
    assert "0xb1" in said
    assert "0xa1" not in said
    assert "self-fence: preempted" in said
    assert not reset.by_hardware
