# SPDX-License-Identifier: Apache-2.0
"""The marker around a registration: what is on disk at each command, and what it means when it is read again."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fencer.errors import StorageError
from fencer.model import Deadline
from fencer.observations import LunFailed, LunRegistered, Observation
from fencer.storage.marker import EarlierBootMarker, LunMark, Marker, UnreadableMarker, read_marker, write_marker
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past, Terms, past
from fencer.storage.transport import ScsiReply
from fencer.storage.unfencing import LOCK_NAME, alone, unfence
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import WERO, A, B, deadline, lun, registered

WWID = registered().wwid


def unfenced(target: FakeTarget, directory: Path, *, re_register: bool = False) -> list[Observation]:
    seen: list[Observation] = []
    terms = Terms(A, WERO, aptpl=True, re_register=re_register)
    unfence(Opened((lun(target, "a"),)), terms, str(directory), lambda *what: seen.extend(what), deadline())
    return seen


def mark_of(directory: Path) -> LunMark | None:
    found = read_marker(str(directory))
    return found.of(WWID) if isinstance(found, Marker) else None


def at_each_registering(target: FakeTarget, happens: Callable[[], None]) -> None:
    serve = target.execute

    def execute(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        if cdb[0] == 0x5F:
            happens()
        return serve(initiator, cdb, data_out, length)

    target.execute = execute  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        (None, Past(History.NEVER)),
        (EarlierBootMarker("another boot"), Past(History.NEVER)),
        (UnreadableMarker("torn"), Past(History.UNKNOWN)),
        (Marker(A, ()), Past(History.NEVER)),
        (Marker(A, (LunMark("naa.other", 7, True),)), Past(History.NEVER)),
        (Marker(A, (LunMark(WWID, 7, registered=False),)), Past(History.BEGUN, 7, A)),
        (Marker(A, (LunMark(WWID, 7, registered=True),)), Past(History.REGISTERED, 7, A)),
    ],
)
def test_what_a_marker_means(found: Marker | EarlierBootMarker | UnreadableMarker | None, meant: Past) -> None:
    assert past(found, WWID) == meant


def test_the_marker_is_on_disk_before_the_first_command_that_registers(tmp_path: Path) -> None:
    """Killed in between, the next call must not take this node for one that was never registered."""
    target = registered("b")
    marks: list[LunMark | None] = []
    at_each_registering(target, lambda: marks.append(mark_of(tmp_path)))
    unfenced(target, tmp_path)
    assert marks
    assert marks[0] == LunMark(WWID, generation=1, registered=False)
    assert mark_of(tmp_path) == LunMark(WWID, target.generation, registered=True)


@pytest.mark.parametrize("moved", [False, True])
def test_a_registration_that_was_begun_goes_on_only_where_nothing_has_happened_since(
    tmp_path: Path, moved: bool
) -> None:
    """The REGISTER may have been executed, and its key taken away by a fence."""
    target = registered("b")
    write_marker(str(tmp_path), Marker(A, (LunMark(WWID, target.generation, registered=False),)))
    target.generation += moved
    seen = unfenced(target, tmp_path)
    assert any(isinstance(what, LunFailed) for what in seen) is moved
    assert (A in target.keys) is not moved
    assert mark_of(tmp_path) == LunMark(WWID, 1 if moved else target.generation, registered=not moved)


def test_a_node_that_was_fenced_keeps_the_mark_by_which_it_knows(tmp_path: Path) -> None:
    target = registered("b")
    unfenced(target, tmp_path)
    before = mark_of(tmp_path)
    target._unregister([target._session("a")], attention=None)
    target.generation += 1
    for _ in range(2):
        assert not any(isinstance(what, LunRegistered) for what in unfenced(target, tmp_path))
        assert mark_of(tmp_path) == before
    assert A not in target.keys


@pytest.mark.parametrize("listed", [False, True])
def test_an_unreadable_marker_is_replaced_only_once_this_node_is_registered(tmp_path: Path, listed: bool) -> None:
    target = registered(*(["a"] if listed else []), "b")
    (tmp_path / "registered.json").write_text("torn")
    at_each_registering(target, lambda: None if mark_of(tmp_path) is None else pytest.fail("replaced before"))
    seen = unfenced(target, tmp_path)
    assert any(isinstance(what, LunRegistered) for what in seen) is listed
    assert (mark_of(tmp_path) is not None) is listed


def test_re_register_overrides_an_unreadable_marker(tmp_path: Path) -> None:
    target = registered("b")
    (tmp_path / "registered.json").write_text("torn")
    assert any(isinstance(what, LunRegistered) for what in unfenced(target, tmp_path, re_register=True))
    assert mark_of(tmp_path) == LunMark(WWID, target.generation, registered=True)


def test_marks_of_other_luns_stay(tmp_path: Path) -> None:
    other = LunMark("naa.other", 3, registered=True)
    write_marker(str(tmp_path), Marker(A, (other,)))
    unfenced(registered("b"), tmp_path)
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert found.of("naa.other") == other


def test_two_processes_do_not_register_at_once(tmp_path: Path) -> None:
    with alone(str(tmp_path), Deadline.after(5)):
        slept: list[float] = []
        with (
            pytest.raises(StorageError, match="another process is registering"),
            alone(str(tmp_path), Deadline.after(0.05), slept.append),
        ):
            pass
        assert slept
    with alone(str(tmp_path), Deadline.after(0)):
        pass


def test_the_key_that_the_marker_names_is_this_node_s(tmp_path: Path) -> None:
    target = registered("b")
    unfenced(target, tmp_path)
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert found.key == A != B


def test_a_state_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    target = registered("b")
    unfenced(target, tmp_path / "run" / "fence-halvm")
    made = tmp_path / "run" / "fence-halvm"
    assert mark_of(made) == LunMark(WWID, target.generation, registered=True)
    assert stat.S_IMODE(made.stat().st_mode) == 0o755
    assert stat.S_IMODE((made / LOCK_NAME).stat().st_mode) == 0o600


# --- beside another process ------------------------------------------------------------------------------------------


def _unfence(tmp_path: Path, target: FakeTarget, seconds: float) -> None:
    unfence(
        Opened((lun(target, "a"),)), Terms(A, WERO, aptpl=True), str(tmp_path), lambda *_: None, Deadline.after(seconds)
    )


def test_while_another_process_registers_nothing_is_written(tmp_path: Path) -> None:
    import fcntl

    target = registered("b")
    held = os.open(tmp_path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(StorageError, match="another process is registering this node"):
            _unfence(tmp_path, target, 0.1)
        assert target.keys == [B]
        assert read_marker(str(tmp_path)) is None
    finally:
        os.close(held)
    _unfence(tmp_path, target, 5)
    assert set(target.keys) == {A, B}


def test_many_at_once_end_with_a_whole_marker(tmp_path: Path) -> None:
    target = registered("b")
    failures: list[BaseException] = []

    def one() -> None:
        try:
            _unfence(tmp_path, target, 20)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert read_marker(str(tmp_path)) == Marker(A, (LunMark(target.wwid, target.generation, registered=True),))
    assert set(target.keys) == {A, B}
