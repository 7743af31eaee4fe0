# SPDX-License-Identifier: Apache-2.0
"""What a later list of the volume group may change of what is watched: a table."""

import pytest

from fencer.sidecar.lun_list import FoundLun, LunList, agree


def found(seqno: int, *names: str, volumes: str = "", group: str = "V") -> LunList:
    """LUN x lies below the physical volume X; volumes: those that the metadata name, by default those of the LUNs."""
    luns = tuple(FoundLun(name, name, (name,), name, (name.upper(),)) for name in names)
    return LunList(luns, group, seqno, frozenset(volumes or "".join(names).upper()))


WATCHED = found(7, "a", "b")


@pytest.mark.parametrize(
    ("later", "watched", "reason"),
    [
        (found(7, "a", "b"), "ab", None),
        (found(8, "a", "b"), "ab", None),
        (found(8, "a", "b", "c"), "abc", None),  # vgextend
        (found(8, "a"), "a", None),  # vgreduce
        (found(9, "c"), "c", None),  # pvmove to another array
        (found(8, "a", volumes="AB"), "ab", "b: not found below the volume group, whose metadata name it"),
        (found(7, "a", volumes="AB"), "ab", "b: not found below the volume group, whose metadata name it"),
        (found(7, "a"), "ab", "b: not found below the volume group"),  # the same metadata cannot have dropped it
        (found(7, "a", "b", "c"), "ab", "c: found below the volume group, whose metadata are no newer"),
        (found(6, "a"), "ab", "older metadata than before"),
        (found(6, "a", "b", "c"), "ab", "older metadata than before"),
        (found(8, "a", group="W"), "ab", "made anew: restart halvm-watchdogd"),
    ],
)
def test_what_a_later_list_changes(later: LunList, watched: str, reason: str | None) -> None:
    agreement = agree(WATCHED, later)
    assert "".join(lun.wwid for lun in agreement.watched.luns) == watched
    assert (agreement.reasons == ()) == (reason is None)
    assert reason is None or reason in agreement.reasons[0]


def test_a_lun_that_vanished_is_dropped_when_the_metadata_name_it_no_more() -> None:
    watched = agree(WATCHED, found(8, "a", volumes="AB")).watched
    assert agree(watched, found(8, "a", volumes="AB")).reasons  # and is told until then
    assert [lun.wwid for lun in agree(watched, found(9, "a")).watched.luns] == ["a"]


def test_the_lun_of_a_member_that_was_missing_is_watched_when_it_is_found() -> None:
    lacking = found(7, "a")._replace(missing=("/dev/md0: array md0 lacks 1 of its members",))
    lost = agree(WATCHED, lacking)
    assert lost.watched.luns == WATCHED.luns
    assert lost.reasons[0] == "LUNs: /dev/md0: array md0 lacks 1 of its members"
    again = agree(lacking, WATCHED)
    assert (again.watched, again.reasons) == (WATCHED, ())


def test_a_lun_of_the_option_devices_is_never_dropped() -> None:
    watched = LunList((FoundLun("a", "a"), FoundLun("b", "b")))
    assert agree(watched, LunList((FoundLun("a", "a"),))).watched.luns == watched.luns
    assert agree(watched, watched).reasons == ()


def test_fresh_names_of_paths_are_kept() -> None:
    later = LunList((FoundLun("a", "a", ("sdx",), "", ("A",)),), "V", 7, frozenset("A"))
    assert agree(found(7, "a"), later).watched.luns[0].paths == ("sdx",)
