# SPDX-License-Identifier: Apache-2.0
"""By which command a path is registered, and what becomes of it when the target does not take that at first."""

import pytest

from fencer.errors import TransportError
from fencer.observations import LunFailed, LunRegistered, Observation
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.pr import REGISTRATIONS_PREEMPTED, OutAction
from fencer.storage.registration import LATER, History, Past, Terms, register, register_path
from fencer.storage.settings import StorageSettings
from fencer.storage.transport import ScsiReply, ScsiStatus
from tests.storage.fake_target import INVALID_FIELD_IN_PARAMETER_LIST, FakeTarget, _check
from tests.storage.faulty_path import RESERVE, FaultyPath, faulty, unit
from tests.storage.nodes import WERO, A, B, C, Clock, deadline, lun, registered

TERMS = Terms(A, WERO, aptpl=True)
REGISTERED = Past(History.REGISTERED, 2, A)
IGNORE, REGISTER = OutAction.REGISTER_AND_IGNORE_EXISTING_KEY, OutAction.REGISTER


def only(*observations: Observation) -> Observation:
    (one,) = observations
    return one


def test_a_node_registers_again_after_a_preemption_only_where_it_is_told_to() -> None:
    settings = StorageSettings(("x",), None, A)
    assert not Terms.on(settings, A).re_register
    assert Terms.on(settings, A, re_register=True).re_register


@pytest.mark.parametrize(
    ("past", "re_register", "action"),
    [
        (Past(History.NEVER), False, IGNORE),  # the key is of an earlier boot: there is nothing to lose
        (Past(History.NEVER), True, IGNORE),
        (Past(History.LISTED, 2, A), False, REGISTER),  # a fence of this moment must leave its trace
        (Past(History.LISTED, 2, A), True, IGNORE),
        (REGISTERED, False, REGISTER),  # it may be preempted any moment: no command that would bring it back
        (REGISTERED, True, IGNORE),
    ],
)
def test_which_command_registers_a_key_that_is_listed(past: Past, re_register: bool, action: OutAction) -> None:
    target = registered("a", "b")
    terms = TERMS._replace(re_register=re_register)
    assert isinstance(only(*register(lun(target, "a"), terms, past, deadline())), LunRegistered)
    refused = [("a", REGISTER, ScsiStatus.RESERVATION_CONFLICT)] if action is IGNORE else []  # from no key
    assert target.log == [*refused, ("a", action, ScsiStatus.GOOD)]


def test_a_lun_that_fails_beside_a_path_that_is_down_is_told_once() -> None:
    """No note says that the key is registered on some paths of a LUN that is not registered."""
    clock, target = Clock(), registered("b", holder=None)
    down = faulty(target, "a1", clock, strikes=lambda path, _cdb: len(path.sent) > 2)
    no_reserve = faulty(target, "a2", clock, TransportError("a2: lost"), lambda _path, cdb: cdb[:2] == RESERVE)
    end = only(*register(unit(down, no_reserve, clock=clock), TERMS, Past(History.NEVER), deadline(clock)))
    assert isinstance(end, LunFailed)
    assert LATER not in end.reason


def _stores_no_registrations(target: FakeTarget) -> None:
    """It reports that it can keep them through a power loss, and refuses to (LIO without /var/target/pr)."""
    serve = target._serve

    def refuse(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if cdb[0] == 0x5F and data_out[20] & 1:
            return _check(INVALID_FIELD_IN_PARAMETER_LIST)
        return serve(session, cdb, data_out, length)

    target._serve = refuse  # type: ignore[method-assign]


@pytest.mark.parametrize("past", [Past(History.NEVER), REGISTERED])
def test_a_target_that_cannot_store_registrations_is_registered_all_the_same(past: Past) -> None:
    target = registered("a", "b")
    _stores_no_registrations(target)
    assert isinstance(only(*register(lun(target, "a"), TERMS, past, deadline())), LunRegistered)
    assert not target.aptpl_active


def _preempted_at_register(target: FakeTarget, *, takes_a: bool) -> None:
    """A fence of another node, or of this one, is reported in place of the first REGISTER."""
    serve, told = target._serve, []

    def serve_one(session, cdb, data_out, length):  # type: ignore[no-untyped-def]
        if cdb[0] == 0x5F and not told:
            told.append(True)
            target.generation += 1
            if takes_a:
                target._unregister([target._session("a")], attention=None)
            return _check(REGISTRATIONS_PREEMPTED)
        return serve(session, cdb, data_out, length)

    target._serve = serve_one  # type: ignore[method-assign]


@pytest.mark.parametrize("listed", [None, A])
def test_a_preemption_of_another_node_is_no_hindrance(listed: object) -> None:
    target = registered("a", "b") if listed else registered("b")
    _preempted_at_register(target, takes_a=False)
    nexus = Nexus(target.nexus("a"))
    assert register_path(nexus, TERMS, listed, deadline()) is None  # type: ignore[arg-type]
    assert sorted(target.keys) == [A, B]
    assert len(target.log) == 1, "no detour by a guard key"


def test_a_preemption_of_this_node_says_that_it_was_fenced() -> None:
    target = registered("a", "b")
    _preempted_at_register(target, takes_a=True)
    why = register_path(Nexus(target.nexus("a")), TERMS, A, deadline())
    assert why is not None
    assert "was preempted meanwhile: this node was fenced: reboot it" in why
    assert target.keys == [B]
    assert target.log == [], "nothing was written afterwards"


@pytest.mark.parametrize("paths", [1, 2, 3, 6])
def test_each_path_has_its_turn_at_reserving_and_the_attempts_end(paths: int) -> None:
    clock, target = Clock(), registered(holder=None)
    order: list[str] = []

    def reserves(path: FaultyPath, cdb: bytes) -> bool:
        if cdb[:2] == RESERVE:
            order.append(path.name)
        return cdb[:2] == RESERVE

    fault = TransportError("/dev/sdb: no SCSI status")
    names = [f"a{number}" for number in range(paths)]
    race: LogicalUnit = unit(*(faulty(target, name, clock, fault, reserves) for name in names), clock=clock)
    first = [nexus.name for nexus in race.nexuses]
    end = only(*register(race, TERMS, Past(History.NEVER), deadline(clock)))
    assert isinstance(end, LunFailed)
    assert "no SCSI status" in end.reason
    assert order[:paths] == first
    assert order == [first[turn % paths] for turn in range(len(order))]
    assert paths <= len(order) <= 20


def test_a_key_of_another_node_on_one_path_is_not_replaced() -> None:
    """Only the first registration of a boot may: later this node has something to lose."""
    target = registered("a", "b")
    target.nexus("a2")
    target.registrations[target._session("a2")] = int(C)
    reason = register_path(Nexus(target.nexus("a2")), TERMS, A, deadline())
    assert reason is not None
    assert "another key is registered on this path" in reason
    assert target.registrations[target._session("a2")] == int(C)


def test_a_target_that_stores_no_registrations_is_registered_over_several_paths() -> None:
    """The command that shows that the first path is registered still is sent without APTPL as well."""
    target = registered("b", target=FakeTarget(aptpl=False))
    both = lun(target, "a1", "a2")
    end = register(both, TERMS, Past(History.NEVER), deadline())
    assert end == (LunRegistered(both.name, paths=2),)


def test_where_registrations_keep_changing_a_key_that_may_be_gone_is_not_brought_back() -> None:
    target = registered("a", "b")
    serve = target.execute

    def execute(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        target.generation += cdb[0] == 0x5F  # another node registers path after path
        return serve(initiator, cdb, data_out, length)

    target.execute = execute  # type: ignore[method-assign]
    reason = register_path(Nexus(target.nexus("a2"), sleep=Clock().sleep), TERMS, A, deadline())
    assert reason == "REGISTER: registrations keep changing: run 'on' again"
    assert sorted(target.keys) == [A, B]
    assert IGNORE not in [action for _, action, _ in target.log]
