# SPDX-License-Identifier: Apache-2.0
"""Taking the key off at an orderly stop: behind the lock, never as if a fence had not been, and never from a holder."""

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencer.errors import StorageError
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.observations import LunFailed, LunIsolated
from fencer.storage import settings
from fencer.storage.isolation import isolate
from fencer.storage.marker import LunMark, Marker, read_marker, write_marker
from fencer.storage.open_luns import open_luns
from fencer.storage.procedure import Opened
from fencer.storage.registration import Terms
from fencer.storage.settings import StorageSettings
from fencer.storage.transport import ScsiReply, ScsiStatus
from fencer.storage.unfencing import LOCK_NAME, unfence
from fencer.storage.unregistering import unregister, withdraw
from tests.agent_storage.nodes import Witness
from tests.rig.target import Target
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import ALL_REGISTRANTS, WERO, A, B, C, contest, deadline, lun, registered

OWN, OTHER = ReservationKey(0xA1), ReservationKey(0xA2)


# --- who holds the reservation, on a target in memory -----------------------------------------------------------------


def stop(state_dir: Path, *shared: FakeTarget, paths: tuple[str, ...] = ("a",), unknown: tuple[str, ...] = ()) -> None:
    """Node a stops in order. unknown: why LUNs could not be identified."""
    opened = Opened(tuple(lun(target, *paths) for target in shared), tuple(LunFailed("vg", why) for why in unknown))
    storage = StorageSettings(("x",), None, A, state_dir=str(state_dir))
    unregister(storage, lambda _settings, _deadline: opened)


def shared_luns(*names: str, holders: tuple[str, ...], kind: ReservationType = WERO) -> list[FakeTarget]:
    """A LUN for each holder, on which the named paths are registered."""
    return [
        registered(*names, holder=holder, kind=kind, target=FakeTarget(wwid=f"naa.6001405{number:025x}"))
        for number, holder in enumerate(holders)
    ]


def was_registered(state_dir: Path, shared: list[FakeTarget]) -> Marker:
    marker = Marker(A, tuple(LunMark(target.wwid, target.generation, registered=True) for target in shared))
    write_marker(str(state_dir), marker)
    return marker


@pytest.mark.parametrize("paths", [("a",), ("a1", "a2")])
def test_who_was_fenced_still_cannot_write_after_the_holder_stopped(tmp_path: Path, paths: tuple[str, ...]) -> None:
    (shared,) = shared_luns(*paths, "b", holders=(paths[-1],))
    marker = was_registered(tmp_path, [shared])
    assert isinstance(isolate(lun(shared, *paths), contest(), deadline()), LunIsolated)
    with pytest.raises(StorageError, match="lun-00: this node holds the reservation, without which a node that was"):
        stop(tmp_path, shared, paths=paths)
    assert shared.write("b") is ScsiStatus.RESERVATION_CONFLICT
    assert set(shared.keys) == {A}
    assert read_marker(str(tmp_path)) == marker


def test_who_fenced_the_holder_holds_and_keeps_its_key(tmp_path: Path) -> None:
    (shared,) = shared_luns("a", "b", "c", holders=("b",))
    assert isinstance(isolate(lun(shared, "a"), contest(), deadline()), LunIsolated)
    with pytest.raises(StorageError, match="holds the reservation"):
        stop(tmp_path, shared)
    assert shared.write("b") is ScsiStatus.RESERVATION_CONFLICT
    assert shared.keys == [A, C]


def test_who_holds_nothing_unregisters_and_who_was_fenced_stays_out(tmp_path: Path) -> None:
    shared = shared_luns("a1", "a2", "b", "c", holders=("c", "c"))
    was_registered(tmp_path, shared)
    for target in shared:
        assert isinstance(isolate(lun(target, "a1", "a2"), contest(), deadline()), LunIsolated)
    stop(tmp_path, *shared, paths=("a1", "a2"))
    for target in shared:
        assert target.keys == [C]
        assert target.write("b") is ScsiStatus.RESERVATION_CONFLICT
    assert read_marker(str(tmp_path)) == Marker(A, ())


def test_where_no_reservation_is_held_there_is_none_to_keep(tmp_path: Path) -> None:
    target = registered("a", "b", holder=None)
    stop(tmp_path, target)
    assert target.keys == [B]


def test_who_holds_the_last_of_many_keeps_its_key_on_all(tmp_path: Path) -> None:
    shared = shared_luns("a", "c", holders=("c", "c", "a"))
    marker = was_registered(tmp_path, shared)
    with pytest.raises(StorageError, match="lun-02: this node holds the reservation"):
        stop(tmp_path, *shared)
    assert [target.keys for target in shared] == [[A, C]] * 3
    assert not any(target.log for target in shared), "a command that changes something was sent"
    assert read_marker(str(tmp_path)) == marker


@pytest.mark.parametrize("others", [(), ("c",)])
@pytest.mark.parametrize("kind", ALL_REGISTRANTS)
def test_of_an_all_registrants_type_every_registrant_is_a_holder(
    tmp_path: Path, kind: ReservationType, others: tuple[str, ...]
) -> None:
    (shared,) = shared_luns("a", "b", *others, holders=("a",), kind=kind)
    assert isinstance(isolate(lun(shared, "a"), contest(reservation_type=kind), deadline()), LunIsolated)
    with pytest.raises(StorageError, match="holds the reservation"):
        stop(tmp_path, shared)
    assert A in shared.keys
    assert shared.write("b") is ScsiStatus.RESERVATION_CONFLICT


def test_a_lun_that_does_not_tell_who_holds_it_changes_nothing_on_the_others(tmp_path: Path) -> None:
    shared = shared_luns("a", "c", holders=("c", "c"))
    shared[1].silent.add("a")
    with pytest.raises(StorageError):
        stop(tmp_path, *shared)
    assert [target.keys for target in shared] == [[A, C]] * 2


@pytest.mark.parametrize(
    ("holder", "falls_silent", "left", "keys"),
    [
        ("c", None, "", [C]),
        ("a", None, "; it is left here: this node holds the reservation", [A, C]),
        ("c", "at once", "; it may be left here: ", [A, C]),
        ("c", "when it is to unregister", "; it may be left here: ", [A, C]),
    ],
)
def test_a_key_that_is_taken_back_says_where_it_is_left(
    monkeypatch: pytest.MonkeyPatch, holder: str, falls_silent: str | None, left: str, keys: list[ReservationKey]
) -> None:
    """The caller reports a fence that has struck meanwhile, so no LUN in trouble may end it by an error."""
    (shared,) = shared_luns("a", "c", holders=(holder,))
    serve = shared.execute

    def silent_from(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        if initiator == "a" and (falls_silent == "at once" or (falls_silent and cdb[0] == 0x5F)):
            shared.silent.add("a")
        return serve(initiator, cdb, data_out, length)

    monkeypatch.setattr(shared, "execute", silent_from)
    told = withdraw(lun(shared, "a"), A, True, deadline(seconds=3))
    assert told.startswith(left) and bool(told) is bool(left)
    assert shared.keys == keys


@pytest.mark.parametrize("unknown", [("vg: a LUN is missing",), ("vg: a LUN is missing", "vg: another one")])
def test_where_not_all_luns_are_known_the_key_stays_on_those_that_are(tmp_path: Path, unknown: tuple[str, ...]) -> None:
    """It may hold the reservation of one that was not found."""
    (shared,) = shared_luns("a", "c", holders=("c",))
    marker = was_registered(tmp_path, [shared])
    with pytest.raises(StorageError, match=r"^vg: a LUN is missing$"):
        stop(tmp_path, shared, unknown=unknown)
    assert shared.keys == [A, C]
    assert not shared.log
    assert read_marker(str(tmp_path)) == marker


@pytest.mark.parametrize(("state_dir", "persistent"), [("run", "var"), ("var", "run")])
@pytest.mark.parametrize("full", [False, True])
def test_the_next_boot_is_told_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_dir: str, persistent: str, full: bool
) -> None:
    """Else it would take this node for one that was fenced. A disk that takes no file stops no orderly stop."""
    run, kept = tmp_path / state_dir, tmp_path / persistent
    run.mkdir()
    if full:
        kept.write_text("no directory")
    monkeypatch.setattr(settings, "persistent_directory", lambda _run: str(kept))
    shared = shared_luns("a", "c", holders=("c",))
    was_registered(run, shared)
    if not full:
        was_registered(kept, shared)
    stop(run, *shared)
    assert shared[0].keys == [C]
    assert read_marker(str(run)) == Marker(A, ())
    if not full:
        assert read_marker(str(kept)) == Marker(A, ())


# --- on a real target -------------------------------------------------------------------------------------------------


@pytest.fixture
def target() -> Iterator[Target]:
    if os.geteuid() != 0:
        pytest.skip("tgtd must run as root")
    with Target(luns=2) as target:
        yield target


@pytest.fixture
def holder(target: Target) -> Iterator[None]:
    """Another node holds every reservation. Its sessions stay: tgtd's registrations belong to them."""
    sessions = [Witness(url, "other", OTHER) for url in target.urls]
    for session in sessions:
        session.nexus.reserve(OTHER, ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, Deadline.after(5))
    yield
    for session in sessions:
        session.close()


class Node:
    """Registered by sessions that stay, as a node's kernel has them: tgtd's registrations belong to the session."""

    def __init__(self, storage: StorageSettings) -> None:
        deadline = Deadline.after(10)
        self._opened = open_luns(storage, deadline)
        self._storage = storage
        unfence(self._opened, Terms.on(storage, OWN), storage.state_dir, lambda *_: None, deadline)

    def unregister(self) -> None:
        unregister(self._storage, lambda _settings, _deadline: self._opened)


@pytest.fixture
def node(target: Target, tmp_path: Path) -> Node:
    storage = StorageSettings(
        tuple(target.urls), None, OWN, initiator="iqn.2026-11.test.fence-halvm:one", state_dir=str(tmp_path)
    )
    node = Node(storage)
    assert OWN in keys(target)
    return node


def keys(target: Target) -> set[ReservationKey]:
    found: set[ReservationKey] = set()
    for url in target.urls:
        witness = Witness(url)
        found |= set(witness.keys().keys)
        witness.close()
    return found


@pytest.mark.peer
@pytest.mark.usefixtures("holder")
def test_the_key_is_gone_and_the_marker_says_that_it_was_us(target: Target, node: Node, tmp_path: Path) -> None:
    node.unregister()
    assert keys(target) == {OTHER}
    assert read_marker(str(tmp_path)) == Marker(OWN, ())


@pytest.mark.peer
def test_the_holder_keeps_its_key(target: Target, node: Node, tmp_path: Path) -> None:
    before = read_marker(str(tmp_path))
    with pytest.raises(StorageError, match="this node holds the reservation"):
        node.unregister()
    assert keys(target) == {OWN}
    assert read_marker(str(tmp_path)) == before


@pytest.mark.peer
@pytest.mark.usefixtures("holder")
def test_it_waits_for_a_process_that_registers(target: Target, node: Node, tmp_path: Path) -> None:
    held = os.open(tmp_path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    thread = threading.Thread(target=node.unregister)
    thread.start()
    thread.join(1.0)
    assert thread.is_alive()
    assert keys(target) == {OWN, OTHER}
    os.close(held)
    thread.join(20.0)
    assert not thread.is_alive()
    assert keys(target) == {OTHER}


@pytest.mark.peer
def test_a_key_that_another_node_took_is_no_orderly_stop(target: Target, node: Node, tmp_path: Path) -> None:
    before = read_marker(str(tmp_path))
    for url in target.urls:
        other = Witness(url, "other", OTHER)
        other.nexus.preempt(OTHER, OWN, ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, Deadline.after(5))
        other.close()
    assert OWN not in keys(target)
    with pytest.raises(StorageError, match="was gone already"):
        node.unregister()
    assert read_marker(str(tmp_path)) == before
