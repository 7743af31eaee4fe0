# SPDX-License-Identifier: Apache-2.0
"""One consistent reading of a LUN's registrations and reservation, and what it shows."""

from collections.abc import Collection, Sequence

from fencer._typing import NamedTuple
from fencer.model import ReservationKey, ReservationType
from fencer.storage.pr import Reservation

HOLDER_ONLY_TYPES = (ReservationType.WRITE_EXCLUSIVE, ReservationType.EXCLUSIVE_ACCESS)
"""Under these only the holder writes, not the other registrants (SPC-4 table 45)."""

NAMES_MOST = 16
"""So many keys or ports are named in a sentence."""
NAME_CHARS = 260
"""Longest name of a port in a sentence: an iSCSI name has up to 223 bytes (RFC 7143 4.2.7), the port's ISID follows."""

_GUARD_BIT = 1 << 63


def guard_key(key: ReservationKey) -> ReservationKey:
    """A node's guard key: it registers a nexus under it while it is not certain that it may (register_under_guard).

    A node that has only this key loses a race. A fence of that node removes this key, too.
    """
    return ReservationKey(int(key) ^ _GUARD_BIT or _GUARD_BIT >> 1)


def some_of(names: Sequence[object]) -> str:
    """The names as they stand in a sentence: of many the first few.

    A target may list 8,190 keys, and name a port with 64 KB; a message to the parent is bounded (fencer.worker).
    """
    shown = [text if len(text) <= NAME_CHARS else f"{text[:NAME_CHARS]}…" for text in map(str, names[:NAMES_MOST])]
    return ", ".join(shown) + (f" and {len(names) - NAMES_MOST} more" if len(names) > NAMES_MOST else "")


class Look(NamedTuple):
    """One consistent reading of a LUN: both answers carry the same PR generation."""

    generation: int
    keys: frozenset[ReservationKey]
    reservation: Reservation

    def __str__(self) -> str:
        held = self.reservation
        kind = "no reservation" if held.type is None else f"{held.type.name} held by {held.holder or 'all'}"
        return f"generation {self.generation}, keys {some_of(sorted(self.keys)) or 'none'}, {kind}"

    def listed(self, key: ReservationKey) -> tuple[ReservationKey, ...]:
        """Those of a node's two keys (its own and its guard key) that are registered."""
        return tuple(each for each in (key, guard_key(key)) if each in self.keys)

    def strangers(self, known: Collection[ReservationKey]) -> tuple[ReservationKey, ...]:
        """Registered keys that belong to none of the known nodes (their keys and guard keys)."""
        return tuple(sorted(self.keys.difference(known, map(guard_key, known))))

    def shuts_out(self, key: ReservationKey) -> bool:
        """Whether a node with this key cannot write: its keys are absent and a registered survivor holds a reservation.

        All six reservation types refuse the writes of an initiator that is not registered (SPC-4 table 45); the absence
        of the key alone proves nothing, since a LUN without a reservation takes the writes of every initiator.
        """
        return not self.listed(key) and self.held_without(key)

    def held_without(self, key: ReservationKey) -> bool:
        """Whether a registrant other than key holds a reservation."""
        if self.reservation.type is None:
            return False
        survivors = self.keys - {key, guard_key(key)}
        if self.reservation.holder is None:  # an all-registrants type
            return bool(survivors)
        return self.reservation.holder in survivors

    def keeps_from_writing(self, key: ReservationKey) -> ReservationKey | None:
        """The holder whose reservation keeps a registrant under key from writing; None when that may write."""
        held = self.reservation
        return held.holder if held.type in HOLDER_ONLY_TYPES and held.holder != key else None

    def held_by(self, key: ReservationKey) -> bool:
        """Whether a registrant under key holds the reservation. With an all-registrants type each registrant does."""
        held = self.reservation
        return key in self.keys and held.type is not None and held.holder in (key, None)
