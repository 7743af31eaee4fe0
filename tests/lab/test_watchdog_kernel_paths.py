# SPDX-License-Identifier: Apache-2.0
"""Level 2: what a read of a path does not show, on a real multipath map: a path that the map has failed although it
answers reads, and a disk or map that takes no writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import watchdog_rig
from .conftest import require
from .level2 import Shape, restored
from .watchdog_rig import NODE, Rig

SHAPE = Shape(multipath=True)
TIMEOUT_S = 30
GRACE_S = 20.0
"""The processor is emulated and shared: who feeds late is not what these tests are about."""
FAILED = "its multipath map has failed it"

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """multipathd is stopped: it would bring back each path that answers."""
    require(SHAPE.snapshot)
    with restored(SHAPE) as guest, watchdog_rig.feeding(guest, watchdog_timeout_s=TIMEOUT_S, grace_s=GRACE_S) as rig:
        guest.run("pkill -STOP -x multipathd", check=True)
        yield rig


def tell_map(rig: Rig, word: str, path: int) -> str:
    """The command by which multipathd itself fails and reinstates a path."""
    disk = Path(rig.guest.sd(NODE, 0, path)).name
    number = rig.guest.run(f"cat /sys/block/{disk}/dev", check=True).out.strip()
    return f'dmsetup message {Path(rig.disk).name} 0 "{word} {number}"'


def test_a_path_that_the_map_has_failed_does_not_count(rig: Rig) -> None:
    disk = rig.guest.sd(NODE, 0, 0)
    rig.guest.run(tell_map(rig, "fail_path", 0), check=True)
    try:
        degraded = rig.wait_state("degraded")
        assert any(FAILED in reason for reason in degraded["reasons"]), degraded["reasons"]
        assert degraded["grace_remaining_s"] is None  # the map has another one
        paths = {path["name"]: path["up"] for path in degraded["luns"][0]["paths"]}
        assert paths == {Path(disk).name: False, Path(rig.guest.sd(NODE, 0, 1)).name: True}
        rig.guest.run(f"dd if={disk} of=/dev/null count=1 iflag=direct status=none", check=True)  # it answers
    finally:
        rig.guest.run(tell_map(rig, "reinstate_path", 0), check=True)
    rig.wait_state("keepalive")
    assert rig.resets.wait(0) is None


def set_read_only(rig: Rig, *devices: str, read_only: bool = True) -> None:
    rig.guest.run(f"blockdev --set{'ro' if read_only else 'rw'} {' '.join(devices)}", check=True)


def wait_read_only(rig: Rig) -> None:
    degraded = rig.wait_state("degraded")
    assert any("read-only: nothing can be written" in reason for reason in degraded["reasons"]), degraded["reasons"]
    assert degraded["grace_remaining_s"] is None


@pytest.mark.long
def test_a_read_only_map_is_degraded_and_resets_no_node(rig: Rig) -> None:
    set_read_only(rig, rig.disk)
    try:
        wait_read_only(rig)
    finally:
        set_read_only(rig, rig.disk, read_only=False)
    rig.wait_state("keepalive")
    assert rig.resets.wait(0) is None


def test_read_only_disks_are_degraded_until_one_of_them_takes_writes(rig: Rig) -> None:
    one, other = (rig.guest.sd(NODE, 0, path) for path in (0, 1))
    set_read_only(rig, one, other)
    try:
        wait_read_only(rig)
        set_read_only(rig, one, read_only=False)
        rig.wait_state("keepalive")  # the map has a path that takes writes
    finally:
        set_read_only(rig, one, other, read_only=False)
    assert rig.resets.wait(0) is None


def test_the_last_path_that_the_map_has_failed_is_a_loss(rig: Rig) -> None:
    """The last test here: the node resets itself, within the bound that it publishes."""
    bound_s = rig.snapshot()["bound_s"]
    fail = "; ".join(tell_map(rig, "fail_path", path) for path in (0, 1))
    reset, took_s = rig.reset_after(fail, bound_s + 60)
    assert not reset.by_hardware
    assert "self-fence: paths-lost" in rig.guest.console()
    assert took_s + 1 >= GRACE_S
    assert took_s <= bound_s + 1
