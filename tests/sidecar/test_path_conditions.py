# SPDX-License-Identifier: Apache-2.0
"""What a read does not show: tables of a fake sysfs and of dm's status lines."""

import os
import struct
import threading
from pathlib import Path

import pytest

from fencer.sidecar import path_conditions
from fencer.sidecar.path_conditions import FAILED, Conditions, ConditionWatch, failed_paths, look, map_status
from fencer.sidecar.reports import ListedLun, ListedPath, LunsListed
from fencer.state.snapshot import PolicyState
from tests.sidecar.seen import Bench

# As `dmsetup status` printed them (kernel 6.1), without start, length and type.
QUEUE_LENGTH = b"2 0 0 0 2 1 A 0 1 2 8:16 A 0 0 1 E 0 1 2 8:32 F 1 0 1"
SERVICE_TIME = b"2 0 1 0 1 1 A 0 2 2 8:16 F 3 0 1 65:128 A 0 0 1"


@pytest.mark.parametrize(
    ("status", "failed"), [(QUEUE_LENGTH, {"8:32"}), (SERVICE_TIME, {"8:16"}), (b"", set()), (b"\xff A F", set())]
)
def test_failed_paths_of_a_status_line(status: bytes, failed: set[str]) -> None:
    assert failed_paths(status) == failed


class Sysfs:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, name: str, dev: str, *, ro: str = "0", holders: tuple[str, ...] = (), uuid: str = "") -> None:
        (self.root / name / "holders").mkdir(parents=True)
        (self.root / name / "dev").write_text(dev)
        (self.root / name / "ro").write_text(ro)
        for holder in holders:
            (self.root / name / "holders" / holder).touch()
        if uuid:
            (self.root / name / "dm").mkdir()
            (self.root / name / "dm" / "uuid").write_text(uuid)


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    sysfs = Sysfs(tmp_path)
    sysfs.add("sdb", "8:16", holders=("dm-3",))
    sysfs.add("sdc", "8:32", holders=("dm-3",))
    return sysfs


def test_what_the_map_has_failed_is_refused(sysfs: Sysfs) -> None:
    sysfs.add("dm-3", "253:3", uuid="mpath-3600")
    found = look(("sdb", "sdc"), str(sysfs.root), {"253:3": QUEUE_LENGTH}.__getitem__)
    assert found == Conditions({"sdc": FAILED}, {})


def test_only_multipath_maps_are_asked_and_a_device_mapper_that_refuses_says_nothing(sysfs: Sysfs) -> None:
    def refuse(_number: str) -> bytes:
        raise PermissionError(1, "Operation not permitted")

    sysfs.add("dm-3", "253:3", uuid="LVM-abc")
    assert look(("sdb",), str(sysfs.root), lambda _: QUEUE_LENGTH.replace(b"A", b"F")).refused == {}
    (sysfs.root / "dm-3/dm/uuid").write_text("mpath-3600")
    assert look(("sdb", "gone"), str(sysfs.root), refuse) == Conditions({}, {})


@pytest.mark.parametrize(("disk", "map_", "named"), [("0", "0", None), ("1", "0", "sdb"), ("0", "1", "dm-3")])
def test_read_only_disks_and_maps(sysfs: Sysfs, disk: str, map_: str, named: str | None) -> None:
    sysfs.add("dm-3", "253:3", ro=map_, uuid="mpath-3600")
    (sysfs.root / "sdb/ro").write_text(disk)
    assert look(("sdb",), str(sysfs.root), lambda _: b"").read_only == ({} if named is None else {"sdb": named})


def test_a_map_is_asked_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def ioctl(_descriptor: int, request: int, data: bytearray) -> int:
        assert request == 0xC138FD0C
        assert struct.unpack_from("=Q", data, 40)[0] == os.makedev(253, 300)
        struct.pack_into("=I", data, 20, 1)
        data[312 + 40 : 312 + 40 + len(QUEUE_LENGTH)] = QUEUE_LENGTH
        return 0

    monkeypatch.setattr(path_conditions.fcntl, "ioctl", ioctl)
    assert map_status("253:300", os.devnull) == QUEUE_LENGTH


def test_what_is_old_says_nothing() -> None:
    now = [100.0]
    watch = ConditionWatch(5.0, lambda _: Conditions({"sdb": FAILED}, {}), lambda: now[0])
    assert watch.latest == Conditions({}, {})
    ended = threading.Event()
    ended.set()
    watch.run(ended)
    assert watch.latest.refused == {"sdb": FAILED}
    now[0] += 16
    assert watch.latest == Conditions({}, {})


def test_the_last_path_that_the_map_has_failed_is_a_loss() -> None:
    bench = Bench({"L": ("sda", "sdb")})
    paths = tuple(ListedPath(name, "0:0:0:0", FAILED) for name in ("sda", "sdb"))
    bench.take(LunsListed(bench.now, (ListedLun("L", "L", (paths[0], paths[1]._replace(refused=""))),)))
    bench.go(20.0)
    assert (bench.decision.state, bench.decision.grace_remaining_s) == (PolicyState.DEGRADED, None)
    bench.take(LunsListed(bench.now, (ListedLun("L", "L", paths),)))
    bench.go(1.0)
    assert bench.decision.grace_remaining_s is not None
    assert FAILED in bench.decision.reasons[0]


def test_read_only_is_degraded_and_resets_no_node() -> None:
    bench = Bench({"L": ("sda",)})
    bench.take(LunsListed(bench.now, (ListedLun("L", "L", (ListedPath("sda", "0:0:0:0"),), "sda"),)))
    bench.go(200.0, paths=("sda",))
    assert bench.decision == (
        PolicyState.DEGRADED, ("L: sda is read-only: nothing can be written",), None, None,
    )  # fmt: skip
