# SPDX-License-Identifier: Apache-2.0
"""Paths that are down while a node is registered or looked at: named, and no failure where another one answers."""

from pathlib import Path

import pytest

from fencer.errors import TransportError
from fencer.observations import LunFailed, LunRegistered, LunState, Noted, Observation, StorageDone
from fencer.storage import procedure
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.marker import Marker, read_marker
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past, Terms
from fencer.storage.settings import StorageSettings
from fencer.storage.transport import ScsiReply, ScsiStatus
from fencer.storage.unfencing import unfence
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import Fault, FaultyPath, never
from tests.storage.nodes import A, Clock, contest, deadline, registered, unbound

DEAD = TransportError("/dev/sde: no SCSI status: DID_NO_CONNECT")
REGISTERED = Past(History.REGISTERED, 1, A)
FAULTS = {"dead": DEAD, "busy": ScsiReply(ScsiStatus.BUSY, None, b""), "hangs": None}
EACH_FAULT = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


SETTINGS = StorageSettings(("x",), None, A)


def four_paths(target: FakeTarget, clock: Clock, fault: Fault, bad: set[str]) -> LogicalUnit:
    paths = (
        FaultyPath(target.nexus(name), clock, fault) if name in bad else target.nexus(name)
        for name in ("a1", "a2", "a3", "a4")
    )
    return LogicalUnit(target.wwid, "mpatha", [Nexus(path, sleep=clock.sleep) for path in paths], bound=unbound)


def monitor(lun: LogicalUnit, clock: Clock) -> list[Observation]:
    seen: list[Observation] = []
    procedure.monitor(Opened((lun,)), SETTINGS, lambda _: REGISTERED, lambda *w: seen.extend(w), deadline(clock))
    return seen


@EACH_FAULT
@pytest.mark.parametrize("bad", [{"a1"}, {"a4"}, {"a1", "a2", "a3"}])
def test_monitor_says_how_many_of_how_many(fault: Fault, bad: set[str]) -> None:
    clock = Clock()
    lun = four_paths(registered("a1", "a2", "a3", "a4", "b"), clock, fault, bad)
    note, state, _ = monitor(lun, clock)
    assert isinstance(note, Noted)
    assert note.text.startswith(f"mpatha: {4 - len(bad)} of 4 paths answer: ")
    assert state == LunState("mpatha", registered=True, protected=True)


def test_monitor_of_paths_that_all_answer_has_nothing_to_say() -> None:
    clock = Clock()
    lun = four_paths(registered("a1", "a2", "a3", "a4", "b"), clock, None, set())
    assert monitor(lun, clock) == [LunState("mpatha", registered=True, protected=True), StorageDone(1)]


@EACH_FAULT
def test_monitor_without_any_path_fails(fault: Fault) -> None:
    clock = Clock()
    lun = four_paths(registered("a1", "b"), clock, fault, {"a1", "a2", "a3", "a4"})
    assert [type(what) for what in monitor(lun, clock)] == [LunFailed, StorageDone]


def two_gateways(clock: Clock) -> tuple[LogicalUnit, FakeTarget, FakeTarget]:
    """The victim's key is at the second one only."""
    one, other = registered("a", "c"), registered("a", "b")
    nexuses = [Nexus(target.nexus("a"), sleep=clock.sleep) for target in (one, other)]
    return LogicalUnit(one.wwid, "mpatha", nexuses, bound=unbound), one, other


def test_monitor_and_status_of_paths_that_differ_fail() -> None:
    clock = Clock()
    lun, _, _ = two_gateways(clock)
    assert isinstance(monitor(lun, clock)[0], LunFailed)
    seen: list[Observation] = []
    procedure.status(Opened((lun,)), contest(), lambda *what: seen.extend(what), deadline(clock))
    assert isinstance(seen[0], LunFailed)
    assert "different registrations" in seen[0].reason


def test_a_dead_lun_leaves_time_to_register_on_the_others(tmp_path: Path) -> None:
    """Before, all LUNs were looked at one after the other, each until the deadline. A third of the time is left."""
    clock = Clock()
    living = [registered("b", target=FakeTarget(wwid=f"naa.600140500000000{number}")) for number in (1, 3)]
    paths = [FaultyPath(target.nexus("a"), clock, DEAD, never) for target in living]
    dead = FaultyPath(FakeTarget(wwid="naa.6001405000000002").nexus("a"), clock, DEAD)
    luns = [
        LogicalUnit(target.wwid, target.wwid, [Nexus(path, sleep=clock.sleep)])
        for target, path in zip(living, paths, strict=True)
    ]
    luns.insert(1, LogicalUnit("naa.6001405000000002", "dead", [Nexus(dead, sleep=clock.sleep)]))
    seen: list[Observation] = []
    end = deadline(clock, 30.0)
    unfence(Opened(tuple(luns)), Terms.on(SETTINGS, A), str(tmp_path), lambda *what: seen.extend(what), end)
    assert [type(what) for what in seen].count(LunFailed) == 1
    assert {what.lun for what in seen if isinstance(what, LunRegistered)} == {target.wwid for target in living}
    for path in paths:
        assert 15 < min(at_s for at_s, cdb in path.sent if cdb[0] == 0x5F) < 21
    marker = read_marker(str(tmp_path))
    assert isinstance(marker, Marker)
    assert {mark.wwid for mark in marker.luns if mark.registered} == {target.wwid for target in living}
