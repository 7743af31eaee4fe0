# SPDX-License-Identifier: Apache-2.0
"""What must not reset a node, with the sidecar feeding a real watchdog and somebody writing to the LUN all the time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import watchdog_losses as losses
from . import watchdog_rig
from .agent import keys
from .conftest import require
from .level2 import NODES, TARGET, Shape, restored
from .watchdog_rig import NODE, Rig

SHAPE = Shape(multipath=True)
GRACE_S = 20.0  # multipathd looks at a failed path every 5 s, and the map fails its writes until then
TIMEOUT_S = 15
"""The processor is emulated and shared: whoever takes it away for long is not what these tests are about."""
WRITER = "/run/lab/steady_writer.py"
WRITTEN = "/run/lab/written.json"
KEY = "a1"

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """The sidecar feeds, and a writer writes through the multipath map."""
    require(SHAPE.snapshot)
    with restored(SHAPE) as guest, watchdog_rig.feeding(guest, watchdog_timeout_s=TIMEOUT_S, grace_s=GRACE_S) as rig:
        guest.put(WRITER, (Path(__file__).parent / "steady_writer.py").read_bytes())
        guest.run(f"nice python3 {WRITER} {rig.disk} {WRITTEN} >/run/lab/writer.out 2>&1 </dev/null &")
        guest.run(f"until test -e {WRITTEN}; do sleep 0.2; done", check=True)
        yield rig


def _written(rig: Rig) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(
        rig.guest.run(f"cat {WRITTEN}").out or '{"written": 0, "refused": 0, "error": "", "longest_s": 0.0}'
    )
    return written


def _assert_well(rig: Rig) -> None:
    """Every path is up and registered again, the node was not reset, and its writes go on."""
    rig.wait_state("keepalive", 120)
    before = _written(rig)
    paths = rig.snapshot()["luns"][0]["paths"]
    assert [(path["up"], path["registered"]) for path in paths] == [(True, True)] * 2
    assert keys(rig.guest, rig.peer_disk).count(KEY) >= 2
    rig.guest.run("sleep 1")
    after = _written(rig)
    assert after["written"] > before["written"], after
    assert after["refused"] == before["refused"], after
    assert rig.resets.wait(0) is None
    assert "self-fence" not in rig.guest.console()
    print(f"longest wait of a writer {after['longest_s']:.1f} s, {after['refused']} blocks refused so far")


@pytest.mark.parametrize("how", ["offline", "silent"])
def test_one_of_two_paths_lost_for_longer_than_the_grace(rig: Rig, how: str) -> None:
    refused = _written(rig)["refused"]
    disk = rig.guest.sd(NODE, 0, 0)
    lose, find = {
        "offline": (losses.offline_disk(disk), losses.running_disk(disk)),
        "silent": (losses.silent(rig), "ip route del blackhole 127.0.1.1/32 table local"),
    }[how]
    rig.guest.run(f"{lose}; sleep {GRACE_S + 4}", check=True)
    state = rig.snapshot()
    rig.guest.run(find, check=True)
    assert state["state"] == "degraded", state["reasons"]
    assert state["grace_remaining_s"] is None
    _assert_well(rig)
    assert _written(rig)["refused"] == refused  # the map had another path for each


def test_flaps_shorter_than_the_grace(rig: Rig) -> None:
    disks = [rig.guest.sd(NODE, 0, path) for path in (0, 1)]
    lose = "; ".join(map(losses.offline_disk, disks))
    find = "; ".join(map(losses.running_disk, disks))
    for _ in range(2):
        rig.guest.run(f"{lose}; sleep 3; {find}", check=True)
        _assert_well(rig)
        rig.guest.run("sleep 5")  # until the grace is whole again: flaps in quick succession count as one loss


def test_a_lun_reset_and_unit_attentions(rig: Rig) -> None:
    disk = rig.guest.sd(NODE, 0, 0)
    rig.guest.run(f"for i in 1 2 3; do sg_reset -d {disk} || exit; sleep 1; done", check=True)
    # A peer that registers anew and leaves: nothing of that is this node's, but each of its paths may be told.
    rig.guest.run(f"sg_turs {rig.peer_disk}")  # takes the peer's own unit attention
    for key, new in (("b1", "b2"), ("b2", "b1")):
        rig.guest.run(f"sg_persist -n -o -G -Z -K 0x{key} -S 0x{new} {rig.peer_disk}", check=True)
    _assert_well(rig)


_RESTART = """
import os
from pathlib import Path
config = Path("/sys/kernel/config/target")
unit, lun = config / "core/fileio_1/lun0", config / "iscsi/{target}/tpgt_1/lun/lun_0"
serial = (unit / "wwn/vpd_unit_serial").read_text().split(":")[1].strip()
kept = next(file for place in ("/var/target/pr", "/etc/target/pr") for file in Path(place).glob(f"*{{serial}}*"))
blocks = [block.partition("PR_REG_END")[0].partition("\\n")[2] for block in kept.read_text().split("PR_REG_START")[1:]]
(lun / "port").unlink(); lun.rmdir(); unit.rmdir()
unit.mkdir()
backing = "/run/lio/lun0.img"
(unit / "control").write_text(f"fd_dev_name={{backing}},fd_dev_size={{os.stat(backing).st_size}},fd_buffered_io=1\\n")
(unit / "wwn/vpd_unit_serial").write_text(serial + "\\n")
(unit / "enable").write_text("1\\n")
for block in blocks:
    (unit / "pr/res_aptpl_metadata").write_text(block)
lun.mkdir()
(lun / "port").symlink_to(unit)
print(len(blocks))
"""
"""The LUN goes and comes, with the registrations that LIO had written down: what targetctl does at a boot."""


def test_a_target_restart_with_aptpl(rig: Rig) -> None:
    """LIO was seen to come back without what it had written down: then it is a target that forgets, and is said so."""
    rig.guest.put("/run/lab/restart.py", _RESTART.format(target=TARGET))
    before = keys(rig.guest, rig.peer_disk).count(KEY)
    blocks = rig.guest.run("python3 /run/lab/restart.py", check=True).out
    assert int(blocks) >= before >= 2
    _assert_well(rig)
    print("the target forgot" if "target-forgot" in rig.log() else "the target kept the registrations")


def test_no_node_was_reset(rig: Rig) -> None:
    """The last word over all of the above."""
    assert rig.resets.wait(0) is None
    watchdog = rig.snapshot()["watchdog"]
    print(f"worst gap {watchdog['worst_gap_s']:.2f} s of {TIMEOUT_S} s, {watchdog['late_keepalives']} late")
    assert watchdog["armed"]
    assert NODES[0] == rig.snapshot()["node"]
