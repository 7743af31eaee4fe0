# SPDX-License-Identifier: Apache-2.0
"""The victim has another key on another path: its port writes on when the key that we know is gone."""

import pytest

from fencer.errors import TransportError
from fencer.model import OtherKeys, ReservationKey
from fencer.observations import ArbitrationResult, LunFailed, LunIsolated
from fencer.storage.arbitration import arbitrate
from fencer.storage.initiator_ports import ports_of, registered_on
from fencer.storage.isolation import isolate
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import guard_key
from fencer.storage.nexus import Nexus
from fencer.storage.pr import FullStatus, Registration
from fencer.storage.transport import ScsiReply, ScsiStatus
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import FaultyPath
from tests.storage.nodes import A, B, C, Clock, contest, deadline, lun, registered, unbound

D = ReservationKey(0xD)
THREE = OtherKeys((A, B, C))
FULL_STATUS = bytes((0x5E, 3))


def with_second_key(key: ReservationKey = D, **knobs: bool) -> FakeTarget:
    """Nodes a, b and c; b's second path is registered under another key."""
    target = registered("a", "b", "c", target=FakeTarget(**knobs))  # type: ignore[arg-type]
    target.nexus("b2")
    target.registrations[target._session("b2")] = int(key)
    return target


@pytest.mark.parametrize("unopposed", [False, True])
@pytest.mark.parametrize("key", [D, C], ids=["a stranger's", "another node's"])
def test_a_port_of_the_victim_that_is_registered_under_another_key_vetoes(unopposed: bool, key: ReservationKey) -> None:
    target = with_second_key(key)
    end = isolate(lun(target, "a"), contest(others=THREE), deadline(), unopposed=unopposed)
    assert isinstance(end, LunFailed)
    assert f"registered under {key}, too, on b,i,0x" in end.reason
    assert target.write("b2") is ScsiStatus.GOOD, "it would have been a lie"


def test_what_arbitration_took_is_remembered_for_the_veto() -> None:
    target, clock = with_second_key(), Clock()
    unit = lun(target, "a", clock=clock)
    end = arbitrate(unit, contest(others=THREE), deadline(clock), clock.sleep)
    assert end.result is ArbitrationResult.WON
    assert isinstance(isolate(unit, contest(others=THREE), deadline(clock), end.removal), LunFailed)


def test_in_a_cluster_of_two_the_second_key_is_taken_as_well() -> None:
    target = registered("a", "b")
    target.nexus("b2")
    target.registrations[target._session("b2")] = int(D)
    end = isolate(lun(target, "a"), contest(others=OtherKeys((A, B))), deadline())
    assert isinstance(end, LunIsolated)
    assert target.write("b2") is ScsiStatus.RESERVATION_CONFLICT


@pytest.mark.parametrize("unopposed", [False, True])
def test_other_nodes_ports_veto_nothing(unopposed: bool) -> None:
    target = registered("a", "a2", "b", "b2", "c")
    unit = lun(target, "a", "a2")
    assert isinstance(isolate(unit, contest(others=THREE), deadline(), unopposed=unopposed), LunIsolated)


def test_a_target_without_full_status_proves_as_before() -> None:
    target = with_second_key(full_status=False)
    assert isinstance(isolate(lun(target, "a"), contest(others=THREE), deadline()), LunIsolated)


def test_full_status_that_cannot_be_read_again_is_no_proof() -> None:
    target, clock = registered("a", "b", "c"), Clock()
    seen: list[bytes] = []

    def second_time(_path: FaultyPath, cdb: bytes) -> bool:
        seen.append(cdb[:2])
        return cdb[:2] == FULL_STATUS and seen.count(FULL_STATUS) > 1

    path = FaultyPath(target.nexus("a"), clock, TransportError("a: gone"), second_time)
    unit = LogicalUnit(target.wwid, "lun", [Nexus(path, sleep=clock.sleep)], bound=unbound)
    end = isolate(unit, contest(others=THREE), deadline(clock, seconds=5))
    assert isinstance(end, LunFailed)
    assert clock.now > 4, "it may come back"


def test_a_path_that_fails_before_the_removal_is_sent_none() -> None:
    target, clock = registered("a", "a2", "b"), Clock()
    bad = FaultyPath(target.nexus("a"), clock, TransportError("a: gone"), lambda _path, cdb: cdb[:2] == FULL_STATUS)
    unit = LogicalUnit(
        target.wwid, "lun", [Nexus(bad, sleep=clock.sleep), Nexus(target.nexus("a2"), sleep=clock.sleep)], bound=unbound
    )
    end = isolate(unit, contest(), deadline(clock))
    assert end == LunIsolated("lun", aborted=True, already=False)
    assert 0x5F not in [cdb[0] for _, cdb in bad.sent]


@pytest.mark.parametrize("status", [ScsiStatus.BUSY, ScsiStatus.TASK_SET_FULL, ScsiStatus.TASK_ABORTED])
@pytest.mark.parametrize("busy_s", [0.1, 0.3, 2.0])
def test_a_path_that_is_busy_when_the_ports_are_read_hides_no_second_key(busy_s: float, status: ScsiStatus) -> None:
    target, clock = with_second_key(), Clock()
    registered("a", "a2", target=target)
    until_s = clock.now + busy_s

    def is_busy(_path: FaultyPath, cdb: bytes) -> bool:
        return cdb[:2] == FULL_STATUS and clock.now < until_s

    busy = FaultyPath(target.nexus("a"), clock, ScsiReply(status, None, b""), is_busy)
    paths = [Nexus(busy, sleep=clock.sleep), Nexus(target.nexus("a2"), sleep=clock.sleep)]
    unit = LogicalUnit(target.wwid, "lun", paths, bound=unbound)
    end = isolate(unit, contest(others=THREE), deadline(clock), unopposed=True)
    assert isinstance(end, LunFailed)
    assert f"registered under {D}, too" in end.reason
    assert target.write("b2") is ScsiStatus.GOOD, "it would have been a lie"


# --- whose a port is --------------------------------------------------------------------------------------------------


def registration(key: ReservationKey, initiator: str | None, transport_id: bytes = b"") -> Registration:
    return Registration(key, False, False, None, 1, transport_id, initiator)


@pytest.mark.parametrize(
    ("before", "after", "vetoes"),
    [
        ([(B, "fc.21000024ff000002")], (D, "fc.21000024ff000002"), True),
        ([(B, "fc.21000024ff000002")], (D, "fc.21000024ff000003"), False),
        ([(B, "sas.5000c50000000002")], (B, "sas.5000c50000000002"), True),
        ([(B, "iqn.2026-11.x:b,i,0x01")], (D, "iqn.2026-11.x:b,i,0x02"), True),
        ([(guard_key(B), "iqn.2026-11.x:b,i,0x01")], (D, "iqn.2026-11.x:b,i,0x02"), True),
        ([(B, "iqn.2026-11.x:b")], (D, "iqn.2026-11.x:b,i,0x02"), True),
        ([(C, "iqn.2026-11.x:c,i,0x01")], (C, "iqn.2026-11.x:c,i,0x01"), False),
        # Two nodes that were given one initiator name: told apart by the ISID, as far as that goes.
        ([(A, "iqn.x:n,i,0x01"), (B, "iqn.x:n,i,0x02")], (A, "iqn.x:n,i,0x01"), False),
        ([(A, "iqn.x:n,i,0x01"), (B, "iqn.x:n,i,0x02")], (D, "iqn.x:n,i,0x02"), True),
    ],
)
def test_ports(before: list[tuple[ReservationKey, str]], after: tuple[ReservationKey, str], vetoes: bool) -> None:
    ports = ports_of(FullStatus(1, tuple(registration(*each) for each in before)), (B, guard_key(B)), A)
    assert bool(registered_on(FullStatus(2, (registration(*after),)), ports)) is vetoes


def test_a_port_whose_name_cannot_be_decoded_is_told_by_its_bytes() -> None:
    ports = ports_of(FullStatus(1, (registration(B, None, b"\x09abc"),)), (B,), A)
    assert registered_on(FullStatus(2, (registration(D, None, b"\x09abc"),)), ports)
    assert not registered_on(FullStatus(2, (registration(D, None, b"\x09abd"),)), ports)
