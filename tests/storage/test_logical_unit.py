# SPDX-License-Identifier: Apache-2.0
"""A LUN asked over its paths: one that fails costs a moment, and only the deadline ends the asking."""

import threading
import time
from collections.abc import Collection

import pytest

from fencer.errors import (
    CommandFailed,
    FenceError,
    NotRegistered,
    PathsDiffer,
    StorageError,
    StorageRefused,
)
from fencer.model import Deadline
from fencer.observations import ArbitrationResult, LunFailed, LunIsolated
from fencer.storage import logical_unit
from fencer.storage.arbitration import arbitrate
from fencer.storage.isolation import isolate
from fencer.storage.logical_unit import LONGEST_PAUSE_S, LogicalUnit
from fencer.storage.nexus import PATH_S, Nexus
from fencer.storage.procedure import Opened
from fencer.storage.transport import ScsiReply, ScsiStatus, ScsiTransport, Sense
from tests.storage.fake_target import FakeReservation, FakeTarget
from tests.storage.faulty_path import GONE, KEYS, Fault, FaultyPath, faulty, never, unit, until
from tests.storage.nodes import WERO, A, B, C, Clock, contest, deadline, registered, unbound

BECOMING_READY = ScsiReply(ScsiStatus.CHECK_CONDITION, Sense(2, 0x04, 0x01), b"")
BUSY = ScsiReply(ScsiStatus.BUSY, None, b"")
CONFLICT = ScsiReply(ScsiStatus.RESERVATION_CONFLICT, None, b"")
REFUSED = StorageRefused("/dev/sdb: SG_IO: Operation not permitted")
TAKE_OVER_S = 20.0


@pytest.mark.parametrize("fault", [BECOMING_READY, BUSY, GONE, None])
def test_a_bad_first_path_costs_about_a_second(fault: Fault) -> None:
    clock, target = Clock(), registered("a1", "a2", "a3", "b")
    lun = unit(faulty(target, "a1", clock, fault), target.nexus("a2"), target.nexus("a3"), clock=clock)
    end = arbitrate(lun, contest(), deadline(clock), clock.sleep)
    assert end.result is ArbitrationResult.WON
    assert clock.now <= 2 * PATH_S
    assert target.keys == [A, A, A]


def test_a_path_that_failed_is_asked_last_from_then_on() -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    bad, good = faulty(target, "a1", clock, GONE), faulty(target, "a2", clock, GONE, never)
    lun = unit(bad, good, clock=clock)
    for _ in range(3):
        lun.look(deadline(clock))
    assert len(bad.sent) == 1
    assert [nexus.name for nexus in lun.nexuses] == [good.name, bad.name]


@pytest.mark.parametrize("fault", [BECOMING_READY, BUSY, GONE])
@pytest.mark.parametrize("paths", [1, 2])
def test_a_controller_that_takes_20_s_to_take_over_is_waited_for(fault: Fault, paths: int) -> None:
    for work in ("arbitrate", "isolate"):
        clock, target = Clock(), registered("a1", "a2", "b")
        names = ("a1", "a2")[:paths]
        lun = unit(*(faulty(target, name, clock, fault, until(TAKE_OVER_S)) for name in names), clock=clock)
        if work == "arbitrate":
            assert arbitrate(lun, contest(), deadline(clock), clock.sleep).result is ArbitrationResult.WON
        else:
            assert isinstance(isolate(lun, contest(), deadline(clock)), LunIsolated)
        assert TAKE_OVER_S <= clock.now < TAKE_OVER_S + LONGEST_PAUSE_S + 2 * PATH_S
        assert B not in target.keys


@pytest.mark.parametrize("fault", [BECOMING_READY, BUSY, GONE])
def test_a_lun_that_stays_away_is_asked_until_the_deadline_and_not_in_a_flood(fault: Fault) -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    paths = [faulty(target, name, clock, fault) for name in ("a1", "a2")]
    with pytest.raises(StorageError):
        unit(*paths, clock=clock).look(deadline(clock, seconds=10))
    assert 9.5 < clock.now < 10.5
    rounds = len(paths[0].sent)
    assert 10 <= rounds <= 200
    clock.now = 0
    end = arbitrate(unit(*paths, clock=clock), contest(), deadline(clock, seconds=10), clock.sleep)
    assert end.result is ArbitrationResult.UNREACHABLE


@pytest.mark.parametrize(
    ("fault", "kind"), [(REFUSED, StorageRefused), (CONFLICT, NotRegistered)], ids=["refused", "conflict"]
)
def test_a_refusal_by_every_path_ends_it_at_once(fault: Fault, kind: type[FenceError]) -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    paths = [faulty(target, name, clock, fault) for name in ("a1", "a2")]
    with pytest.raises(kind):
        unit(*paths, clock=clock).look(deadline(clock))
    assert clock.now < 1


def test_a_path_that_is_not_registered_is_not_forgotten_because_the_other_is_silent() -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    lun = unit(faulty(target, "a1", clock, CONFLICT), faulty(target, "a2", clock, GONE), clock=clock)
    with pytest.raises(NotRegistered):
        lun.look(deadline(clock, seconds=5))


def test_the_only_path_is_given_all_the_time_it_asks_for() -> None:
    clock, target = Clock(), registered("a", "b")
    path = faulty(target, "a", clock, BUSY, until(5.0))
    assert unit(path, clock=clock).look(deadline(clock)).keys == {A, B}


def test_one_of_several_that_asks_for_time_says_for_how_long_it_was_asked() -> None:
    clock, target = Clock(), registered("a", "b")
    nexus = Nexus(faulty(target, "a", clock, BUSY), sleep=clock.sleep).as_one_of_several(unbound)
    with pytest.raises(CommandFailed, match=r"READ KEYS: busy for 0\.25 s$"):
        nexus.read_keys(deadline(clock))


def test_a_path_that_hangs_in_earnest_holds_up_no_caller() -> None:
    """With threads and the real clock: SG_IO on a path that the kernel has blocked."""

    class Stuck:
        name = "/dev/sdb"

        def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
            time.sleep(60)
            raise AssertionError

        def close(self) -> None:
            pass

    target = registered("a2", "b")
    lun = LogicalUnit(target.wwid, "lun", [Nexus(Stuck()), Nexus(target.nexus("a2"))])
    began = time.monotonic()
    assert arbitrate(lun, contest(), Deadline.after(40)).result is ArbitrationResult.WON
    assert isinstance(isolate(lun, contest(), Deadline.after(40)), LunIsolated)
    assert time.monotonic() - began < 30


class Gate:
    """A path whose commands wait until it is opened; it notes who sent them."""

    def __init__(self, inner: ScsiTransport, *, is_open: bool) -> None:
        self.name, self.inner, self.opened = inner.name, inner, threading.Event()
        self.threads: set[int] = set()
        if is_open:
            self.opened.set()

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        self.threads.add(threading.get_ident())
        self.opened.wait(60)
        return self.inner.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=timeout_s)

    def close(self) -> None:
        self.inner.close()


def gated(target: FakeTarget, stuck: Collection[int]) -> tuple[LogicalUnit, list[Gate]]:
    """Four paths with threads and the real clock; those numbered in stuck hang."""
    gates = [Gate(target.nexus(f"a{number}"), is_open=number not in stuck) for number in range(4)]
    return LogicalUnit(target.wwid, "lun", [Nexus(gate) for gate in gates]), gates


@pytest.mark.parametrize("stuck", [(0,), (1,), (3,), (0, 1), (0, 2, 3)])
def test_beside_paths_that_hang_every_other_one_is_read_back(
    monkeypatch: pytest.MonkeyPatch, stuck: tuple[int, ...]
) -> None:
    look_s = 4.0  # in the product 1.25 s, in which a busy machine may run no thread of a healthy path
    assert look_s > logical_unit.LOOK_S
    monkeypatch.setattr(logical_unit, "LOOK_S", look_s)
    target = registered("a0", "a1", "a2", "a3", "b")
    lun, gates = gated(target, stuck)
    began = time.monotonic()
    looks = lun.look_everywhere(Deadline.after(60))
    assert time.monotonic() - began < 25
    assert looks.paths == 4 - len(stuck)
    assert sorted(str(failure) for failure in looks.failures) == [
        f"{gates[number].name}: no answer within {look_s:.1f} s" for number in stuck
    ]
    again = lun.look_everywhere(Deadline.after(60))
    assert again.paths == 4 - len(stuck)
    assert all("an earlier command hangs" in str(failure) for failure in again.failures)
    for gate in gates:
        gate.opened.set()
    until = time.monotonic() + 30
    while lun.look_everywhere(Deadline.after(60)).paths < 4 and time.monotonic() < until:
        time.sleep(0.01)
    assert lun.look_everywhere(Deadline.after(60)).paths == 4, "a path that has come to itself counts again"


def test_where_all_paths_answer_one_thread_asks_them_all() -> None:
    lun, gates = gated(registered("a0", "a1", "a2", "a3", "b"), ())
    assert lun.look_everywhere(Deadline.after(60)).paths == 4
    first = gates[0].threads
    assert len(first) == 1
    assert all(gate.threads == first for gate in gates)
    assert threading.get_ident() not in first


# --- what all paths show ----------------------------------------------------------------------------------------------


def gateways(clock: Clock, *, first: FakeTarget | None = None, second: FakeTarget) -> LogicalUnit:
    """One LUN behind two gateways, each with reservations of its own."""
    return unit((first or registered("a", "b")).nexus("a"), second.nexus("a"), clock=clock)


def held_by(target: FakeTarget, name: str | None) -> FakeTarget:
    target.reservation = None if name is None else FakeReservation(WERO, target._session(name))
    return target


@pytest.mark.parametrize(
    "second",
    [
        registered("a", "b", "c"),  # a key more
        registered("a", "b"),  # its generation is moved below
        held_by(registered("a", "b"), "b"),
        held_by(registered("a", "b"), None),
    ],
    ids=["keys", "generation", "holder", "no reservation"],
)
def test_paths_that_differ_are_named(second: FakeTarget, request: pytest.FixtureRequest) -> None:
    if "generation" in request.node.callspec.id:
        second.generation += 1
    clock = Clock()
    with pytest.raises(PathsDiffer, match=r"^lun: its paths show different registrations \(fake:.*generation.*; fake:"):
        gateways(clock, second=second).look_everywhere(deadline(clock))
    assert clock.now < 2


def test_a_registration_between_two_paths_reading_is_no_difference() -> None:
    clock, target = Clock(), registered("a1", "a2", "b")

    def register(path: FaultyPath, _cdb: bytes) -> bool:
        if len(path.sent) == 1:
            registered("c", holder=None, target=target)
        return False

    lun = unit(target.nexus("a1"), faulty(target, "a2", clock, None, register), clock=clock)
    looks = lun.look_everywhere(deadline(clock))
    assert (looks.paths, len(looks.look.keys), looks.failures) == (2, 3, ())


def test_a_race_at_one_gateway_is_not_won_and_its_lun_not_isolated() -> None:
    clock = Clock()
    end = arbitrate(gateways(clock, second=registered("a", "b")), contest(), deadline(clock), clock.sleep)
    assert end.result is ArbitrationResult.UNREACHABLE
    assert "different registrations" in end.reason
    isolated = isolate(gateways(clock, second=registered("a", "b")), contest(), deadline(clock))
    assert isinstance(isolated, LunFailed)
    assert "different registrations" in isolated.reason


def test_a_lun_found_isolated_at_one_gateway_is_not_isolated() -> None:
    found_so, second = registered("a"), registered("a", "b")
    end = isolate(gateways(Clock(), first=found_so, second=second), contest(), deadline())
    assert isinstance(end, LunFailed)
    assert "different registrations" in end.reason


@pytest.mark.parametrize("fault", [BECOMING_READY, GONE, None])
def test_a_path_that_does_not_answer_hinders_no_proof_and_is_named(fault: Fault) -> None:
    clock, target = Clock(), registered("a1", "a2", "a3", "b")
    lun = unit(target.nexus("a1"), faulty(target, "a2", clock, fault), target.nexus("a3"), clock=clock)
    looks = lun.look_everywhere(deadline(clock))
    assert looks.paths == 2
    assert len(looks.failures) == 1
    assert isinstance(isolate(lun, contest(), deadline(clock)), LunIsolated)


def test_where_no_path_answers_yet_one_is_waited_for() -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    lun = unit(*(faulty(target, name, clock, GONE, until(5.0)) for name in ("a1", "a2")), clock=clock)
    assert lun.look_everywhere(deadline(clock)).paths == 2
    assert 5 <= clock.now < 7


# --- one moment, one order --------------------------------------------------------------------------------------------


def test_a_reservation_and_keys_of_different_generations_are_no_look() -> None:
    """Between the two readings the reservation passes to c, and a is removed: neither half is true with the other."""
    clock, target = Clock(), registered("a", "b", "c")
    stale = target.reservation

    def change(path: FaultyPath, cdb: bytes) -> bool:
        if cdb[:2] == KEYS and target.reservation is stale:
            target.reservation = FakeReservation(WERO, target._session("c"))
            del target.registrations[target._session("a")]
            target.generation += 1
        return False

    look = unit(faulty(target, "b", clock, None, change), clock=clock).look(deadline(clock))
    assert look.generation == target.generation
    assert look.reservation.holder == C
    assert look.keys == {B, C}


def test_a_lun_that_never_holds_still_is_no_look() -> None:
    clock, target = Clock(), registered("a", "b")

    def change(_path: FaultyPath, cdb: bytes) -> bool:
        target.generation += cdb[:2] == KEYS
        return False

    with pytest.raises(StorageError, match="registrations change faster than they can be read"):
        unit(faulty(target, "a", clock, None, change), clock=clock).look(deadline(clock, seconds=2))


def test_luns_are_in_the_order_of_their_wwids_whatever_they_are_called() -> None:
    """Names are each node's own; by their order two nodes would arbitrate on two LUNs."""
    luns = [LogicalUnit(wwid, name, ()) for wwid, name in (("naa.2", "a"), ("naa.1", "c"), ("naa.3", "b"))]
    assert [lun.wwid for lun in Opened(tuple(luns)).in_order] == ["naa.1", "naa.2", "naa.3"]
