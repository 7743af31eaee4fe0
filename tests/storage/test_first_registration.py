# SPDX-License-Identifier: Apache-2.0
"""The first registration of a boot leaves the trace of a fence that comes meanwhile (decision 0016)."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fencer.model import ReservationKey
from fencer.observations import LunFailed, LunRegistered
from fencer.storage import fenced_record
from fencer.storage.fenced_record import FencedRecord
from fencer.storage.look import guard_key
from fencer.storage.marker import MARKER_NAME
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.registration import REBOOT
from fencer.storage.transport import ScsiReply, ScsiStatus, Sense
from fencer.storage.unfencing import unfence
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B, C, deadline, lun, registered
from tests.storage.test_unfencing_records import TERMS, Node

RECORD = FencedRecord((B,), "lun-0a")
MOST_COMMANDS = 60


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def before_command(target: FakeTarget, number: int, happens: Callable[[], None]) -> Callable[[], int]:
    """happens comes directly before the command of this number, counted from now. Returns how many there were."""
    serve, seen = target.execute, 0

    def execute(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        nonlocal seen
        if initiator != "b":
            seen += 1
            if seen - 1 == number:
                happens()
        return serve(initiator, cdb, data_out, length)

    target.execute = execute  # type: ignore[method-assign]
    return lambda: seen


def fence(target: FakeTarget, *keys: ReservationKey) -> None:
    """Node b removes these keys, wherever they are registered."""
    names = {int(each) for key in keys for each in (key, guard_key(key))}
    victims = [session for session, key in target.registrations.items() if key in names]
    if victims:
        target._unregister(victims, attention=None)
        target.generation += 1


def on(node: Node, target: FakeTarget, *paths: str) -> list[object]:
    seen: list[object] = []
    opened = Opened((lun(target, *paths),))
    unfence(opened, TERMS, str(node.state_dir), lambda *what: seen.extend(what), deadline())
    return seen


def forget_all(node: Node) -> None:
    fenced_record.forget(str(node.kept))
    for each in (node.kept, node.state_dir):
        (each / MARKER_NAME).unlink(missing_ok=True)


SAME, NEW, ONE_NEW = "the same sessions", "new sessions", "a new session on one path of two"


def booted(node: Node, kind: str, empties_run: bool = True, key: ReservationKey = A) -> tuple[FakeTarget, list[str]]:
    """A node that was registered in an earlier boot, and has booted."""
    target = registered("b")
    paths = ["a1", "a2"] if kind == ONE_NEW else ["a1"]
    unfence(
        Opened((lun(target, *paths),)), TERMS._replace(own=key), str(node.state_dir), lambda *_: None, deadline()
    )  # fmt: skip
    node.reboot(empties_run=empties_run)
    if not empties_run:
        (node.kept / MARKER_NAME).unlink()
    for name in paths:
        if kind == NEW or (kind == ONE_NEW and name == "a2"):
            target.relogin(name)
    return target, paths


@pytest.mark.parametrize(
    ("kind", "key"),
    [(SAME, A), (NEW, A), (ONE_NEW, A), (SAME, C), (ONE_NEW, C)],  # not (NEW, C), as the decision says
)
@pytest.mark.parametrize("empties_run", [True, False])
def test_a_fence_at_any_moment_of_it_is_recorded_or_leaves_no_key(
    node: Node, kind: str, empties_run: bool, key: ReservationKey
) -> None:
    """Before each of its commands, one after the other. key: as it was in the earlier boot."""
    recorded = refused = 0
    for number in range(MOST_COMMANDS):
        target, paths = booted(node, kind, empties_run, key)
        count = before_command(target, number, lambda: fence(target, A, key))  # noqa: B023
        seen = on(node, target, *paths)
        if number >= count():
            break
        assert (int(A) not in target.keys) or node.record == RECORD
        recorded += isinstance(node.record, FencedRecord) and int(A) in target.keys
        refused += any(isinstance(what, LunFailed) for what in seen)
        node.reboot()
        on(node, target, *paths)
        assert int(A) in target.keys
        assert node.record == RECORD
        forget_all(node)
    else:
        pytest.fail("it never ended")
    assert recorded
    assert refused


class Killed(BaseException):
    pass


@pytest.mark.parametrize("then", ["nothing", "a fence and a boot", "a fence and no boot"])
@pytest.mark.parametrize("kind", [SAME, NEW])
def test_killed_at_any_moment_of_it_and_called_again(node: Node, kind: str, then: str) -> None:
    """Before each of its commands. A guard key that it leaves wins nothing, and goes with the next call or fence."""

    def kill() -> None:
        raise Killed

    for number in range(MOST_COMMANDS):
        target, paths = booted(node, kind)
        count = before_command(target, number, kill)
        with suppress(Killed):
            on(node, target, *paths)
        if number >= count():
            break
        if then != "nothing":
            fence(target, A)
        if then == "a fence and a boot":
            node.reboot()
        on(node, target, *paths)
        assert int(guard_key(A)) not in target.keys
        assert (int(A) in target.keys) or then == "a fence and no boot"
        if then == "nothing":
            assert node.record is None
        elif int(A) in target.keys:
            assert node.record == RECORD
        forget_all(node)
    else:
        pytest.fail("it never ended")
    assert number > 5


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (SAME, ["REGISTER"]),
        (NEW, ["REGISTER"] * 3),  # a conflict, then the guard key between two readings, then the own one
    ],
)
def test_what_it_costs(node: Node, kind: str, sent: list[str]) -> None:
    target, paths = booted(node, kind)
    target.log.clear()
    assert any(isinstance(what, LunRegistered) for what in on(node, target, *paths))
    assert [str(action) for _, action, _ in target.log] == sent


def test_the_message_says_what_happened(node: Node) -> None:
    target, paths = booted(node, SAME)
    before_command(target, 4, lambda: fence(target, A))
    (failed,) = [what for what in on(node, target, *paths) if isinstance(what, LunFailed)]
    assert failed.reason.endswith("was listed and is gone: this node was fenced while it registered: " + REBOOT)


def test_after_an_unfencing_that_failed_a_fence_is_recorded_by_the_marker_of_the_boot_before(node: Node) -> None:
    target, paths = booted(node, SAME)
    serve = target.execute

    def refuse(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        if cdb[0] == 0x5F:
            return ScsiReply(ScsiStatus.CHECK_CONDITION, Sense(5, 0x24, 0x00), b"")
        return serve(initiator, cdb, data_out, length)

    target.execute = refuse  # type: ignore[method-assign]
    assert any(isinstance(what, LunFailed) for what in on(node, target, *paths))
    target.execute = serve  # type: ignore[method-assign]
    fence(target, A)
    node.reboot()
    on(node, target, *paths)
    assert node.record == RECORD


def test_a_strange_key_on_a_path_is_replaced(node: Node) -> None:
    target, paths = booted(node, ONE_NEW)
    Nexus(target.nexus("a2"), sleep=lambda _: None).register_and_ignore(C, False, deadline())
    assert any(isinstance(what, LunRegistered) and what.paths == 2 for what in on(node, target, *paths))


def test_registrations_that_keep_changing_do_not_keep_a_node_out(node: Node) -> None:
    """Another node registers path after path. What this may hide is a fence of just that moment."""
    target, paths = booted(node, NEW)
    serve = target.execute

    def execute(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        if cdb[0] == 0x5F:
            target.generation += 1
        return serve(initiator, cdb, data_out, length)

    target.execute = execute  # type: ignore[method-assign]
    assert any(isinstance(what, LunRegistered) for what in on(node, target, *paths))
    assert all(target.write(path) is ScsiStatus.GOOD for path in paths)


def test_a_session_that_the_target_forgets_meanwhile_is_no_fence(node: Node) -> None:
    target, paths = booted(node, NEW)
    generation = target.generation

    def forgets() -> None:
        fence(target, A)
        target.generation = generation

    before_command(target, 3, forgets)
    on(node, target, *paths)
    assert node.record is None
    on(node, target, *paths)
    assert int(A) in target.keys
    assert node.record is None
