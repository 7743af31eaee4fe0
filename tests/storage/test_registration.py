# SPDX-License-Identifier: Apache-2.0
"""A node registers itself when nothing of it can be left from before, and never after it was preempted in this boot."""

import pytest

from fencer.errors import TransportError
from fencer.model import Deadline, OtherKeys, ReservationKey, ReservationType
from fencer.observations import LunFailed, LunIsolated, LunRegistered, Noted, Observation
from fencer.storage import registration
from fencer.storage.isolation import isolate
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import Look, guard_key
from fencer.storage.nexus import Nexus
from fencer.storage.pr import OutAction, Reservation
from fencer.storage.registration import History, Past, Terms, objection
from fencer.storage.transport import ScsiReply, ScsiStatus, Sense
from tests.storage.fake_target import INVALID_FIELD_IN_CDB, REGISTRATIONS_PREEMPTED, FakeReservation, FakeTarget
from tests.storage.faulty_path import FaultyPath
from tests.storage.nodes import WERO, A, B, C, Clock, contest, deadline, lun, registered, unbound

TERMS = Terms(A, WERO, aptpl=True)
SAME, MOVED, RESTARTED = 1007, 1009, 0


def register(lun: LogicalUnit, terms: Terms, past: Past, deadline: Deadline) -> Observation:
    """What became of the LUN, without the notes."""
    return registration.register(lun, terms, past, deadline)[0]


@pytest.mark.parametrize("history", History)
@pytest.mark.parametrize("listed", ["own", "others", "nobody"])
@pytest.mark.parametrize("generation", [SAME, MOVED, RESTARTED])
def test_histories(history: History, listed: str, generation: int) -> None:
    keys = {"own": {A, B}, "others": {B}, "nobody": set()}[listed]
    recorded = None if history in (History.NEVER, History.UNKNOWN) else SAME
    past = Past(history, recorded, A if recorded is not None else None)
    allowed = (
        listed == "own"
        or history is History.NEVER
        or (history in (History.BEGUN, History.LISTED) and generation == SAME)
        or (history is History.REGISTERED and listed == "nobody" and generation == RESTARTED)
    )
    read = int(str(generation))  # equal, and no more, as what is read from a LUN
    look = Look(read, frozenset(keys), Reservation(read, None, None))  # type: ignore[arg-type]
    assert (objection(look, past, A) is None) is allowed


@pytest.mark.parametrize("history", [History.BEGUN, History.REGISTERED, History.UNKNOWN])
def test_a_refused_node_writes_nothing(history: History) -> None:
    target = registered("b", holder="b")
    target.generation = 9
    end = register(lun(target, "a"), TERMS, Past(history, 3, A), deadline())
    assert isinstance(end, LunFailed)
    assert "this node was fenced" in end.reason
    assert target.log == []


@pytest.mark.parametrize("others", [None, OtherKeys((C,)), OtherKeys((B, C))])
def test_a_node_that_is_one_initiator_port_with_another_is_not_registered(others: OtherKeys | None) -> None:
    """Cloned machines with one InitiatorName, guests that pass commands through one adapter of their host: the target
    has one registration for both. Ours in its place would fence the other node, which goes on writing under it."""
    target = registered("b", "c", holder="c")
    end = register(lun(target, "b"), Terms(A, WERO, True, others=others), Past(History.NEVER), deadline())
    if others is not None and B in others.known:
        assert isinstance(end, LunFailed)
        assert f"the initiator port of this path is registered under key {B} of another node" in end.reason
        assert target.keys == [B, C]
    else:  # of no node that is known: left over
        assert isinstance(end, LunRegistered)
        assert target.keys == [A, C]


@pytest.mark.parametrize("sense", [INVALID_FIELD_IN_CDB, REGISTRATIONS_PREEMPTED], ids=["no APTPL", "unit attention"])
def test_a_target_that_does_not_say_at_once_whose_port_it_is_has_no_key_replaced(sense: Sense) -> None:
    """A target that cannot store APTPL may look at the key before; a unit attention may come at any command."""
    target = registered("b", holder="b")
    serve, asked = target._serve, [0]

    def once(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if data_out[:16] == int(B).to_bytes(8) * 2:
            asked[0] += 1
            if asked[0] == 1:
                return ScsiReply(ScsiStatus.CHECK_CONDITION, sense, b"")
        return serve(session, cdb, data_out, length)

    target._serve = once  # type: ignore[method-assign]
    end = register(lun(target, "b"), Terms(A, WERO, True, others=OtherKeys((B,))), Past(History.NEVER), deadline())
    assert isinstance(end, LunFailed)
    assert f"registered under key {B} of another node" in end.reason
    assert target.keys == [B]
    assert asked == [2]


@pytest.mark.parametrize("paths", [("a",), ("a1", "a2")])
@pytest.mark.parametrize("before", range(12))
def test_a_fence_after_the_target_forgot_all_is_not_undone(paths: tuple[str, ...], before: int) -> None:
    """The other node registers, and finds ours absent under its own reservation: that is its proof."""
    target = FakeTarget()
    unit, serve, sent = lun(target, *paths), target._serve, [0]

    def fence(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if session.initiator in paths:
            sent[0] += 1
            if sent[0] == before + 1:
                target._serve = serve  # type: ignore[method-assign]
                assert isinstance(
                    register(lun(target, "b"), Terms(B, WERO, True), Past(History.NEVER), deadline()), LunRegistered
                )
                assert isinstance(isolate(lun(target, "b"), contest(B, A), deadline()), LunIsolated)
                target._serve = counted  # type: ignore[method-assign]
        return serve(session, cdb, data_out, length)

    def counted(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        return serve(session, cdb, data_out, length)

    target._serve = fence  # type: ignore[method-assign]
    end = register(unit, TERMS, Past(History.REGISTERED, 9, A), deadline())
    if sent[0] > before:
        assert isinstance(end, LunFailed)
        assert A not in target.keys
        assert guard_key(A) not in target.keys
        assert target.write(paths[0]) is ScsiStatus.RESERVATION_CONFLICT
    else:
        assert isinstance(end, LunRegistered)


def test_re_register_overrides() -> None:
    target = registered("b", holder="b")
    end = register(lun(target, "a"), Terms(A, WERO, True, re_register=True), Past(History.REGISTERED, 1, A), deadline())
    assert isinstance(end, LunRegistered)


def test_every_path_is_registered_and_a_reservation_held() -> None:
    target = registered(holder=None)
    end = registration.register(lun(target, "a1", "a2", "a3"), TERMS, Past(History.NEVER), deadline())
    assert end == (LunRegistered(lun(target).name, 3),)
    assert target.keys == [A] * 3
    assert target.write("b") is ScsiStatus.RESERVATION_CONFLICT
    assert target.aptpl_active


def test_a_reservation_that_is_held_is_left() -> None:
    target = registered("b", holder="b")
    assert isinstance(register(lun(target, "a"), TERMS, Past(History.NEVER), deadline()), LunRegistered)
    assert OutAction.RESERVE not in [action for _, action, _ in target.log]


def test_registering_again_changes_nothing() -> None:
    target = registered("a", "b")
    assert isinstance(register(lun(target, "a"), TERMS, Past(History.REGISTERED, 2, A), deadline()), LunRegistered)
    assert sorted(target.keys) == [A, B]


def test_a_returning_path_is_registered_beside_one_that_is() -> None:
    target = registered("a1", "b", holder="b")
    end = register(lun(target, "a1", "a2"), TERMS, Past(History.REGISTERED, 2, A), deadline())
    assert isinstance(end, LunRegistered)
    assert sorted(target.keys) == [A, A, B]


def test_a_key_that_was_changed_replaces_the_old_one_and_only_where_that_is_registered() -> None:
    target = registered("a", "b", holder="b")
    end = register(lun(target, "a"), Terms(C, WERO, True), Past(History.REGISTERED, 2, A), deadline())
    assert isinstance(end, LunRegistered)
    assert sorted(target.keys) == [B, C]


@pytest.mark.parametrize("own", [A, C])
def test_preempted_between_look_and_register_it_stays_out(own) -> None:  # type: ignore[no-untyped-def]
    """Also when its key was about to be changed: REGISTER AND IGNORE would bring it back."""
    target = registered("a", "b", holder="b")
    unit = lun(target, "a")
    serve = target._serve
    looked = []

    def preempt_after_the_look(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if cdb[0] == 0x5F and not looked:
            looked.append(True)
            target._unregister([target._session("a")], attention=None)
            target.generation += 1
        return serve(session, cdb, data_out, length)

    target._serve = preempt_after_the_look  # type: ignore[method-assign]
    end = register(unit, Terms(own, WERO, True), Past(History.REGISTERED, 2, A), deadline())
    assert isinstance(end, LunFailed)
    assert target.keys == [B]


def test_a_node_that_lost_the_guard_leaves_no_key() -> None:
    target = registered("a", "b", holder="b")
    target.relogin("a")
    serve = target._serve

    def preempt_before_register(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if cdb[:2] == bytes((0x5F, OutAction.REGISTER)) and data_out[8:16] == int(guard_key(A)).to_bytes(8):
            for each in [s for s, key in target.registrations.items() if key == A]:
                target._unregister([each], attention=None)
            target.generation += 1
        return serve(session, cdb, data_out, length)

    target._serve = preempt_before_register  # type: ignore[method-assign]
    end = register(lun(target, "a"), TERMS, Past(History.REGISTERED, 2, A), deadline())
    assert isinstance(end, LunFailed)
    assert target.keys == [B]


def test_a_target_without_aptpl_is_registered_without_it() -> None:
    target = FakeTarget(aptpl=False)
    assert isinstance(register(lun(target, "a"), TERMS, Past(History.NEVER), deadline()), LunRegistered)
    assert not target.aptpl_active


@pytest.mark.parametrize("dead", ["a1", "a2", "a3"])
def test_a_dead_path_is_named_and_the_others_are_registered(dead: str) -> None:
    target = registered("b", holder="b")
    target.silent.add(dead)
    unit = lun(target, "a1", "a2", "a3")
    end, note = registration.register(unit, TERMS, Past(History.NEVER), deadline())
    name = f"fake:{target.wwid}:{dead}"
    assert end == LunRegistered(unit.name, 2, (name,))
    assert isinstance(note, Noted)
    assert note.text.startswith(f"{unit.name}: key 0xa is registered on 2 of 3 paths: {dead}: the target is silent: ")
    assert sorted(target.keys) == [A, A, B]


def test_a_path_that_dies_between_the_look_and_its_register_is_named_too() -> None:
    target = registered("b", holder="b")
    clock = Clock()
    broken = FaultyPath(
        target.nexus("a1"), clock, TransportError("a1: the answer was lost"), lambda _path, cdb: cdb[0] == 0x5F
    )
    unit = LogicalUnit(target.wwid, "lun", [Nexus(broken), Nexus(target.nexus("a2"))], bound=unbound)
    end, _ = registration.register(unit, TERMS, Past(History.NEVER), deadline(clock))
    assert end == LunRegistered("lun", 1, (broken.name,))


def test_a_register_that_hangs_fails_the_lun_since_it_may_be_executed_after_a_fence() -> None:
    target = registered("b", holder="b")
    clock = Clock()
    hung = FaultyPath(target.nexus("a1"), clock, None, lambda _path, cdb: cdb[0] == 0x5F)
    unit = LogicalUnit(target.wwid, "lun", [Nexus(hung), Nexus(target.nexus("a2"))], bound=unbound)
    (end,) = registration.register(unit, TERMS, Past(History.NEVER), deadline(clock))
    assert isinstance(end, LunFailed)
    assert "the REGISTER may be executed yet" in end.reason


@pytest.mark.parametrize("aptpl", [True, False])
def test_a_path_that_hangs_before_its_register_is_sent_none(aptpl: bool) -> None:
    target = registered("b", holder="b")
    clock = Clock()
    hung = FaultyPath(target.nexus("a1"), clock, None, lambda path, _cdb: len(path.sent) == 3)
    unit = LogicalUnit(target.wwid, "lun", [Nexus(hung), Nexus(target.nexus("a2"))], bound=unbound)
    end, _ = registration.register(unit, Terms(A, WERO, aptpl), Past(History.NEVER), deadline(clock))
    assert end == LunRegistered("lun", 1, (hung.name,))
    assert 0x5F not in [cdb[0] for _, cdb in hung.sent]


def test_no_path_that_answers_fails_the_lun() -> None:
    target = registered("b", holder="b")
    target.silent |= {"a1", "a2"}
    assert isinstance(register(lun(target, "a1", "a2"), TERMS, Past(History.NEVER), deadline()), LunFailed)
    assert target.log == []


def test_paths_with_reservations_of_their_own_are_not_registered() -> None:
    one, other = registered("b", holder="b"), registered("c", holder="c")
    clock = Clock()
    unit = LogicalUnit(one.wwid, "lun", [Nexus(each.nexus("a"), sleep=clock.sleep) for each in (one, other)])
    (end,) = registration.register(unit, TERMS, Past(History.NEVER), deadline(clock))
    assert isinstance(end, LunFailed)
    assert "different registrations" in end.reason
    assert one.log == other.log == []


def test_a_reservation_is_made_over_another_path_where_the_first_fails() -> None:
    target = registered(holder=None)
    clock = Clock()
    broken = FaultyPath(
        target.nexus("a1"), clock, TransportError("a1: lost"), lambda _path, cdb: cdb[:2] == bytes((0x5F, 1))
    )
    unit = LogicalUnit(target.wwid, "lun", [Nexus(broken), Nexus(target.nexus("a2"))], bound=unbound)
    assert register(unit, TERMS, Past(History.NEVER), deadline(clock)) == LunRegistered("lun", 2)
    assert target.write("b") is ScsiStatus.RESERVATION_CONFLICT


# --- the right to write ----------------------------------------------------------------------------------------------

WE, EA = ReservationType.WRITE_EXCLUSIVE, ReservationType.EXCLUSIVE_ACCESS


@pytest.mark.parametrize("kind", ReservationType)
@pytest.mark.parametrize("names", [("b",), ("a", "b")])
def test_a_registered_node_that_may_not_write_is_not_unfenced(names: tuple[str, ...], kind: ReservationType) -> None:
    """A backup or another cluster holds the LUN for itself."""
    target = registered(*names, holder="b", kind=kind)
    past = Past(History.REGISTERED, 1, A) if "a" in names else Past(History.NEVER)
    end = register(lun(target, "a"), TERMS, past, deadline())
    assert isinstance(end, LunFailed if kind in (WE, EA) else LunRegistered)
    if isinstance(end, LunFailed):
        assert f"key 0xb holds a {kind.name} reservation" in end.reason
        assert target.log == []
    else:
        assert target.write("a") is ScsiStatus.GOOD


@pytest.mark.parametrize("kind", [WE, EA])
def test_who_holds_the_lun_for_itself_is_unfenced(kind: ReservationType) -> None:
    target = registered("a", "b", holder="a", kind=kind)
    end = register(lun(target, "a"), Terms(A, kind, True), Past(History.REGISTERED, 1, A), deadline())
    assert isinstance(end, LunRegistered)


@pytest.mark.parametrize("kind", [WE, EA])
@pytest.mark.parametrize(
    ("others", "joins"), [(OtherKeys((B,)), True), (OtherKeys((), 1), True), (None, True), (OtherKeys((C,)), False)]
)
def test_where_the_cluster_holds_it_by_turns_only_a_stranger_is_in_the_way(
    kind: ReservationType, others: OtherKeys | None, joins: bool
) -> None:
    target = registered("b", holder="b", kind=kind)
    end = register(lun(target, "a"), Terms(A, kind, True, others=others), Past(History.NEVER), deadline())
    assert isinstance(end, LunRegistered if joins else LunFailed)
    assert (A in target.keys) is joins


def test_another_holder_that_takes_the_lun_meanwhile_is_named() -> None:
    target = registered("b", holder=None)
    ask = target._serve

    def serve(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if cdb[0] == 0x5F and target.reservation is None:
            target.reservation = FakeReservation(WE, target._session("b"))
        return ask(session, cdb, data_out, length)

    target._serve = serve  # type: ignore[method-assign]
    end = register(lun(target, "a"), TERMS, Past(History.NEVER), deadline())
    assert isinstance(end, LunFailed)
    assert "key 0xb holds a WRITE_EXCLUSIVE reservation" in end.reason


@pytest.mark.parametrize(
    ("wanted", "capable", "tells", "active"),
    [(True, True, True, True), (False, True, True, False), (True, False, True, False), (True, True, False, False)],
)
def test_registrations_survive_a_power_loss_where_that_is_wanted_and_the_target_says_that_it_can(
    wanted: bool, capable: bool, tells: bool, active: bool
) -> None:
    target = registered("b", target=FakeTarget(aptpl=capable, capabilities=tells))
    end = register(lun(target, "a"), Terms(A, WERO, aptpl=wanted), Past(History.NEVER), deadline())
    assert isinstance(end, LunRegistered)
    assert target.aptpl_active is active


def test_a_key_is_changed_by_one_command() -> None:
    target = registered("a", "b")
    register(lun(target, "a"), Terms(C, WERO, aptpl=False), Past(History.REGISTERED, 2, A), deadline())
    assert target.log == [("a", OutAction.REGISTER, ScsiStatus.GOOD)]


@pytest.mark.parametrize(("old", "new"), [(A, C), (C, A)])
def test_two_ways_over_one_nexus_have_their_key_changed_once(old: ReservationKey, new: ReservationKey) -> None:
    """The second one finds the new key there already."""
    target = registered("b")
    unit = lun(target, "a", "a")
    target.registrations[target._session("a")] = int(old)
    end = register(unit, Terms(new, WERO, aptpl=False), Past(History.REGISTERED, 2, old), deadline())
    assert isinstance(end, LunRegistered)
    assert int(new) in target.keys
    assert int(old) not in target.keys


def test_the_reservation_is_made_by_the_one_path_that_can() -> None:
    target, clock = registered(holder=None), Clock()

    def reserves(_path: FaultyPath, cdb: bytes) -> bool:
        return cdb[:2] == bytes((0x5F, OutAction.RESERVE))

    fault = TransportError("/dev/sdb: no SCSI status")
    paths = [FaultyPath(target.nexus(name), clock, fault, reserves) for name in ("a1", "a2")]
    nexuses = [Nexus(path, sleep=clock.sleep) for path in (*paths, target.nexus("a3"))]
    unit = LogicalUnit(target.wwid, "lun", nexuses, bound=unbound)
    assert isinstance(register(unit, TERMS, Past(History.NEVER), deadline(clock)), LunRegistered)
    assert target.reservation is not None
