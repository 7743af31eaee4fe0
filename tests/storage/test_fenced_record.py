# SPDX-License-Identifier: Apache-2.0
"""The record that this node was fenced: what shows a fence, what the file may hold, and what becomes of it."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fencer.cluster.contact import Contact
from fencer.model import ArbitrationMode, OtherKeys, ReservationKey, ReservationType
from fencer.observations import Arbitrated, ArbitrationResult, LunFailed, Noted, Observation
from fencer.storage import fenced_record, procedure
from fencer.storage.arbitration import Refusal, arbitrate
from fencer.storage.fenced_record import SETTLE_S, FencedRecord, find_fence, read_record, refusal, write_record
from fencer.storage.look import Look, guard_key
from fencer.storage.marker import EarlierBootMarker, LunMark
from fencer.storage.pr import Reservation
from fencer.storage.procedure import Opened
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import ALL_REGISTRANTS, WERO, A, B, C, Clock, contest, deadline, lun, registered

WWID = "naa.1"
EARLIER = EarlierBootMarker("earlier boot", A, (LunMark(WWID, 7, registered=True),))
RECORD = FencedRecord((B,), "lun")


def look(
    *keys: ReservationKey, generation: int = 8, kind: ReservationType | None = WERO, holder: ReservationKey | None = B
) -> Look:
    return Look(generation, frozenset(keys), Reservation(generation, holder, kind))


@pytest.mark.parametrize(
    ("earlier", "seen", "fenced"),
    [
        (EARLIER, look(B), True),
        (EARLIER, look(B, kind=ALL_REGISTRANTS[0], holder=None), True),
        (EARLIER, look(A, B), False),
        (EARLIER, look(guard_key(A), B), False),
        (EARLIER, look(B, generation=7), False),  # forgotten by the target with the session
        (EARLIER, look(B, generation=2), False),  # the target has lost everything
        (EARLIER, look(), False),
        (EARLIER, look(B, kind=None, holder=None), False),
        (EARLIER._replace(key=ReservationKey(0xD)), look(ReservationKey(0xD), B), False),  # as it registered then
        (EARLIER._replace(key=None), look(B), True),
        (EARLIER._replace(luns=(LunMark(WWID, 7, registered=False),)), look(B), False),
        (EARLIER._replace(luns=(LunMark("naa.2", 7, registered=True),)), look(B), False),
        (EARLIER._replace(luns=()), look(B), False),
    ],
)
def test_what_shows_a_fence(earlier: EarlierBootMarker, seen: Look, fenced: bool) -> None:
    assert find_fence(earlier, A, {WWID: seen}, {WWID: "lun"}) == (RECORD if fenced else None)


@pytest.mark.parametrize("without", [look(A, B), look(B, generation=7), None])
def test_one_lun_that_shows_a_fence_is_enough(without: Look | None) -> None:
    """Whatever the others show: the fence was interrupted, or one of them does not answer."""
    earlier = EARLIER._replace(luns=(LunMark("naa.0", 7, registered=True), *EARLIER.luns))
    looks = {WWID: look(B)} | ({"naa.0": without} if without is not None else {})
    assert find_fence(earlier, A, looks, {WWID: "lun", "naa.0": "other"}) == RECORD


def test_a_record_is_kept_durably_and_for_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is fenced again right after it has registered must find it."""
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(
        "os.fsync", lambda descriptor: (synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode)), fsync(descriptor))
    )
    write_record(str(tmp_path), RECORD)
    assert synced == [stat.S_IFREG, stat.S_IFDIR]
    assert stat.S_IMODE((tmp_path / "fenced.json").stat().st_mode) == 0o600


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    for record in (RECORD, RECORD._replace(met=("boot", 12.5))):
        write_record(str(tmp_path), record)
        assert read_record(str(tmp_path)) == record


def test_a_record_of_as_many_keys_as_there_can_be_is_read(tmp_path: Path) -> None:
    """Else registering thousands of keys would let a fenced node shoot the winner."""
    record = RECORD._replace(by=tuple(ReservationKey((1 << 64) - 1 - number) for number in range(8190)))
    write_record(str(tmp_path), record)
    assert read_record(str(tmp_path)) == record


@pytest.mark.parametrize("content", ["", "torn", "[]", "{}", '{"by": ["x"], "lun": "l"}', '{"by": 1, "lun": 2}'])
def test_a_record_that_makes_no_sense_refuses_nothing_and_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "fenced.json").write_text(content)
    notes = refused(tmp_path, Contact.NEVER)[1]
    assert [str(tmp_path / "fenced.json") in text for text in notes] == [True]


def test_a_record_in_a_directory_of_others_refuses_nothing(tmp_path: Path) -> None:
    write_record(str(tmp_path), RECORD)
    tmp_path.chmod(0o777)
    found, notes = refused(tmp_path, Contact.NEVER)
    assert found is None
    assert "others than root may write to it" in notes[0]


def refused(directory: Path, contact: Contact) -> tuple[Refusal | None, list[str]]:
    notes: list[str] = []

    def emit(*several: Observation) -> None:
        notes.extend(what.text for what in several if isinstance(what, Noted))

    return refusal(str(directory), lambda: contact, emit), notes


@pytest.mark.parametrize(
    ("contact", "refuses", "stays", "notes"),
    [
        (Contact.NEVER, True, True, 0),
        (Contact.MET, True, True, 0),  # this fence may have been asked for before they met
        (Contact.WAITED, False, False, 0),  # without quorum nobody asks for a fence
        (Contact.BY_QUORUM, False, False, 0),
        (Contact.SILENT, True, True, 0),  # as while the two meet
        (Contact.UNKNOWN, False, True, 1),
    ],
)
def test_what_corosync_says_decides(tmp_path: Path, contact: Contact, refuses: bool, stays: bool, notes: int) -> None:
    write_record(str(tmp_path), RECORD)
    found, said = refused(tmp_path, contact)
    assert (found is not None, (tmp_path / "fenced.json").exists(), len(said)) == (refuses, stays, notes)
    assert all(str(tmp_path / "fenced.json") in text for text in said)


@pytest.mark.parametrize(
    ("met", "refuses"),
    [
        (("this boot", 1000.0 - SETTLE_S), False),
        (("this boot", 1001.0 - SETTLE_S), True),
        (("this boot", 1000.0), True),
        (("this boot", 1000.1), True),  # from the future: it was changed by hand, and is found anew
        (("this boot", float("nan")), True),
        (("another boot", 1000.0 - SETTLE_S), True),
        (("yet another boot", 1000.0 - SETTLE_S), True),  # sorts after this one
        (("this boot", 0.5), False),
        (("this boot", 0.0), False),
        (("this boot", -0.5), True),
        (None, True),
    ],
)
def test_fences_are_refused_until_those_are_over_that_were_asked_for_before_they_met(
    tmp_path: Path, met: tuple[str, float] | None, refuses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fenced_record, "read_boot_id", lambda: "this boot")
    monkeypatch.setattr(fenced_record, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    write_record(str(tmp_path), RECORD._replace(met=met))
    found, _ = refused(tmp_path, Contact.MET)
    assert (found is not None, (tmp_path / "fenced.json").exists()) == (refuses, refuses)
    monkeypatch.setattr(fenced_record, "time", SimpleNamespace(monotonic=lambda: 1000.0 + SETTLE_S))
    assert refused(tmp_path, Contact.MET)[0] is None  # never for longer, whatever stood there


def test_a_meeting_that_cannot_be_kept_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_directory: str, _record: FencedRecord) -> None:
        raise OSError(28, "No space left on device")

    write_record(str(tmp_path), RECORD)
    monkeypatch.setattr(fenced_record, "write_record", full)
    assert refused(tmp_path, Contact.MET)[0] is None


def test_a_refusal_is_about_both_keys_of_the_peer(tmp_path: Path) -> None:
    write_record(str(tmp_path), RECORD)
    found, _ = refused(tmp_path, Contact.NEVER)
    assert found is not None
    assert found.keys == {each for key in RECORD.by for each in (key, guard_key(key))}


def test_without_a_record_corosync_is_not_asked(tmp_path: Path) -> None:
    assert refusal(str(tmp_path), lambda: pytest.fail("asked"), lambda *_: None) is None


def raced(*, keys: frozenset[ReservationKey] = frozenset((B,)), names: str = "ab") -> ArbitrationResult:
    target = registered(*names)
    before = set(target.keys)
    clock = Clock()
    terms = contest(A, B, refusal=Refusal(keys, "not yet"))
    end = arbitrate(lun(target, "a", clock=clock), terms, deadline(clock), clock.sleep)
    assert end.result is not ArbitrationResult.REFUSED or (set(target.keys), end.reason) == (before, "not yet")
    return end.result


def test_a_race_that_is_refused_writes_nothing() -> None:
    assert raced() is ArbitrationResult.REFUSED


def test_a_refusal_is_about_these_keys_alone() -> None:
    assert raced(keys=frozenset((ReservationKey(0xD),))) is ArbitrationResult.WON
    assert raced(names="a") is ArbitrationResult.WON  # nothing of the target's is left to remove


def test_a_node_that_is_not_registered_has_lost_rather_than_being_refused() -> None:
    assert raced(names="b") is ArbitrationResult.LOST


# --- the race cannot be decided ---------------------------------------------------------------------------------------

UNSEEN = ("a silent LUN", "a LUN that cannot be named", "no LUN")
PEER = Refusal(frozenset((B, guard_key(B))), "not met")


def undecided(
    how: str, mode: ArbitrationMode, refused: Refusal | None, others: OtherKeys, target: ReservationKey = B
) -> tuple[Arbitrated | None, FakeTarget]:
    """A fence of b by a, where the race could not be decided: its result, and the LUN that answers."""
    clock, lost, seen = Clock(), registered("a", "b", "c"), list[Observation]()
    if how == "a silent LUN":
        lost.silent.add("a")
    unknown = (LunFailed("/dev/sdx", "/dev/sdx: gone"),) if how == "a LUN that cannot be named" else ()
    opened = Opened(() if how == "no LUN" else (lun(lost, "a", clock=clock),), unknown)
    terms = contest(A, target, refusal=refused, others=others)
    procedure.fence(opened, terms, mode, "x", lambda *what: seen.extend(what), deadline(clock, 2.0))
    return next((what for what in seen if isinstance(what, Arbitrated)), None), lost


@pytest.mark.parametrize("how", UNSEEN)
@pytest.mark.parametrize("mode", [ArbitrationMode.REQUIRED, ArbitrationMode.PREFERRED])
@pytest.mark.parametrize("others", [OtherKeys((B,)), OtherKeys((A, B, C))])
def test_a_race_that_is_refused_and_cannot_be_decided_lets_nothing_else_go_on(
    how: str, mode: ArbitrationMode, others: OtherKeys
) -> None:
    """Under arbitration=preferred power would be used, and by hand the next method: both shoot the peer."""
    end, target = undecided(how, mode, PEER, others)
    assert end is not None
    assert end.result is ArbitrationResult.REFUSED
    assert end.reason.endswith("; and not met")
    assert target.log == []


@pytest.mark.parametrize("how", UNSEEN)
def test_without_a_refusal_such_a_race_is_undecided(how: str) -> None:
    end, _ = undecided(how, ArbitrationMode.REQUIRED, None, OtherKeys((B,)))
    assert end is not None
    assert end.result is ArbitrationResult.UNREACHABLE


@pytest.mark.parametrize("how", UNSEEN)
def test_in_a_larger_cluster_another_node_is_not_meant(how: str) -> None:
    end, _ = undecided(how, ArbitrationMode.REQUIRED, PEER, OtherKeys((A, B, C)), target=C)
    assert end is not None
    assert end.result is ArbitrationResult.UNREACHABLE


def test_of_two_nodes_the_peer_is_meant_whatever_its_key_is_thought_to_be() -> None:
    end, _ = undecided("no LUN", ArbitrationMode.PREFERRED, PEER, OtherKeys((C,)), target=C)
    assert end is not None
    assert end.result is ArbitrationResult.REFUSED


def test_without_arbitration_there_is_no_rule() -> None:
    """As decision 0016 says."""
    end, target = undecided("a LUN that cannot be named", ArbitrationMode.OFF, PEER, OtherKeys((A, B, C)))
    assert end is None
    assert B not in target.keys


@pytest.mark.parametrize(("result", "stays"), [(r, r is not ArbitrationResult.WON) for r in ArbitrationResult])
def test_the_record_goes_with_a_race_that_was_won(tmp_path: Path, result: ArbitrationResult, stays: bool) -> None:
    write_record(str(tmp_path), RECORD)
    seen: list[Observation] = []
    hear: Callable[..., None] = lambda *what: seen.extend(what)  # noqa: E731
    fenced_record.forget_once_won(str(tmp_path), hear)(Arbitrated(result, "lun"))
    assert seen == [Arbitrated(result, "lun")]
    assert (tmp_path / "fenced.json").exists() is stays
