# SPDX-License-Identifier: Apache-2.0
"""What one reading of a LUN shows, without a LUN."""

import pytest

from fencer.model import ReservationKey, ReservationType
from fencer.storage.look import Look, guard_key
from fencer.storage.pr import Reservation
from tests.storage.nodes import WERO, A, B

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
    assert look(kind, A).keeps_from_writing(A) is None


@pytest.mark.parametrize("kind", [WERO, WEAR, None])
def test_under_the_others_every_registrant_writes(kind: ReservationType | None) -> None:
    assert look(kind, B if kind is WERO else None).keeps_from_writing(A) is None


def test_it_reads_as_a_sentence() -> None:
    assert str(look(None)) == f"generation 7, keys {A}, {B}, no reservation"
    assert str(look(WERO, A)) == f"generation 7, keys {A}, {B}, WRITE_EXCLUSIVE_REGISTRANTS_ONLY held by {A}"
    assert str(look(WEAR)) == f"generation 7, keys {A}, {B}, WRITE_EXCLUSIVE_ALL_REGISTRANTS held by all"
