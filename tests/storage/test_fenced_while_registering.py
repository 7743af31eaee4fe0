# SPDX-License-Identifier: Apache-2.0
"""A node that another one fences while it registers, on several LUNs or paths, is registered on none afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fencer.observations import LunFailed, LunIsolated, LunRegistered, Observation, StorageDone
from fencer.storage import procedure
from fencer.storage.arbitration import arbitrate
from fencer.storage.isolation import isolate
from fencer.storage.marker import Marker, read_marker
from fencer.storage.pr import OutAction
from fencer.storage.procedure import Opened
from fencer.storage.registration import REBOOT, Terms
from fencer.storage.transport import ScsiReply
from fencer.storage.unfencing import unfence
from tests.storage.fake_target import FakeReservation, FakeTarget
from tests.storage.nodes import WERO, A, B, contest, deadline, lun, registered
from tests.storage.test_hostile_target import check

TERMS = Terms(A, WERO, aptpl=True)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeTarget, FakeTarget]:
    """Two LUNs on which B alone is registered. Node A registers on one after the other."""

    def one_after_another(luns: object, work: Callable[..., object], emit: Callable[..., None], *_at_once: int) -> None:
        for each in luns:  # type: ignore[attr-defined]
            emit(*work(each))  # type: ignore[misc]

    monkeypatch.setattr(procedure, "_side_by_side", one_after_another)
    first, second = registered("b"), registered("b", target=FakeTarget(wwid="naa.6001405000000000000000000000000b"))
    assert first.wwid < second.wwid
    return first, second


def _fence(first: FakeTarget, second: FakeTarget) -> None:
    """B fences A on both LUNs, and proves it."""
    terms, end = contest(B, A), deadline()
    luns = [lun(target, "b") for target in (first, second)]
    arbitrate(luns[0], terms, end)
    for each in luns:
        assert isinstance(isolate(each, terms, end), LunIsolated)


def _on(
    targets: tuple[FakeTarget, ...],
    directory: Path,
    after_the_first: Callable[[], None],
) -> list[object]:
    """after_the_first: happens when A is registered on the first LUN, and before it is on the second one."""
    told: list[object] = []

    def hear(*several: Observation) -> None:
        told.extend(several)
        if [type(each) for each in several] == [LunRegistered] and len(told) == 1:
            after_the_first()

    opened = Opened(tuple(lun(target, "a") for target in targets))
    unfence(opened, TERMS, str(directory), hear, deadline())
    return told


def test_a_node_that_is_fenced_between_two_luns_keeps_its_key_on_neither(
    targets: tuple[FakeTarget, FakeTarget], tmp_path: Path
) -> None:
    first, second = targets
    told = _on(targets, tmp_path, lambda: _fence(first, second))
    assert first.keys == second.keys == [B.value]
    last = {each.lun: each for each in told if isinstance(each, LunRegistered | LunFailed)}
    assert len(last) == 2
    for each in last.values():
        assert isinstance(each, LunFailed)
        assert each.preempted
        assert each.reason.endswith(f"{REBOOT}")
    assert isinstance(told[-1], StorageDone)


def test_so_it_is_where_the_first_lun_shows_the_fence_at_once(
    targets: tuple[FakeTarget, FakeTarget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = targets
    serve = first.execute

    def fenced_after_the_register(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        if initiator == "a" and A.value in first.keys:
            monkeypatch.setattr(first, "execute", serve)
            _fence(first, second)
        return serve(initiator, cdb, data_out, length)

    monkeypatch.setattr(first, "execute", fenced_after_the_register)
    told = _on(targets, tmp_path, lambda: None)
    assert first.keys == second.keys == [B.value]
    assert len({each.lun for each in told if isinstance(each, LunFailed)}) == 2
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert all(mark.registered for mark in found.luns), "by which this boot knows that it was fenced"


def test_it_does_not_register_again_in_that_boot(targets: tuple[FakeTarget, FakeTarget], tmp_path: Path) -> None:
    first, second = targets
    _on(targets, tmp_path, lambda: _fence(first, second))
    told = _on(targets, tmp_path, lambda: None)
    assert first.keys == second.keys == [B.value]
    assert not any(isinstance(each, LunRegistered) for each in told)


def test_a_reservation_that_it_holds_elsewhere_is_not_released(
    targets: tuple[FakeTarget, FakeTarget], tmp_path: Path
) -> None:
    """A holder that unregisters releases it, and a node that was fenced behind it could write again."""
    first, second = targets

    def fence_on_the_first() -> None:
        arbitrate(lun(first, "b"), contest(B, A), deadline())
        second.reservation = None

    told = _on(targets, tmp_path, fence_on_the_first)
    assert first.keys == [B.value]
    assert sorted(second.keys) == [A.value, B.value]
    assert second.reservation == FakeReservation(WERO, second._session("a"))
    assert {each.lun for each in told if isinstance(each, LunFailed)} == {
        each.name for each in (lun(first), lun(second))
    }


def test_a_lun_that_cannot_be_read_at_the_end_makes_it_a_failure(
    targets: tuple[FakeTarget, FakeTarget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fence that it would show may have proved the second LUN isolated before this node came to it."""
    first, second = targets
    serve = first.execute

    def refused(*_: object) -> ScsiReply:  # a silent one would be asked until the deadline
        return check(5, 0x24, 0)

    def fenced_and_refused() -> None:
        _fence(first, second)
        monkeypatch.setattr(first, "execute", refused)

    told = _on(targets, tmp_path, fenced_and_refused)
    last = {each.lun: each for each in told if isinstance(each, LunRegistered | LunFailed)}
    failed = last[lun(first).name]
    assert isinstance(failed, LunFailed)
    assert not failed.preempted
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert all(mark.registered for mark in found.luns), "else another node's registration would look like a fence"
    monkeypatch.setattr(first, "execute", serve)
    assert lun(first).name in {each.lun for each in _on(targets, tmp_path, lambda: None) if isinstance(each, LunFailed)}
    assert first.keys == [B.value]


def test_the_only_lun_was_read_back_before_it_is_looked_at_once_more(
    targets: tuple[FakeTarget, FakeTarget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other one can have been named isolated by a fence that it no longer shows."""
    only, _ = targets
    told = _on((only,), tmp_path, lambda: monkeypatch.setattr(only, "execute", lambda *_: check(5, 0x24, 0)))
    assert [type(each) for each in told] == [LunRegistered, StorageDone]
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert found.luns[0].registered


@pytest.mark.parametrize("paths", [("a1", "a2"), ("a1", "a2", "a3")])
def test_a_node_that_is_fenced_between_two_paths_keeps_its_key_on_neither(
    paths: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = registered("b")
    serve = target.execute

    def fenced_before_the_second(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        if initiator == "a2" and cdb[0] == 0x5F:
            monkeypatch.setattr(target, "execute", serve)
            unit, terms, end = lun(target, "b"), contest(B, A), deadline()
            arbitrate(unit, terms, end)
            assert isinstance(isolate(unit, terms, end), LunIsolated)
        return serve(initiator, cdb, data_out, length)

    monkeypatch.setattr(target, "execute", fenced_before_the_second)
    told: list[object] = []
    opened = Opened((lun(target, *paths),))
    unfence(opened, TERMS, str(tmp_path), lambda *several: told.extend(several), deadline())
    assert target.keys == [B.value]
    failed, _ = told
    assert isinstance(failed, LunFailed)
    assert failed.reason.endswith(REBOOT)
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert all(mark.registered for mark in found.luns), "by which this boot knows that it was fenced"


@pytest.mark.parametrize(("paths", "commands"), [(("a1",), 0), (("a1", "a2"), 1), (("a1", "a2", "a3"), 1)])
def test_one_command_shows_that_the_first_path_is_registered_still(
    paths: tuple[str, ...], commands: int, tmp_path: Path
) -> None:
    target = registered("b")
    opened = Opened((lun(target, *paths),))
    told: list[object] = []
    unfence(opened, TERMS, str(tmp_path), lambda *several: told.extend(several), deadline())
    assert isinstance(told[0], LunRegistered)
    assert sum(action is OutAction.REGISTER for _, action, _ in target.log) == len(paths) + commands


def test_without_a_fence_both_are_registered(targets: tuple[FakeTarget, FakeTarget], tmp_path: Path) -> None:
    told = _on(targets, tmp_path, lambda: None)
    assert [type(each) for each in told] == [LunRegistered, LunRegistered, StorageDone]
    assert all(sorted(target.keys) == [A.value, B.value] for target in targets)
