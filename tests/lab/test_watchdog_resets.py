# SPDX-License-Identifier: Apache-2.0
"""The sidecar resets its node, seen from outside: QEMU tells of each reset and whether the watchdog did it.

Each test goes on from the same moment, in which the sidecar feeds. Bounds are those that it publishes; what was
measured is printed, and stands for many repetitions in docs/results.md (watchdog_trials.py).
"""

from collections.abc import Iterator

import pytest

from . import watchdog_losses as losses
from .conftest import require
from .level2 import Shape
from .watchdog_rig import TIMEOUT_S, Kept, Rig, armed

GRACE_S = 3.0
LATE_S = 1.0
"""What the clocks of two machines, and an emulated processor that others use, may add."""

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def node() -> Iterator[Kept]:
    require(Shape().snapshot)
    with armed(grace_s=GRACE_S) as kept:
        yield kept


@pytest.fixture
def rig(node: Kept) -> Iterator[Rig]:
    with node.restored() as restored:
        yield restored


@pytest.mark.parametrize("how", losses.PATH_LOSSES)
def test_all_paths_of_the_only_lun_lost(rig: Rig, how: str) -> None:
    bound_s = rig.snapshot()["bound_s"]
    reset, took_s = rig.reset_after(losses.PATH_LOSSES[how](rig), bound_s + 30)
    print(f"{how}: reset {took_s:.2f} s after the loss, grace {GRACE_S:g} s, published bound {bound_s:g} s")
    assert not reset.by_hardware
    assert "self-fence: paths-lost" in rig.guest.console()
    assert GRACE_S - LATE_S <= took_s <= bound_s + LATE_S


def test_preempted_by_the_peer(rig: Rig) -> None:
    bound_s = rig.snapshot()["bound_s"]
    reset, took_s = rig.reset_after(losses.preempted(rig), bound_s + 30)
    print(f"preempted: reset {took_s:.2f} s after sg_persist was started")
    assert not reset.by_hardware
    assert "self-fence: preempted" in rig.guest.console()
    assert took_s <= bound_s + LATE_S


@pytest.mark.parametrize("how", [losses.stopped, losses.killed], ids=lambda how: how.__name__)
def test_the_feeder_no_longer_runs(rig: Rig, how: losses.Loss) -> None:
    reset, took_s = rig.reset_after(how(rig), TIMEOUT_S + 30)
    print(f"{how.__name__}: reset {took_s:.2f} s later, watchdog {TIMEOUT_S} s")
    assert reset.by_hardware
    assert took_s <= TIMEOUT_S + LATE_S


def test_the_observer_hangs_in_the_kernel(rig: Rig) -> None:
    """Nothing ends its probe, not SIGKILL either. Silence is loss."""
    bound_s = rig.snapshot()["bound_s"]
    hung = "sleep 2.5; ps -eLo stat,comm | grep ^D >/dev/ttyS0; pkill -KILL -P $(pgrep -P $(cat /run/lab/sidecar.pid))"
    reset, took_s = rig.reset_after(f"{losses.silent_for_ever(rig)}; {hung}", bound_s + 30)
    print(f"hung for ever: reset {took_s:.2f} s after the loss, published bound {bound_s:g} s")
    assert "halvm-watchdogd" in rig.guest.console().partition("\nD")[2], "no probe hung in state D"
    assert not reset.by_hardware
    assert took_s <= bound_s + LATE_S


def test_out_of_memory_for_good(rig: Rig) -> None:
    """The kernel panics and stands still: what is left is the hardware."""
    rig.began(losses.out_of_memory(rig))
    reset = rig.resets.wait(120)
    assert reset is not None
    assert reset.by_hardware
    assert "Kernel panic" in rig.guest.console(), rig.guest.console()


def test_short_of_memory_is_no_reason(rig: Rig) -> None:
    """Whoever took it all is killed; the feeder is spared, needs no page that it does not hold, and feeds on."""
    before = rig.snapshot()["watchdog"]["keepalives"]
    rig.began(losses.short_of_memory(rig))
    assert rig.resets.wait(15) is None
    after = rig.snapshot()["watchdog"]
    assert "Out of memory" in rig.guest.run("dmesg").out
    print(f"short of memory: worst gap {after['worst_gap_s']:.2f} s of {TIMEOUT_S} s")
    assert after["keepalives"] > before
