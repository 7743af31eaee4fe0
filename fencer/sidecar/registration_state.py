# SPDX-License-Identifier: Apache-2.0
"""Decides this node's registration state at a LUN from one reading of its registrations. Pure."""

from fencer._typing import NamedTuple
from fencer.model import ReservationKey, ReservationType
from fencer.state.snapshot import RegistrationState
from fencer.storage.look import HOLDER_ONLY_TYPES
from fencer.storage.pr import Reservation
from fencer.storage.registration import History, Past


class Reading(NamedTuple):
    """READ KEYS and READ RESERVATION of one PR generation. keys: in the target's order, once for each nexus."""

    generation: int
    keys: tuple[ReservationKey, ...]
    reservation: Reservation

    @property
    def counts(self) -> tuple[tuple[ReservationKey, int], ...]:
        """Each key once, in the target's order, and on how many nexuses it is registered."""
        return tuple((key, self.keys.count(key)) for key in dict.fromkeys(self.keys))


def judge(reading: Reading, past: Past, own: ReservationKey, type_: ReservationType) -> RegistrationState:
    """This node's registration state. past: of this LUN in this boot. type_: the configured type of reservation.

    A PREEMPT moves the generation, and so does the look of an agent that finds our key absent (storage.isolation). So a
    key that is gone while the generation is as we last read it with the key was not preempted: the target dropped it
    with the session (LIO without cache_dynamic_acls). docs/decisions/0008-self-fence-bound.md says what this rests on.

    When the target has lost everything and others are registered again, they may have fenced us since: the agent finds
    our key absent under their reservation, and that is its storage proof. So it is never taken for "forgot".
    """
    held = reading.reservation
    if own in reading.keys:
        if held.type is None:
            return RegistrationState.UNPROTECTED
        # With a holder-only type as configured, one node writes and the others stand by.
        refused = held.type in HOLDER_ONLY_TYPES and held.holder != own and held.type is not type_
        return RegistrationState.CONFLICT if refused else RegistrationState.REGISTERED
    if past.key in reading.keys:  # registered in this boot under an earlier configuration's key
        return RegistrationState.NEVER
    match past.history:
        case History.NEVER:
            return RegistrationState.NEVER
        case History.UNKNOWN:
            return RegistrationState.UNKNOWN
        case History.BEGUN:  # whether our REGISTER was executed, and taken away, is known only if nothing has happened
            return RegistrationState.NEVER if past.generation == reading.generation else RegistrationState.UNKNOWN
    if past.generation == reading.generation:
        return RegistrationState.DROPPED
    if past.generation is None or reading.generation >= past.generation:
        return RegistrationState.PREEMPTED
    return RegistrationState.SHUT_OUT if reading.keys else RegistrationState.TARGET_FORGOT
