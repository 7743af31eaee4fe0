# SPDX-License-Identifier: Apache-2.0
"""From a reading to a registration: every row of the table in docs/decisions/0008."""

import pytest

from fencer.model import ReservationKey, ReservationType
from fencer.sidecar.registration_state import Reading, judge
from fencer.state.snapshot import RegistrationState
from fencer.storage.pr import Reservation
from fencer.storage.registration import History, Past

A, B, OLD = ReservationKey(0xA), ReservationKey(0xB), ReservationKey(0xC)
WERO, WE = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, ReservationType.WRITE_EXCLUSIVE
HERE = Past(History.REGISTERED, 5, A)


def reading(
    *keys: ReservationKey, generation: int = 5, holder: ReservationKey | None = A, held: bool = True
) -> Reading:
    type_ = WERO if held and keys else None
    return Reading(generation, keys, Reservation(generation, holder if type_ else None, type_))


@pytest.mark.parametrize(
    ("seen", "past", "registration"),
    [
        (reading(A, B), HERE, RegistrationState.REGISTERED),
        (reading(A, B), Past(History.NEVER), RegistrationState.REGISTERED),
        (reading(A, B, generation=1), HERE, RegistrationState.REGISTERED),
        (reading(A, held=False), HERE, RegistrationState.UNPROTECTED),
        (reading(B, generation=6), HERE, RegistrationState.PREEMPTED),
        (
            reading(B, generation=5),
            HERE,
            RegistrationState.DROPPED,
        ),  # no PREEMPT, no look of an agent: the target's own doing
        (reading(generation=5), HERE, RegistrationState.DROPPED),
        (reading(B, generation=5), Past(History.REGISTERED, None, A), RegistrationState.PREEMPTED),
        (reading(generation=6), HERE, RegistrationState.PREEMPTED),  # CLEAR by somebody
        (reading(generation=0), HERE, RegistrationState.TARGET_FORGOT),
        (reading(B, generation=1), HERE, RegistrationState.SHUT_OUT),
        (reading(B, generation=9), Past(History.NEVER), RegistrationState.NEVER),
        (reading(generation=0), Past(History.NEVER), RegistrationState.NEVER),
        (reading(B, generation=5), Past(History.BEGUN, 5, A), RegistrationState.NEVER),
        (reading(B, generation=6), Past(History.BEGUN, 5, A), RegistrationState.UNKNOWN),
        (reading(B, generation=6), Past(History.UNKNOWN), RegistrationState.UNKNOWN),
        (reading(B, OLD, generation=6), Past(History.REGISTERED, 5, OLD), RegistrationState.NEVER),
    ],
)
def test_registration_state(seen: Reading, past: Past, registration: RegistrationState) -> None:
    assert judge(seen, past, A, WERO) is registration


def test_another_nodes_exclusive_reservation_is_a_conflict_only_where_it_was_not_asked_for() -> None:
    held = Reading(5, (A, B), Reservation(5, B, WE))
    assert judge(held, HERE, A, WERO) is RegistrationState.CONFLICT
    assert judge(held, HERE, A, WE) is RegistrationState.REGISTERED
    assert judge(Reading(5, (A, B), Reservation(5, A, WE)), HERE, A, WERO) is RegistrationState.REGISTERED


def test_keys_are_counted_in_the_targets_order() -> None:
    assert reading(B, A, B).counts == ((B, 2), (A, 1))
