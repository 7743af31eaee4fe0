# SPDX-License-Identifier: Apache-2.0
"""What one reading of a LUN shows, without a LUN."""

import pytest

from fencer.model import ReservationKey, ReservationType
from fencer.storage.look import Look, guard_key, some_of
from fencer.storage.pr import Reservation
from tests.storage.nodes import ALL_REGISTRANTS, WERO, A, B, C

WE, EA = ReservationType.WRITE_EXCLUSIVE, ReservationType.EXCLUSIVE_ACCESS
WEAR = ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS


def look(kind: ReservationType | None, holder: ReservationKey | None = None) -> Look:
    return Look(7, frozenset((A, B)), Reservation(7, holder, kind))


@pytest.mark.parametrize(
    ("key", "guard"),
    [(0xA, 0x800000000000000A), (0x800000000000000A, 0xA), (1 << 63, 1 << 62), ((1 << 64) - 1, (1 << 63) - 1)],
)
def test_a_guard_key_differs_in_the_highest_bit_and_is_never_0(key: int, guard: int) -> None:
    assert guard_key(ReservationKey(key)) == guard


@pytest.mark.parametrize("kind", [WE, EA])
def test_under_these_types_the_holder_alone_writes(kind: ReservationType) -> None:
    assert look(kind, B).keeps_from_writing(A) == B
    assert look(kind, A).keeps_from_writing(B) == A
    assert look(kind, A).keeps_from_writing(ReservationKey(int(A))) is None, "an equal key, read anew"


@pytest.mark.parametrize("kind", [WERO, WEAR, None])
def test_under_the_others_every_registrant_writes(kind: ReservationType | None) -> None:
    assert look(kind, B if kind is WERO else None).keeps_from_writing(A) is None


def test_it_reads_as_a_sentence() -> None:
    assert str(look(None)) == f"generation 7, keys {A}, {B}, no reservation"
    assert str(look(WERO, A)) == f"generation 7, keys {A}, {B}, WRITE_EXCLUSIVE_REGISTRANTS_ONLY held by {A}"
    assert str(look(WEAR)) == f"generation 7, keys {A}, {B}, WRITE_EXCLUSIVE_ALL_REGISTRANTS held by all"


@pytest.mark.parametrize("kind", [WERO, WE, EA])
def test_who_holds_the_reservation(kind: ReservationType) -> None:
    assert look(kind, A).held_by(A)
    assert not look(kind, A).held_by(B)
    assert not look(kind, C).held_by(C), "it is not registered"
    assert not look(None).held_by(A)


@pytest.mark.parametrize("kind", ALL_REGISTRANTS)
def test_with_all_registrants_each_registrant_holds_it(kind: ReservationType) -> None:
    assert look(kind).held_by(A)
    assert look(kind).held_by(B)
    assert not look(kind).held_by(C)


@pytest.mark.parametrize("kind", ALL_REGISTRANTS)
@pytest.mark.parametrize(
    ("keys", "held"), [((), False), ((B,), False), ((guard_key(B),), False), ((B, guard_key(B)), False), ((A,), True)]
)
def test_where_no_survivor_is_registered_no_reservation_shuts_out(
    kind: ReservationType, keys: tuple[ReservationKey, ...], held: bool
) -> None:
    seen = Look(7, frozenset(keys), Reservation(7, None, kind))
    assert seen.held_without(B) is held
    assert seen.shuts_out(B) is held


@pytest.mark.parametrize("keys", [(), (A,), (A, B)])
def test_a_reservation_that_the_node_itself_holds_does_not_shut_it_out(keys: tuple[ReservationKey, ...]) -> None:
    """Also where the target lists the holder no longer."""
    assert not Look(7, frozenset(keys), Reservation(7, B, WERO)).held_without(B)


@pytest.mark.parametrize(("count", "more"), [(1, ""), (16, ""), (17, " and 1 more"), (40, " and 24 more")])
def test_of_many_names_the_first_16_are_told(count: int, more: str) -> None:
    assert some_of(range(count)) == ", ".join(str(number) for number in range(min(count, 16))) + more


@pytest.mark.parametrize("length", [1, 259, 260, 261, 1000])
def test_a_name_is_told_up_to_260_characters(length: int) -> None:
    assert some_of(["x" * length]) == ("x" * length if length <= 260 else "x" * 260 + "…")
