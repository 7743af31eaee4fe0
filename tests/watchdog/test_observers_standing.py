"""From a reading to a standing: every row of the table in docs/decisions/0008."""

import pytest

from fencer.model import ReservationKey, ReservationType
from fencer.storage.pr import Reservation
from fencer.storage.registration import History, Past
from fencer.watchdog.sightings import Standing
from fencer.watchdog.standing import Reading, judge

A, B, OLD = ReservationKey(0xA), ReservationKey(0xB), ReservationKey(0xC)
WERO, WE = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, ReservationType.WRITE_EXCLUSIVE
HERE = Past(History.REGISTERED, 5, A)


def reading(
    *keys: ReservationKey, generation: int = 5, holder: ReservationKey | None = A, held: bool = True
) -> Reading:
    type_ = WERO if held and keys else None
    return Reading(generation, keys, Reservation(generation, holder if type_ else None, type_))


@pytest.mark.parametrize(
    ("seen", "past", "standing"),
    [
        (reading(A, B), HERE, Standing.REGISTERED),
        (reading(A, B), Past(History.NEVER), Standing.REGISTERED),
        (reading(A, B, generation=1), HERE, Standing.REGISTERED),
        (reading(A, held=False), HERE, Standing.UNPROTECTED),
        (reading(B, generation=6), HERE, Standing.PREEMPTED),
        (reading(B, generation=5), HERE, Standing.DROPPED),  # no PREEMPT, no look of an agent: the target's own doing
        (reading(generation=5), HERE, Standing.DROPPED),
        (reading(B, generation=5), Past(History.REGISTERED, None, A), Standing.PREEMPTED),
        (reading(generation=6), HERE, Standing.PREEMPTED),  # CLEAR by somebody
        (reading(generation=0), HERE, Standing.TARGET_FORGOT),
        (reading(B, generation=1), HERE, Standing.SHUT_OUT),
        (reading(B, generation=9), Past(History.NEVER), Standing.NEVER),
        (reading(generation=0), Past(History.NEVER), Standing.NEVER),
        (reading(B, generation=5), Past(History.BEGUN, 5, A), Standing.NEVER),
        (reading(B, generation=6), Past(History.BEGUN, 5, A), Standing.UNKNOWN),
        (reading(B, generation=6), Past(History.UNKNOWN), Standing.UNKNOWN),
        (reading(B, OLD, generation=6), Past(History.REGISTERED, 5, OLD), Standing.NEVER),
    ],
)
def test_standing(seen: Reading, past: Past, standing: Standing) -> None:
    assert judge(seen, past, A, WERO) is standing


def test_another_nodes_exclusive_reservation_is_a_conflict_only_where_it_was_not_asked_for() -> None:
    held = Reading(5, (A, B), Reservation(5, B, WE))
    assert judge(held, HERE, A, WERO) is Standing.CONFLICT
    assert judge(held, HERE, A, WE) is Standing.REGISTERED
    assert judge(Reading(5, (A, B), Reservation(5, A, WE)), HERE, A, WERO) is Standing.REGISTERED


def test_keys_are_counted_in_the_targets_order() -> None:
    assert reading(B, A, B).counts == ((B, 2), (A, 1))
