# SPDX-License-Identifier: Apache-2.0
"""What unfencing keeps for the next boot, what it finds of an earlier one, and how long a silent LUN may hold it up."""

from pathlib import Path

import pytest

from fencer.cluster.contact import Contact
from fencer.errors import StorageError, UsageError
from fencer.model import Deadline, OtherKeys, ReservationKey
from fencer.observations import LunFailed, LunRegistered, Noted, Observation
from fencer.storage import fenced_record, unfencing
from fencer.storage.fenced_record import FencedRecord, read_record, write_record
from fencer.storage.marker import MARKER_NAME, LunMark, Marker, read_marker
from fencer.storage.procedure import Opened
from fencer.storage.registration import Terms
from fencer.storage.unfencing import alone, unfence
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import GONE, faulty, unit, until
from tests.storage.nodes import WERO, A, B, C, Clock, deadline, lun, registered

TERMS = Terms(A, WERO, aptpl=True)
OTHER = "naa.60014050000000000000000000000002"


class Node:
    """One node, with a state directory that a boot empties and one that survives it."""

    def __init__(self, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept, self.boot = scratch / "lib", "first boot"
        self.state_dir = scratch / "run"
        for each in (self.kept, self.state_dir):
            each.mkdir()
        monkeypatch.setattr(unfencing, "persistent_directory", lambda _run: str(self.kept))
        monkeypatch.setattr("fencer.storage.marker.read_boot_id", lambda _path: self.boot)

    def reboot(self, *, empties_run: bool = True) -> None:
        self.boot = f"boot after {self.boot}"
        if empties_run:
            (self.state_dir / MARKER_NAME).unlink(missing_ok=True)

    def unfence(self, *targets: FakeTarget, own: ReservationKey = A, ask: object = None) -> list[Observation]:
        seen: list[Observation] = []
        luns = Opened(tuple(lun(target, "a") for target in targets))
        terms = TERMS._replace(own=own)
        unfence(luns, terms, str(self.state_dir), lambda *what: seen.extend(what), deadline(), ask)  # type: ignore[arg-type]
        return seen

    @property
    def record(self) -> FencedRecord | str | None:
        return read_record(str(self.kept))

    def notes(self, seen: list[Observation]) -> list[str]:
        return [what.text for what in seen if isinstance(what, Noted)]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def fenced(target: FakeTarget) -> None:
    """Node b has taken a's key."""
    target._unregister([target._session("a")], attention=None)
    target.generation += 1


# --- a fence of an earlier boot ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("empties_run", [True, False])
def test_at_the_first_registration_of_a_boot_a_fence_is_recorded(node: Node, empties_run: bool) -> None:
    """By the marker that survives a boot, or where the state directory is on a disk by that one."""
    target = registered("b")
    node.unfence(target)
    fenced(target)
    node.reboot(empties_run=empties_run)
    if not empties_run:
        (node.kept / MARKER_NAME).unlink()
    node.unfence(target)
    assert node.record == FencedRecord((B,), lun(target).name)


@pytest.mark.parametrize("one_port", [True, False])
def test_a_clone_of_a_registered_node_does_not_take_its_key_over(node: Node, one_port: bool) -> None:
    """A cloned machine has the other node's marker of an earlier boot, and perhaps its InitiatorName, too."""
    target = registered("b")
    node.unfence(target)
    node.reboot()
    if not one_port:
        target.relogin("a")
    seen: list[Observation] = []
    terms = TERMS._replace(own=C, others=OtherKeys((A, B)))
    luns = Opened((lun(target, "a"),))
    unfence(luns, terms, str(node.state_dir), lambda *what: seen.extend(what), deadline())
    assert any(isinstance(what, LunRegistered) for what in seen) is not one_port
    assert target.keys.count(A) == 1
    assert target.keys.count(C) == (not one_port)


def test_in_the_boot_of_the_fence_none_is_recorded(node: Node) -> None:
    """It is not registered again in that boot; its next one finds the same."""
    target = registered("b")
    node.unfence(target)
    node.reboot()
    node.unfence(target)
    fenced(target)
    assert any(isinstance(what, LunFailed) for what in node.unfence(target))
    assert node.record is None


def test_a_marker_that_cannot_be_read_records_no_fence(node: Node) -> None:
    target = registered("b")
    node.unfence(target)
    fenced(target)
    node.reboot()
    (node.state_dir / MARKER_NAME).write_text("torn")
    node.unfence(target)
    assert node.record is None


def test_a_fence_that_cannot_be_recorded_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_directory: str, _record: FencedRecord) -> None:
        raise OSError(28, "No space left on device")

    target = registered("b")
    node.unfence(target)
    fenced(target)
    node.reboot()
    monkeypatch.setattr(fenced_record, "write_record", full)
    seen = node.unfence(target)
    assert any("that this node was fenced was not recorded" in text for text in node.notes(seen))
    assert any(isinstance(what, LunRegistered) for what in seen)


@pytest.mark.parametrize("asked", [False, True])
def test_what_a_record_means_is_told_by_on_and_not_by_the_sidecar(node: Node, asked: bool) -> None:
    write_record(str(node.kept), FencedRecord((B,), "lun"))
    seen = node.unfence(registered("b"), ask=(lambda: Contact.NEVER) if asked else None)
    assert any("a fence of the other node would be refused" in text for text in node.notes(seen)) is asked


# --- what is kept for the next boot -----------------------------------------------------------------------------------


def test_a_registration_is_kept_for_the_next_boot(node: Node) -> None:
    target = registered("b")
    node.unfence(target)
    assert read_marker(str(node.kept)) == read_marker(str(node.state_dir))
    assert read_marker(str(node.kept)) == Marker(A, (LunMark(target.wwid, target.generation, registered=True),))


@pytest.mark.parametrize("own", [A, B, C])
def test_what_is_kept_already_is_not_written_again(node: Node, own: ReservationKey) -> None:
    """The disk may hang."""
    target = registered("b", holder=None)
    node.unfence(target, own=own)
    (node.kept / MARKER_NAME).unlink()
    target.generation += 5
    assert any(isinstance(what, LunRegistered) for what in node.unfence(target, own=own))
    assert not (node.kept / MARKER_NAME).exists()


@pytest.mark.parametrize("before", [ReservationKey(9), C])
def test_a_key_that_was_changed_is_kept(node: Node, before: ReservationKey) -> None:
    target = registered("b")
    node.unfence(target, own=before)
    node.unfence(target, own=A)
    assert read_marker(str(node.kept)) == read_marker(str(node.state_dir))


@pytest.mark.parametrize("first", [False, True])
def test_a_lun_more_is_kept(node: Node, first: bool) -> None:
    """Whether its WWID sorts before or after the others."""
    both = [registered("b"), registered("b", target=FakeTarget(wwid=OTHER))]
    node.unfence(both[first])
    node.unfence(*both)
    kept = read_marker(str(node.kept))
    assert isinstance(kept, Marker)
    assert {mark.wwid for mark in kept.luns if mark.registered} == {target.wwid for target in both}


def test_what_cannot_be_kept_is_told_and_fails_nothing(node: Node) -> None:
    node.kept.rmdir()
    node.kept.write_text("a file")
    seen = node.unfence(registered("b"))
    assert any("was not kept for the next boot" in text for text in node.notes(seen))
    assert any(isinstance(what, LunRegistered) for what in seen)


@pytest.mark.parametrize("directory", ["aaa", "zzz", "run"])
def test_where_both_directories_are_one_nothing_is_kept_beside_it(
    tmp_path: Path, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = unfencing.write_marker
    monkeypatch.setattr(unfencing, "write_marker", lambda where, what: (written.append(where), write(where, what)))
    run, kept = tmp_path / "run", tmp_path / directory
    monkeypatch.setattr(unfencing, "persistent_directory", lambda _run: str(kept))
    unfence(Opened((lun(registered("b"), "a"),)), TERMS, str(run), lambda *_: None, deadline())
    assert written == [str(run), str(run)] + ([] if kept == run else [str(kept)])


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_lun_that_answers_late_is_registered(node: Node) -> None:
    """Two thirds of the time belong to the first look."""
    clock, target = Clock(), registered("b")
    slow = unit(faulty(target, "a", clock, GONE, until(18.0)), clock=clock)
    seen: list[Observation] = []
    unfence(Opened((slow,)), TERMS, str(node.state_dir), lambda *what: seen.extend(what), deadline(clock, 30.0))
    assert any(isinstance(what, LunRegistered) for what in seen)


def test_another_process_is_waited_for_in_short_steps(tmp_path: Path) -> None:
    def once(seconds: float) -> None:
        assert 0 < seconds <= 0.1
        raise StorageError("enough")

    with (
        alone(str(tmp_path), Deadline.after(5)),
        pytest.raises(StorageError, match="enough"),
        alone(str(tmp_path), Deadline.after(5), once),
    ):
        pass


def test_a_state_directory_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UsageError, match="give a directory on a tmpfs"), alone(str(tmp_path / "run"), deadline()):
        pass
