# SPDX-License-Identifier: Apache-2.0
"""The proof is what is read back, never what a command answered."""

import pytest

from fencer.errors import StorageRefused, TransportError
from fencer.model import OtherKeys, ReservationType
from fencer.observations import LunFailed, LunIsolated, LunState, Observation
from fencer.storage import procedure
from fencer.storage.arbitration import arbitrate
from fencer.storage.isolation import isolate
from fencer.storage.key_removal import Removal
from fencer.storage.look import Look, guard_key
from fencer.storage.nexus import Outcome
from fencer.storage.pr import InAction, OutAction, Reservation
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past
from fencer.storage.settings import StorageSettings
from fencer.storage.transport import ScsiStatus
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import (
    ABORT,
    FULL_STATUS,
    GONE,
    KEYS,
    RESERVATION,
    RESERVE,
    FaultyPath,
    faulty,
    never,
    unit,
)
from tests.storage.nodes import ALL_REGISTRANTS, A, B, C, Clock, contest, deadline, lun, registered

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
    target, clock = registered("a", "c", holder="c"), Clock()
    unit = lun(target, "a", "a2", clock=clock)
    serve = target.execute

    def refuse(initiator: str, cdb: bytes, data_out: bytes, length: int):  # type: ignore[no-untyped-def]
        if cdb[0] == 0x5F:
            raise TransportError(f"{initiator}: gone")
        return serve(initiator, cdb, data_out, length)

    target.execute = refuse  # type: ignore[method-assign]
    end = isolate(unit, contest(), deadline(clock))
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


# --- over several paths, and after commands that were not answered ----------------------------------------------------


def _unanswered(target: FakeTarget, name: str, clock: Clock) -> FaultyPath:
    """A path whose first PREEMPT AND ABORT is executed, and not answered."""
    path = faulty(target, name, clock, GONE, lambda path, cdb: cdb[:2] == ABORT and path.commands.count(ABORT) == 1)
    path.executes = True
    return path


@pytest.mark.parametrize("others", [None, OtherKeys((), 1)])
def test_a_first_command_without_an_answer_does_not_show_that_the_key_was_there(others: OtherKeys | None) -> None:
    """The key was absent, and c's may be the target's: no other command than the one that was lost says otherwise."""
    clock, target = Clock(), registered("a", "c")
    race = unit(_unanswered(target, "a", clock), clock=clock)
    end = isolate(race, contest(others=others), deadline(clock), unopposed=True)
    assert isinstance(end, LunFailed)
    assert f"key {B} of the node to fence is not registered, but {C} is" in end.reason


def test_what_arbitration_has_seen_was_there_also_where_its_command_was_not_answered() -> None:
    clock, target = Clock(), registered("a", "b", "c")
    race = unit(_unanswered(target, "a", clock), clock=clock)
    won = arbitrate(race, contest(others=None), deadline(clock), clock.sleep)
    assert won.removal is not None
    assert won.removal.outcome is None
    end = isolate(race, contest(others=None), deadline(clock), won.removal)
    assert end == LunIsolated("lun", aborted=False, already=False)


def test_what_arbitration_took_weakly_stays_weak_when_the_key_comes_back_and_is_taken_again() -> None:
    """Which of the target's keys arbitration took is not known here: a strong removal of one makes up for none."""
    target = registered("a", "b")
    end = isolate(lun(target, "a"), contest(), deadline(), Removal(Outcome.DONE, aborted=False))
    assert end == LunIsolated(lun(target, "a").name, aborted=False, already=False)


def test_a_first_command_that_was_lost_is_made_up_for_by_one_that_found_the_key_there() -> None:
    target = registered("a", "b")
    _lose_first(target, executed=False)
    end = isolate(lun(target, "a"), contest(), deadline(), unopposed=True)
    assert end == LunIsolated(lun(target, "a").name, aborted=True, already=False)


@EITHER
def test_a_removal_is_read_back_once_over_each_path(unopposed: bool) -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    first, second = faulty(target, "a1", clock, strikes=never), faulty(target, "a2", clock, strikes=never)
    assert isinstance(
        isolate(unit(first, second, clock=clock), contest(), deadline(clock), unopposed=unopposed), LunIsolated
    )
    look = [RESERVATION, KEYS]
    assert first.commands == [*([] if unopposed else look), FULL_STATUS, ABORT, *look, FULL_STATUS]
    assert second.commands == look


def test_the_first_command_takes_no_path_that_has_just_failed() -> None:
    clock, target = Clock(), registered("a1", "a2", "b")
    bad, good = faulty(target, "a1", clock), faulty(target, "a2", clock, strikes=never)
    race = unit(bad, good, clock=clock)
    race.look(deadline(clock))
    bad.sent.clear()
    assert isinstance(isolate(race, contest(), deadline(clock), unopposed=True), LunIsolated)
    assert good.commands.count(ABORT) == 1
    assert bad.commands == [RESERVATION], "it is read back, once"


@pytest.mark.parametrize("fault", [GONE, StorageRefused("/dev/sdb: SG_IO: Operation not permitted")])
def test_a_path_that_does_not_reserve_leaves_it_to_another(fault: TransportError | StorageRefused) -> None:
    clock, target = Clock(), registered("a1", "a2", holder=None)
    bad = faulty(target, "a1", clock, fault, lambda _path, cdb: cdb[:2] == RESERVE)
    end = isolate(unit(bad, target.nexus("a2"), clock=clock), contest(), deadline(clock))
    assert end == LunIsolated("lun", aborted=True, already=False)
    assert target.reservation is not None
    assert target.reservation.holder is target._session("a2")


# --- the trace that is left where the key was absent ------------------------------------------------------------------


def test_a_trace_is_left_also_at_a_target_without_aptpl() -> None:
    target = registered("a", "c", holder="c", target=FakeTarget(aptpl=False))
    before = target.generation
    assert isinstance(isolate(lun(target, "a"), contest(aptpl=True), deadline()), LunIsolated)
    assert target.generation == before + 1


@pytest.mark.parametrize(
    ("repair", "private", "isolated"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_the_trace_registers_a_path_again_only_where_that_is_allowed(
    repair: bool, private: bool, isolated: bool
) -> None:
    target = registered("a", "c", holder="c")
    target.relogin("a")
    clock = Clock()
    end = isolate(lun(target, "a", private=private, clock=clock), contest(repair=repair), deadline(clock))
    assert isinstance(end, LunIsolated) is isolated
    assert (target._session("a") in target.registrations) is isolated


def test_a_trace_that_is_refused_says_what_to_do() -> None:
    clock, target = Clock(), registered("a", "c", holder="c")
    refused = StorageRefused("/dev/sdb: SG_IO: Operation not permitted", "run as root")
    path = faulty(target, "a", clock, refused, lambda _path, cdb: cdb[0] == 0x5F)
    end = isolate(unit(path, clock=clock), contest(), deadline(clock, 3.0))
    assert isinstance(end, LunFailed)
    assert end.reason.endswith("SG_IO: Operation not permitted: run as root")


@pytest.mark.parametrize("kind", ReservationType)
@pytest.mark.parametrize("product", [b"IET     VIRTUAL-DISK    ", b"FAKE    MEMORY          "])
def test_a_reservation_that_tgtd_may_lose_is_no_proof(kind: ReservationType, product: bytes) -> None:
    """tgtd goes on using the registration that made the reservation after it has freed it. On a real one a write of the
    victim was taken after other initiators had come and gone."""
    target = registered("a", "b", holder="b", kind=kind)
    target.product = product
    end = isolate(lun(target, "a"), contest(reservation_type=kind), deadline())
    lasts = kind not in ALL_REGISTRANTS or b"IET" not in product
    assert isinstance(end, LunIsolated) is lasts
    assert isinstance(end, LunIsolated) or "IET VIRTUAL-DISK) may lose at any time" in end.reason

    told: list[Observation] = []
    settings = StorageSettings(("x",), None, A, reservation_type=kind, others=OtherKeys((B, C)))
    opened = Opened((lun(target, "a"),))
    procedure.monitor(
        opened, settings, lambda _: Past(History.REGISTERED, 1, A), lambda *several: told.extend(several), deadline()
    )
    assert any(isinstance(what, LunState) for what in told) is lasts
