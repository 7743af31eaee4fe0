# SPDX-License-Identifier: Apache-2.0
"""One LUN, one race: who may go on, and what a loser leaves alone. (Interleavings: tests/decisions.)"""

import pytest

from fencer.errors import StorageError, TransportError
from fencer.model import OtherKeys, ReservationType
from fencer.observations import ArbitrationResult
from fencer.storage.arbitration import Contest, arbitrate, slot_s
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import guard_key
from fencer.storage.nexus import Nexus
from fencer.storage.pr import REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED, InAction, OutAction
from fencer.storage.settings import StorageSettings
from fencer.storage.transport import ScsiStatus, Sense
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B, Clock, contest, deadline, lun, registered

WON, LOST, UNREACHABLE = ArbitrationResult.WON, ArbitrationResult.LOST, ArbitrationResult.UNREACHABLE


def play(target: FakeTarget, *names: str, private: bool = False, seconds: float = 30.0, **more: object):  # type: ignore[no-untyped-def]
    clock = Clock()
    return arbitrate(
        lun(target, *names, clock=clock, private=private), contest(**more), deadline(clock, seconds), clock.sleep
    )


def test_a_contest_has_the_terms_of_the_luns() -> None:
    others = OtherKeys((A, B))
    settings = StorageSettings(("lun",), None, A, ReservationType.EXCLUSIVE_ACCESS, aptpl=False, others=others)
    made = Contest.on(settings, A, B, slot_s=0.25, repair=False)
    assert made == Contest(A, B, ReservationType.EXCLUSIVE_ACCESS, False, 0.25, False, others)


def test_the_first_to_preempt_wins() -> None:
    target = registered("a", "b")
    end = play(target, "a")
    assert end.result is WON
    assert end.removal is not None
    assert end.removal.aborted
    assert target.keys == [A]


@pytest.mark.parametrize("names", [(), ("b",), ("b", "c")])
@pytest.mark.parametrize("holder", [None, "b"])
def test_an_unregistered_caller_loses_and_writes_nothing(names: tuple[str, ...], holder: str | None) -> None:
    """Also with no key and no reservation at all: nothing protects such a LUN (pitfalls 1 and 4)."""
    target = registered(*names, holder=holder if "b" in names else None)
    end = play(target, "a")
    assert end.result is LOST
    assert "not registered" in end.reason
    assert target.log == []


def test_a_target_that_is_gone_already_is_won_without_writing() -> None:
    target = registered("a")
    end = play(target, "a")
    assert (end.result, end.removal) == (WON, None)
    assert target.log == []


def test_the_caller_loses_that_was_preempted_while_it_waited_for_its_rank() -> None:
    target = registered("a", "b")
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        target._unregister([target._session("a")], attention=None)

    end = arbitrate(lun(target, "a", clock=clock), contest(slot_s=0.25), deadline(clock), sleep)
    assert end.result is LOST
    assert target.log == []


@pytest.mark.parametrize(("own", "active", "slots"), [(A, True, 0), (B, True, 0), (A, False, 1), (B, False, 2)])
def test_ranks(own, active: bool, slots: int) -> None:  # type: ignore[no-untyped-def]
    other = B if own == A else A
    assert contest(own, other, slot_s=0.25).wait_s(active) == slots * 0.25


@pytest.mark.parametrize(
    ("took_s", "slot"), [(0.0, 0.02), (0.03, 0.02), (0.06, 0.03), (0.2, 0.1), (0.5, 0.25), (30.0, 0.25)]
)
def test_a_rank_is_as_long_as_half_of_the_start(took_s: float, slot: float) -> None:
    assert slot_s(took_s) == pytest.approx(slot)


def test_who_finds_the_race_decided_waits_for_no_rank() -> None:
    waits: list[float] = []
    for names, result in ((("a",), WON), (("b",), LOST)):
        clock = Clock()
        end = arbitrate(lun(registered(*names), "a", clock=clock), contest(slot_s=0.25), deadline(clock), waits.append)
        assert end.result is result
    assert waits == []


def test_a_relogin_is_repaired_under_the_guard() -> None:
    target = registered("a", "b")
    target.relogin("a")
    assert play(target, "a").result is WON
    assert B not in target.keys
    assert guard_key(A) not in target.keys
    assert target.registrations[target._session("a")] == A


def test_without_leave_to_repair_a_relogin_undoes_nothing_and_says_what_to_do() -> None:
    target = registered("a", "b")
    target.relogin("a")
    end = play(target, "a", repair=False)
    assert end.result is UNREACHABLE
    assert end.registered
    assert "unfence" in end.reason
    assert [status for _, _, status in target.log] == [ScsiStatus.RESERVATION_CONFLICT]
    assert sorted(target.keys) == [A, B]


def test_a_private_session_may_always_be_repaired() -> None:
    target = registered("a", "b")
    target.relogin("a")
    assert play(target, "a", repair=False, private=True).result is WON


def test_a_path_that_is_registered_is_used_rather_than_repairing_one_that_is_not() -> None:
    target = registered("a2", "b")
    assert play(target, "a1", "a2", repair=False).result is WON
    assert all(action is OutAction.PREEMPT_AND_ABORT for _, action, _ in target.log)


def test_a_key_of_the_victim_that_is_not_certain_yet_is_taken_too() -> None:
    target = registered("a", "b")
    target.registrations[target._session("b2")] = int(guard_key(B))
    assert play(target, "a").result is WON
    assert target.keys == [A]


@pytest.mark.parametrize("sense", [RESERVATIONS_PREEMPTED, REGISTRATIONS_PREEMPTED])
def test_a_preemption_in_the_middle_makes_it_look_before_it_writes(sense: Sense) -> None:
    target = registered("a", "b")
    unit = lun(target, "a")
    ask = target._serve
    outs = []

    def serve(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if cdb[0] == 0x5F and not any(earlier[0] == 0x5F for earlier in outs):
            target.inject("a", sense)
        outs.append(cdb[:2])
        return ask(session, cdb, data_out, length)

    target._serve = serve  # type: ignore[method-assign]
    assert arbitrate(unit, contest(), deadline()).result is WON
    first, second = [n for n, cdb in enumerate(outs) if cdb[0] == 0x5F]
    assert any(cdb[0] == 0x5E for cdb in outs[first + 1 : second])


@pytest.mark.parametrize("how", ["silent", "deaf"])
def test_a_lost_command_or_answer_on_one_path_is_decided_by_reading_over_another(how: str) -> None:
    target = registered("a1", "a2", "b")
    getattr(target, how).add("a1")
    end = play(target, "a1", "a2")
    assert end.result is WON
    assert target.keys.count(B) == 0


def test_an_unreachable_lun_is_not_won() -> None:
    target = registered("a", "b")
    target.silent.add("a")
    end = play(target, "a")
    assert end.result is UNREACHABLE
    assert not end.registered
    assert target.log == []


def test_no_path_at_all_is_not_won() -> None:
    assert play(registered("a", "b")).result is UNREACHABLE


@pytest.mark.parametrize("status", [ScsiStatus.BUSY, ScsiStatus.TASK_SET_FULL])
def test_a_busy_storm_is_waited_out(status: ScsiStatus) -> None:
    target = registered("a", "b")
    target.busy, target.busy_status = 30, status
    assert play(target, "a").result is WON


def test_a_storm_without_end_ends_at_the_deadline() -> None:
    target = registered("a", "b")
    target.busy = 10**9
    end = play(target, "a", seconds=5)
    assert end.result is UNREACHABLE
    assert not end.registered


def test_a_node_that_time_has_run_out_for_does_not_count_as_registered() -> None:
    """It was at the beginning. What it is now, nobody knows."""
    target = registered("a", "b")
    serve = target._serve

    def refuse(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if cdb[0] == 0x5F:
            target.silent.add("a")
            raise TransportError("no answer")
        return serve(session, cdb, data_out, length)

    target._serve = refuse  # type: ignore[method-assign]
    end = play(target, "a", seconds=5)
    assert end.result is UNREACHABLE
    assert not end.registered


def test_a_target_that_lost_everything_is_lost() -> None:
    target = registered("a", "b")
    target.reset(lose_registrations=True)
    assert play(target, "a").result is LOST
    assert target.log == []


def test_plain_preempt_is_named() -> None:
    end = play(registered("a", "b", target=FakeTarget(preempt_and_abort=False)), "a")
    assert end.result is WON
    assert end.removal is not None
    assert not end.removal.aborted


@pytest.mark.parametrize("kind", ReservationType)
def test_every_type_can_be_raced_for(kind: ReservationType) -> None:
    target = registered("a", "b", holder="b", kind=kind)
    assert play(target, "a", reservation_type=kind).result is WON
    assert target.keys == [A]


@pytest.mark.parametrize("names", [("a1",), ("a1", "a2")])
def test_a_read_that_conflicts_says_that_this_node_is_not_registered(names: tuple[str, ...]) -> None:
    """SPC-4 lets every node read; some targets do not."""
    target = registered("b", target=FakeTarget(reads_need_registration=True))
    end = play(target, *names)
    assert end.result is LOST
    assert "this node's key 0xa is not registered" in end.reason
    assert target.log == []


def test_a_path_that_may_not_read_leaves_it_to_one_that_may() -> None:
    target = registered("a2", "b", target=FakeTarget(reads_need_registration=True))
    assert play(target, "a1", "a2", repair=False).result is WON


def test_a_silent_path_beside_one_that_may_not_read_is_lost_too() -> None:
    target = registered("b", target=FakeTarget(reads_need_registration=True))
    target.silent.add("a1")
    assert play(target, "a1", "a2").result is LOST


def test_who_may_not_read_any_more_in_the_middle_of_the_race_has_lost_it() -> None:
    target = registered("a", "b", target=FakeTarget(reads_need_registration=True))
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        target._unregister([target._session("a")], attention=None)

    assert arbitrate(lun(target, "a", clock=clock), contest(slot_s=0.25), deadline(clock), sleep).result is LOST
    target = registered("a", "b", target=FakeTarget(reads_need_registration=True))
    ask = target._serve

    def serve(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if cdb[0] == 0x5F:
            target._unregister([target._session("a")], attention=None)
        return ask(session, cdb, data_out, length)

    target._serve = serve  # type: ignore[method-assign]
    assert play(target, "a").result is LOST


@pytest.mark.parametrize("changes", [1, 4, 10**9])
def test_a_look_is_one_moment(changes: int) -> None:
    """Keys and reservation of different generations are no look: they are read again, while the deadline lets them."""
    target = registered("a")
    serve, reads = target._serve, 0

    def serve_and_change(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        nonlocal reads
        reply = serve(session, cdb, data_out, length)
        if cdb[:2] == bytes((0x5E, InAction.READ_RESERVATION)):
            reads += 1
            if reads <= changes:
                target.generation += 1
        return reply

    target._serve = serve_and_change  # type: ignore[method-assign]
    clock = Clock()
    unit = lun(target, "a", clock=clock)
    if changes < 10**9:
        look = unit.look(deadline(clock))
        assert look.generation == look.reservation.generation == target.generation
        assert reads == changes + 1
    else:
        with pytest.raises(StorageError):
            unit.look(deadline(clock, 1.0))


def test_after_a_lost_guard_it_pauses_for_a_moment_and_tries_again() -> None:
    """Drawn anew each time, so that two nodes do not keep step."""
    target = registered("a", "b")
    target.relogin("a")
    serve, disturbed = target._serve, 0

    def disturb(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        nonlocal disturbed
        reply = serve(session, cdb, data_out, length)
        if cdb[:2] == bytes((0x5F, OutAction.REGISTER)) and disturbed < 8:
            disturbed += 1
            target.generation += 1
        return reply

    target._serve = disturb  # type: ignore[method-assign]
    clock, pauses = Clock(), []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.sleep(seconds)

    unit = LogicalUnit(target.wwid, "lun", [Nexus(target.nexus("a"), sleep=sleep)])
    assert arbitrate(unit, contest(), deadline(clock), sleep).result is WON
    assert sum(0 < seconds <= 0.04 for seconds in pauses) >= 4
