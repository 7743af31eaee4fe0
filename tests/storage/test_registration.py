"""A node registers itself when nothing of it can be left from before, and never after it was preempted in this boot."""

import pytest

from fencer.model import ReservationType
from fencer.observations import LunFailed, LunRegistered
from fencer.request import OtherKeys
from fencer.storage.pr import OutAction, Reservation
from fencer.storage.registration import History, Past, Terms, objection, register
from fencer.storage.reservations import Look, guard_key
from fencer.storage.transport import ScsiStatus
from tests.storage.fake_target import FakeReservation, FakeTarget
from tests.storage.nodes import WERO, A, B, C, deadline, lun, registered

TERMS = Terms(A, WERO, aptpl=True)
SAME, MOVED, RESTARTED = 7, 9, 0


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
        or (history is History.BEGUN and generation == SAME)
        or (history is History.REGISTERED and listed == "nobody" and generation == RESTARTED)
    )
    look = Look(generation, frozenset(keys), Reservation(generation, None, None))  # type: ignore[arg-type]
    assert (objection(look, past, A) is None) is allowed


@pytest.mark.parametrize("history", [History.BEGUN, History.REGISTERED, History.UNKNOWN])
def test_a_refused_node_writes_nothing(history: History) -> None:
    target = registered("b", holder="b")
    target.generation = 9
    end = register(lun(target, "a"), TERMS, Past(history, 3, A), deadline())
    assert isinstance(end, LunFailed)
    assert "this node was fenced" in end.reason
    assert target.log == []


def test_re_register_overrides() -> None:
    target = registered("b", holder="b")
    end = register(lun(target, "a"), Terms(A, WERO, True, re_register=True), Past(History.REGISTERED, 1, A), deadline())
    assert isinstance(end, LunRegistered)


def test_every_path_is_registered_and_a_reservation_held() -> None:
    target = registered(holder=None)
    end = register(lun(target, "a1", "a2", "a3"), TERMS, Past(History.NEVER), deadline())
    assert end == LunRegistered(lun(target).name, 3)
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


def test_a_dead_path_fails_the_lun() -> None:
    target = registered("b", holder="b")
    target.silent.add("a2")
    assert isinstance(register(lun(target, "a1", "a2"), TERMS, Past(History.NEVER), deadline()), LunFailed)


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


def test_whoever_takes_the_lun_for_itself_meanwhile_is_named() -> None:
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
