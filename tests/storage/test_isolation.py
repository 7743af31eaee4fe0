# SPDX-License-Identifier: Apache-2.0
"""The proof is what is read back, never what a command answered."""

import pytest

from fencer.errors import StorageRefused, TransportError
from fencer.model import ReservationType
from fencer.observations import LunFailed, LunIsolated
from fencer.storage.arbitration import arbitrate
from fencer.storage.isolation import isolate
from fencer.storage.key_removal import Removal
from fencer.storage.look import Look, guard_key
from fencer.storage.pr import InAction, OutAction, Reservation
from fencer.storage.transport import ScsiStatus
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import ALL_REGISTRANTS, A, B, C, contest, deadline, lun, registered

EITHER = pytest.mark.parametrize("unopposed", [False, True])


@EITHER
@pytest.mark.parametrize("kind", ReservationType)
def test_all_six_types_shut_out_an_unregistered_node(kind: ReservationType, unopposed: bool) -> None:
    target = registered("a", "b", holder="b", kind=kind)
    end = isolate(lun(target, "a"), contest(reservation_type=kind), deadline(), unopposed=unopposed)
    assert isinstance(end, LunIsolated)
    assert not end.already
    assert target.write("b") is ScsiStatus.RESERVATION_CONFLICT
    assert target.write("a") is ScsiStatus.GOOD


@pytest.mark.parametrize("kind", ReservationType)
@pytest.mark.parametrize(
    ("keys", "holder", "shut"),
    [
        ((), None, False),
        ((A,), None, False),
        ((A,), A, True),
        ((A, C), C, True),  # a third node holds it
        ((A, B), A, False),
        ((B,), B, False),
        ((A, guard_key(B)), A, False),
        ((guard_key(B),), guard_key(B), False),
    ],
)
def test_what_shuts_out(kind: ReservationType, keys: tuple, holder: object, shut: bool) -> None:  # type: ignore[type-arg]
    shown = None if kind in ALL_REGISTRANTS else holder
    look = Look(1, frozenset(keys), Reservation(1, shown, kind if holder else None))  # type: ignore[arg-type]
    assert look.shuts_out(B) is shut


def test_a_reservation_of_an_unregistered_holder_shuts_no_node_out() -> None:
    wero = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
    assert not Look(1, frozenset({A}), Reservation(1, C, wero)).shuts_out(B)


@EITHER
def test_a_missing_reservation_is_made(unopposed: bool) -> None:
    target = registered("a", holder=None)
    end = isolate(lun(target, "a"), contest(), deadline(), unopposed=unopposed)
    assert end == LunIsolated(lun(target, "a").name, aborted=True, already=False)
    assert target.write("b") is ScsiStatus.RESERVATION_CONFLICT


def test_found_so_leaves_a_trace_and_changes_nothing_else() -> None:
    """By the generation a victim whose key the target has dropped knows that it must not restore it."""
    target = registered("a", "c", holder="c")
    before, keys = target.generation, target.keys
    end = isolate(lun(target, "a"), contest(), deadline())
    assert isinstance(end, LunIsolated)
    assert end.already
    assert (target.generation, target.keys) == (before + 1, keys)
    assert target.log == [("a", OutAction.REGISTER, ScsiStatus.GOOD)]


def test_what_cannot_be_traced_is_not_found_so() -> None:
    target = registered("a", "c", holder="c")
    unit = lun(target, "a", "a2")
    serve = target.execute

    def refuse(initiator: str, cdb: bytes, data_out: bytes, length: int):  # type: ignore[no-untyped-def]
        if cdb[0] == 0x5F:
            raise TransportError(f"{initiator}: gone")
        return serve(initiator, cdb, data_out, length)

    target.execute = refuse  # type: ignore[method-assign]
    end = isolate(unit, contest(), deadline())
    assert isinstance(end, LunFailed)
    assert "a2: gone" in end.reason


def test_who_has_won_the_race_notes_the_ports_sends_one_command_and_looks_once() -> None:
    target = registered("a", "b", "c")
    serve, sent = target.execute, []

    def note(initiator: str, cdb: bytes, data_out: bytes, length: int):  # type: ignore[no-untyped-def]
        sent.append(cdb[:2])
        return serve(initiator, cdb, data_out, length)

    target.execute = note  # type: ignore[method-assign]
    end = isolate(lun(target, "a"), contest(), deadline(), unopposed=True)
    assert end == LunIsolated(lun(target, "a").name, aborted=True, already=False)
    full_status = bytes((0x5E, InAction.READ_FULL_STATUS))
    look = [bytes((0x5E, InAction.READ_RESERVATION)), bytes((0x5E, InAction.READ_KEYS))]
    assert sent == [full_status, bytes((0x5F, OutAction.PREEMPT_AND_ABORT)), *look, full_status]
    assert target.keys == [A, C]


@pytest.mark.parametrize("names", [("a", "c"), ("b", "c"), ("c",)])
def test_of_who_has_won_the_race_a_command_that_is_refused_changes_nothing(names: tuple[str, ...]) -> None:
    target = registered(*names, holder="c")
    before = target.generation, target.keys
    end = isolate(lun(target, "a"), contest(), deadline(), unopposed=True)
    assert end == LunIsolated(lun(target, "a").name, True, True) if "a" in names else isinstance(end, LunFailed)
    assert (target.generation - ("a" in names), target.keys) == before  # the trace
    refused = [(who, what) for who, what, status in target.log if status is ScsiStatus.RESERVATION_CONFLICT]
    assert len(refused) == len(target.log) - ("a" in names)


@pytest.mark.parametrize("names", [(), ("b",), ("c",)])
def test_a_caller_that_is_not_registered_isolates_no_node_and_writes_nothing(names: tuple[str, ...]) -> None:
    target = registered(*names, holder=None)
    assert isinstance(isolate(lun(target, "a"), contest(), deadline()), LunFailed)
    assert target.log == []


@EITHER
@pytest.mark.parametrize("abort", [True, False])
def test_a_lost_answer_to_the_removal_is_neither_found_so_nor_strong(abort: bool, unopposed: bool) -> None:
    """The PREEMPT is executed, its answer lost on the first path; the second path shows the key gone. That the victim's
    commands are ended, too, only the answer to a PREEMPT AND ABORT says."""
    target = registered("a1", "a2", "b", target=FakeTarget(preempt_and_abort=abort))
    unit = lun(target, "a1", "a2")
    serve = target.execute

    def lose(initiator: str, cdb: bytes, data_out: bytes, length: int):  # type: ignore[no-untyped-def]
        if cdb[:2] == bytes((0x5F, OutAction.PREEMPT_AND_ABORT if abort else OutAction.PREEMPT)):
            target.deaf.add(initiator)
        return serve(initiator, cdb, data_out, length)

    target.execute = lose  # type: ignore[method-assign]
    end = isolate(unit, contest(), deadline(), unopposed=unopposed)
    assert end == LunIsolated(unit.name, aborted=False, already=False)


@EITHER
def test_a_silent_lun_is_not_isolated(unopposed: bool) -> None:
    target = registered("a", "b")
    target.silent.add("a")
    assert isinstance(isolate(lun(target, "a"), contest(), deadline(), unopposed=unopposed), LunFailed)


@EITHER
def test_an_endless_busy_storm_ends_at_the_deadline(unopposed: bool) -> None:
    target = registered("a", "b")
    target.busy = 10**9
    assert isinstance(isolate(lun(target, "a"), contest(), deadline(seconds=5), unopposed=unopposed), LunFailed)


@EITHER
@pytest.mark.parametrize("repair", [False, True])
def test_a_stale_nexus_is_repaired_only_where_that_is_allowed(repair: bool, unopposed: bool) -> None:
    target = registered("a", "b")
    target.relogin("a")
    end = isolate(lun(target, "a"), contest(repair=repair), deadline(), unopposed=unopposed)
    assert isinstance(end, LunIsolated if repair else LunFailed)
    assert (B in target.keys) is not repair
    assert guard_key(A) not in target.keys


def test_a_path_without_registration_leaves_it_to_another() -> None:
    target = registered("a2", "b")
    assert isinstance(isolate(lun(target, "a1", "a2"), contest(repair=False), deadline()), LunIsolated)
    assert target.keys == [A]


def _lose_first(target: FakeTarget, *, executed: bool) -> None:
    """Of the first PREEMPT AND ABORT only the answer is lost, or the whole command."""
    serve, lost = target.execute, []

    def lose(initiator: str, cdb: bytes, data_out: bytes, length: int):  # type: ignore[no-untyped-def]
        if cdb[:2] == bytes((0x5F, OutAction.PREEMPT_AND_ABORT)) and not lost:
            lost.append(initiator)
            if executed:
                serve(initiator, cdb, data_out, length)
            raise TransportError("no answer")
        return serve(initiator, cdb, data_out, length)

    target.execute = lose  # type: ignore[method-assign]


@pytest.mark.parametrize("executed", [False, True])
def test_a_second_abort_that_found_the_key_there_is_as_good_as_a_first(executed: bool) -> None:
    target = registered("a", "b")
    _lose_first(target, executed=executed)
    end = isolate(lun(target, "a"), contest(), deadline())
    assert end == LunIsolated(lun(target, "a").name, aborted=not executed, already=False)


@pytest.mark.parametrize("executed", [False, True])
def test_of_two_keys_of_the_target_the_weaker_removal_counts(executed: bool) -> None:
    target = registered("a", "b")
    target.registrations[target._session("b2")] = int(guard_key(B))
    _lose_first(target, executed=executed)
    end = isolate(lun(target, "a"), contest(), deadline())
    assert end == LunIsolated(lun(target, "a").name, aborted=not executed, already=False)
    target = registered("a", "b")
    target.registrations[target._session("b2")] = int(guard_key(B))
    _lose_first(target, executed=executed)
    won = arbitrate(lun(target, "a"), contest(), deadline())
    assert won.removal is not None
    assert won.removal.aborted is not executed


def test_a_path_that_refuses_removes_nothing() -> None:
    assert not Removal(None, aborted=False, failure=StorageRefused("not permitted")).may_have_removed
    assert Removal(None, aborted=False, failure=TransportError("no answer")).may_have_removed
