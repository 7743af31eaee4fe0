# SPDX-License-Identifier: Apache-2.0
"""Level 2: an iSCSI session breaks and comes back, at a target that drops what was registered through it (LIO in demo
mode without cache_dynamic_acls). The sidecar restores the registration within the grace."""

import time
from collections.abc import Iterator

import pytest

from . import watchdog_losses as losses
from . import watchdog_rig
from .agent import KEYS, keys, reservation, write
from .conftest import require
from .level2 import NODES, TARGET, Shape, restored
from .watchdog_rig import NODE, Rig

TIMEOUT_S = 30
GRACE_S = 60.0
"""The processor is emulated and shared: neither is what these tests are about."""
DEADLINE_S = 8
"""A read that waits for the end of the short blip is answered; the long blip fails the path."""
TARGET_GROUP = f"/sys/kernel/config/target/iscsi/{TARGET}/tpgt_1"
REGISTERED = "/sys/kernel/config/target/core/fileio_1/lun0/pr/res_pr_registered_i_pts"
# Linux 6.1 keeps registrations where it makes the access lists itself, and that cannot be switched off. So
# no list is made while the sessions end.
END = f"cd {TARGET_GROUP} && echo 0 >attrib/generate_node_acls && echo 0 >attrib/cache_dynamic_acls && echo 0 >enable"
GO_ON = f"cd {TARGET_GROUP} && echo 1 >attrib/generate_node_acls && echo 1 >enable"
BLIPS_S = (1, 14)
DROPPED = "the target had dropped this node's registration"

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    shape = Shape()
    require(shape.snapshot)
    with (
        restored(shape) as guest,
        watchdog_rig.feeding(guest, watchdog_timeout_s=TIMEOUT_S, grace_s=GRACE_S, probe_deadline_s=DEADLINE_S) as rig,
    ):
        yield rig


@pytest.mark.parametrize("away_s", BLIPS_S)
def test_the_registration_is_restored(rig: Rig, away_s: int) -> None:
    known = rig.log().count(DROPPED)
    assert NODE in rig.guest.run(f"cat {REGISTERED}", check=True).out
    dropped = rig.guest.run(f"{END}; sleep {away_s}; cat {REGISTERED}; {GO_ON}", check=True).out
    assert NODE not in dropped
    end = time.monotonic() + GRACE_S + 60
    while rig.log().count(DROPPED) == known:
        assert rig.resets.wait(0.2) is None
        assert time.monotonic() < end, rig.log()
    state = rig.wait_state("keepalive", GRACE_S + 60)
    assert [lun["registration"] for lun in state["luns"]] == ["registered"]
    assert KEYS[NODE] in keys(rig.guest, rig.peer_disk)
    assert "registrants only" in reservation(rig.guest, rig.peer_disk).lower()
    assert write(rig.guest, rig.disk) == ""
    assert rig.resets.wait(0) is None


def test_a_preemption_after_such_a_blip_is_one(rig: Rig) -> None:
    """The generation tells them apart. The last test here: the node resets itself."""
    peer_registers = f"sg_persist -n -o -I -S 0x{KEYS[NODES[1]]} {rig.peer_disk}"  # its key was dropped, too
    how = f"{END}; sleep 1; {GO_ON}; sleep 8; {peer_registers}; {losses.preempted(rig)}"
    reset, _ = rig.reset_after(how, 60)
    assert not reset.by_hardware
    assert "self-fence: preempted" in rig.guest.console()
