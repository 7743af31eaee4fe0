# SPDX-License-Identifier: Apache-2.0
"""A key that the target dropped is put back: what else is on the LUN, in the marker and on other paths stays."""

from pathlib import Path

import pytest

from fencer.errors import StorageError
from fencer.storage.marker import LunMark, Marker, read_marker, write_marker
from fencer.storage.pr import OutAction
from fencer.storage.registration import Terms
from fencer.storage.restoring import restore
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import unit
from tests.storage.nodes import WERO, A, B, Clock, deadline, lun, registered

TERMS = Terms(A, WERO, aptpl=True)


def _reserves(target: FakeTarget) -> int:
    return sum(action is OutAction.RESERVE for _, action, _ in target.log)


@pytest.mark.parametrize("paths", [("a",), ("a1", "a2")])
@pytest.mark.parametrize(("holder", "by_us"), [(None, True), ("b", False)])
def test_a_reservation_is_made_only_where_none_is_held(
    tmp_path: Path, holder: str | None, by_us: bool, paths: tuple[str, ...]
) -> None:
    target = registered("b", holder=holder)
    before = target.reservation
    restore(lun(target, *paths), TERMS, str(tmp_path), target.generation, deadline())
    assert target.keys == [B, *[A] * len(paths)]
    assert _reserves(target) == by_us
    held = target.reservation
    assert held is not None and held.type is WERO
    assert (held != before) is by_us
    assert all(target.write(path).name == "GOOD" for path in paths)


@pytest.mark.parametrize(
    "others",
    [(), ("naa.60014050000000000",), ("naa.6001405ffffffffff",), ("naa.60014050000000000", "naa.6001405ffffffffff")],
)
@pytest.mark.parametrize("was", [True, False])
def test_the_marker_keeps_what_it_says_of_other_luns(tmp_path: Path, others: tuple[str, ...], was: bool) -> None:
    """Without its mark, a LUN counts as one on which this node never registered in this boot."""
    target = registered("b")
    kept = tuple(LunMark(wwid, 7, registered=wwid > target.wwid) for wwid in others)
    write_marker(str(tmp_path), Marker(A, (LunMark(target.wwid, target.generation, registered=was), *kept)))
    restore(lun(target, "a"), TERMS, str(tmp_path), target.generation, deadline())
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert set(found.luns) == {*kept, LunMark(target.wwid, target.generation, registered=True)}
    assert len(found.luns) == len(kept) + 1


def test_where_one_path_shows_a_change_no_other_path_is_registered(tmp_path: Path) -> None:
    """Two gateways with a state each: the fence is seen behind one of them only."""
    clock = Clock()
    fenced, left = registered("b"), registered("b")
    generation = left.generation
    fenced.generation += 1
    both = unit(fenced.nexus("a1"), left.nexus("a2"), clock=clock)
    with pytest.raises(StorageError, match="the registrations have changed: whether this node was fenced is not known"):
        restore(both, TERMS, str(tmp_path), generation, deadline(clock))
    assert fenced.keys == left.keys == [B]
    assert not left.log
