# SPDX-License-Identifier: Apache-2.0
"""A fence before each command of a call that registers several LUNs: also of those that come later (``left``)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fencer.errors import TransportError
from fencer.model import Deadline, ReservationKey
from fencer.observations import LunFailed, LunIsolated, LunRegistered, Observation, StorageDone
from fencer.storage import procedure
from fencer.storage.isolation import isolate
from fencer.storage.marker import MARKER_NAME, LunMark, Marker, read_marker, write_marker
from fencer.storage.procedure import Opened
from fencer.storage.transport import ScsiReply
from fencer.storage.unfencing import unfence
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B, C, contest, deadline, lun, registered
from tests.storage.test_hostile_target import check
from tests.storage.test_unfencing_records import TERMS, Node

MOST_COMMANDS = 300
LOOK = 2  # commands
FIRST_EVER, BOOTED, LATER = "the first registration ever", "the first of a boot", "a LUN that comes later"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(procedure, "SLOW_S", 60.0)  # one LUN after the other, however slow this machine is
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)
    return Node(tmp_path, monkeypatch)


def targets(count: int = 3) -> list[FakeTarget]:
    return [registered("b", target=FakeTarget(wwid=f"naa.600140500000000{number}")) for number in range(count)]


class Call:
    """One call that registers, with what happens directly before the command of the given number.

    left: the numbers of the LUNs to register; None: all, as ``on`` does. paths: of each LUN.
    """

    paths: tuple[str, ...] = ("a",)

    def __init__(
        self, node: Node, shared: list[FakeTarget], left: set[int] | None = None, own: ReservationKey = A
    ) -> None:
        self.node, self.shared, self.terms = node, shared, TERMS._replace(own=own)
        self.left = None if left is None else frozenset(shared[number].wwid for number in left)
        self.commands: list[str] = []  # the WWID of each

    def run(self, number: int = -1, happens: Callable[[], None] = lambda: None) -> list[Observation]:
        seen: list[Observation] = []
        serves = {target.wwid: target.execute for target in self.shared}

        def serving(target: FakeTarget) -> None:
            def execute(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
                if initiator != "b":
                    self.commands.append(target.wwid)
                    if len(self.commands) - 1 == number:
                        happens()
                return serves[target.wwid](initiator, cdb, data_out, length)

            target.execute = execute  # type: ignore[method-assign]

        for target in self.shared:
            serving(target)
        opened = Opened(tuple(lun(target, *self.paths) for target in self.shared))
        unfence(
            opened, self.terms, str(self.node.state_dir), lambda *what: seen.extend(what), deadline(),
            left=self.left, at_once=1,
        )  # fmt: skip
        for target in self.shared:
            target.execute = serves[target.wwid]  # type: ignore[method-assign]
        return seen

    def commands_after(self, number: int, target: FakeTarget) -> bool:
        return target.wwid in self.commands[number:]


def prepared(node: Node, kind: str) -> Call:
    """Three LUNs, and the call that is to register this node on them."""
    for each in (node.kept, node.state_dir):
        for name in (MARKER_NAME, "fenced.json"):
            (each / name).unlink(missing_ok=True)
    shared = targets()
    if kind == BOOTED:
        Call(node, shared).run()
        node.reboot()
    elif kind == LATER:
        Call(node, shared[:2]).run()
    return Call(node, shared, {2} if kind == LATER else None)


def fence(shared: list[FakeTarget]) -> list[FakeTarget]:
    """Node b isolates this one on every LUN. Returns those on which it took a key."""
    took = [target for target in shared if int(A) in target.keys]
    for target in shared:
        assert isinstance(isolate(lun(target, "b"), contest(own=B, target=A), deadline()), LunIsolated)
    return took


@pytest.mark.parametrize("paths", [("a",), ("a", "a2")])
@pytest.mark.parametrize("kind", [FIRST_EVER, BOOTED, LATER])
def test_a_fence_at_any_moment_of_it(
    node: Node, kind: str, paths: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key comes back where it was taken, no success hides that it was, and the next boot knows.

    In a new boot it may come back where that was taken before this boot looked: then the record is there already. A
    node that registers for the first time ever has nothing by which its next boot could know (decision 0016).
    """
    monkeypatch.setattr(Call, "paths", paths)
    successes = failures = 0
    for number in range(MOST_COMMANDS):
        call, took = prepared(node, kind), list[FakeTarget]()
        seen = call.run(number, lambda: took.extend(fence(call.shared)))  # noqa: B023
        if number >= len(call.commands):
            break
        failed = any(isinstance(what, LunFailed) for what in seen)
        failures += failed
        successes += not failed
        unseen = [target for target in took if kind == BOOTED and call.commands[:number].count(target.wwid) < LOOK]
        assert node.record is not None or not unseen
        stays = [target for target in took if target not in unseen]
        assert all(int(A) not in target.keys for target in stays)
        assert failed or kind != LATER  # the last look is on all LUNs
        if failed and not unseen:  # the fence had found the others without its key
            assert all(int(A) not in target.keys for target in call.shared)
        if not failed and call.left is None:
            assert all(int(A) in target.keys or not call.commands_after(number, target) for target in call.shared)
        again = Call(node, call.shared, None if call.left is None else {2}).run()
        assert all(int(A) not in target.keys for target in stays)
        assert any(isinstance(what, LunFailed) for what in again) or not stays
        node.reboot()
        Call(node, call.shared).run()
        assert all(int(A) in target.keys for target in call.shared)
        if kind != FIRST_EVER:
            assert (node.record is not None) is bool(took)
    else:
        pytest.fail("it never ended")
    assert successes or kind == LATER
    assert failures


def test_a_fence_at_any_moment_is_seen_where_the_generation_begins_anew(node: Node) -> None:
    for number in range(MOST_COMMANDS):
        call = prepared(node, LATER)
        for target in call.shared[:2]:
            target.generation = (1 << 32) - 1
        seen = call.run(number, lambda: fence(call.shared) and None)  # noqa: B023
        if number >= len(call.commands):
            break
        assert any(isinstance(what, LunFailed) for what in seen)
        assert all(int(A) not in target.keys for target in call.shared)
    else:
        pytest.fail("it never ended")


@pytest.mark.parametrize("kind", [FIRST_EVER, BOOTED, LATER])
def test_a_fence_at_any_moment_that_no_lun_shows_any_more(node: Node, kind: str) -> None:
    """The LUN is refused from then on. Its fence may have proved a LUN isolated before this node came to that one."""
    failures = 0
    for number in range(MOST_COMMANDS):
        call, took, silent = prepared(node, kind), list[FakeTarget](), set[str]()
        first = call.shared[0]
        serve = first.execute

        def answering(
            initiator: str, cdb: bytes, data_out: bytes, length: int, *, first: FakeTarget = first,
            serve: Callable[..., ScsiReply] = serve, silent: set[str] = silent,
        ) -> ScsiReply:  # fmt: skip
            if initiator != "b" and first.wwid in silent:
                return check(5, 0x24, 0)  # a silent one would be asked until the deadline
            return serve(initiator, cdb, data_out, length)

        first.execute = answering  # type: ignore[method-assign]

        def happens(took: list[FakeTarget] = took, silent: set[str] = silent, first: FakeTarget = first) -> None:
            took.extend(fence([first]))
            silent.add(first.wwid)

        seen = call.run(number, happens)
        if number >= len(call.commands):
            break
        failed = any(isinstance(what, LunFailed) for what in seen)
        assert failed or not call.commands_after(number, first)
        failures += failed
        silent.clear()
        seen_before = kind != BOOTED or call.commands[:number].count(first.wwid) >= LOOK
        if first in took and seen_before:
            again = Call(node, call.shared, None if call.left is None else {2}).run()
            assert any(isinstance(what, LunFailed) for what in again)
            assert int(A) not in first.keys
        node.reboot()
        Call(node, call.shared).run()
        if kind != FIRST_EVER and seen_before:
            assert (node.record is not None) is bool(took)
    else:
        pytest.fail("it never ended")
    assert failures


def fails_on(call: Call, *numbers: int) -> None:
    """The LUNs of these numbers answer, and register nothing."""
    serves = {number: call.shared[number].execute for number in numbers}

    def refusing(serve: Callable[..., ScsiReply]) -> Callable[..., ScsiReply]:
        def execute(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
            if cdb[0] == 0x5F:
                raise TransportError("gone")
            return serve(initiator, cdb, data_out, length)

        return execute

    for number, serve in serves.items():
        call.shared[number].execute = refusing(serve)  # type: ignore[method-assign]
    assert any(isinstance(what, LunFailed) for what in call.run())
    for number, serve in serves.items():
        call.shared[number].execute = serve  # type: ignore[method-assign]


def kept(node: Node) -> set[str] | None:
    """Where the marker that survives a boot calls this node registered; None where that is not of this boot."""
    found = read_marker(str(node.kept))
    return {mark.wwid for mark in found.luns if mark.registered} if isinstance(found, Marker) else None


def test_what_is_kept_for_the_next_boot_is_whole_once_the_last_lun_is_registered_alone(node: Node) -> None:
    call = prepared(node, BOOTED)
    fails_on(call, 2)
    assert kept(node) is None, "the marker of the earlier boot is what shows a fence"
    writes = [len(target.log) for target in call.shared]
    Call(node, call.shared, {2}).run()
    assert kept(node) == {target.wwid for target in call.shared}
    assert [len(target.log) == was for target, was in zip(call.shared, writes, strict=True)] == [True, True, False]


def test_a_lun_that_took_another_one_s_place_is_kept(node: Node) -> None:
    call = prepared(node, LATER)
    Call(node, call.shared[1:]).run()
    assert kept(node) == {target.wwid for target in call.shared}, "the mark of the one that is gone stays"


def test_what_is_kept_is_not_replaced_while_a_readable_lun_is_not_registered(node: Node) -> None:
    call = prepared(node, BOOTED)
    fails_on(call, 1)
    fails_on(Call(node, call.shared, {1, 2}), 1)
    assert kept(node) is None


@pytest.mark.parametrize("other", [C, ReservationKey(1)])
def test_marks_under_another_key_do_not_make_it_whole(node: Node, other: ReservationKey) -> None:
    call = prepared(node, FIRST_EVER)
    call.run()
    before = read_marker(str(node.kept))
    fails_on(Call(node, call.shared, own=other), 0, 1, 2)
    assert read_marker(str(node.kept)) == before


def test_registered_is_what_the_marker_says_and_not_the_caller(node: Node) -> None:
    """Its key is listed there, and no mark says so: it was registered, and could not be looked at once more."""
    call = prepared(node, LATER)
    found = read_marker(str(node.state_dir))
    assert isinstance(found, Marker)
    first, second = found.luns
    write_marker(str(node.state_dir), Marker(A, (LunMark(first.wwid, first.generation, registered=False), second)))
    call.run()
    found = read_marker(str(node.state_dir))
    assert isinstance(found, Marker)
    assert [mark.registered for mark in found.luns] == [True] * 3


@pytest.mark.parametrize("fenced", [False, True])
def test_where_the_marker_is_lost_what_the_caller_registered_counts_as_registered(node: Node, fenced: bool) -> None:
    """Also at the next call, which finds what this one has written."""
    call = prepared(node, LATER)
    for each in (node.kept, node.state_dir):
        (each / MARKER_NAME).unlink()
    if fenced:
        fence(call.shared[:1])
    begun: list[object] = []  # the marker after the first look, which meets a unit attention where it was fenced
    for _ in range(3):
        seen = call.run(3 * LOOK + fenced, lambda: begun.append(read_marker(str(node.state_dir))))
        assert any(isinstance(what, LunFailed) for what in seen) is fenced
    assert [A in target.keys for target in call.shared] == [not fenced, True, not fenced]
    assert isinstance(begun[0], Marker)
    assert (begun[0].of(call.shared[0].wwid) is None) is fenced, "a mark that is begun would let it register later"


def test_an_unreadable_marker_is_replaced_also_where_a_lun_comes_later(node: Node) -> None:
    call = prepared(node, LATER)
    registered("a", target=call.shared[2], holder=None)
    (node.state_dir / MARKER_NAME).write_text("torn")
    call.run()
    found = read_marker(str(node.state_dir))
    assert isinstance(found, Marker)
    assert {mark.wwid for mark in found.luns if mark.registered} == {target.wwid for target in call.shared}


def test_a_lun_whose_turn_came_too_late_is_no_success(node: Node) -> None:
    call = prepared(node, FIRST_EVER)
    opened, seen = Opened(tuple(lun(target, "a") for target in call.shared)), list[Observation]()
    unfence(opened, TERMS, str(node.state_dir), lambda *what: seen.extend(what), Deadline.after(0), at_once=1)
    assert not any(isinstance(what, LunRegistered) for what in seen)
    assert {what.lun for what in seen if isinstance(what, LunFailed)} == {each.name for each in opened.luns}
    assert [what for what in seen if isinstance(what, StorageDone)] == [StorageDone(3)]
    assert [target.log for target in call.shared] == [[]] * 3


@pytest.mark.parametrize("is_restart", [False, True])
def test_a_target_that_forgets_meanwhile_takes_no_key_off_the_lun_that_comes_later(
    node: Node, is_restart: bool
) -> None:
    """It loses all registrations, or this node's alone with its session. Nobody was fenced."""
    done = 0
    for number in range(MOST_COMMANDS):
        call = prepared(node, LATER)
        first = call.shared[0]
        first.generation += 5000

        def forget(first: FakeTarget = first) -> None:
            if is_restart:
                first.reset(lose_registrations=True)
            else:
                del first.registrations[first._session("a")]

        seen = call.run(number, forget)
        if number >= len(call.commands):
            break
        assert not any(isinstance(what, LunFailed) and what.preempted for what in seen)
        registered_now = any(isinstance(what, LunRegistered) for what in seen)
        assert (int(A) in call.shared[2].keys) is registered_now
        done += registered_now
    else:
        pytest.fail("it never ended")
    assert done
