# SPDX-License-Identifier: Apache-2.0
"""The sidecar's record of each LUN and path, and their views for the snapshot. Data only."""

from fencer._typing import NamedTuple
from fencer.model import ReservationKey, ReservationType
from fencer.sidecar.reports import LunSeen
from fencer.state.snapshot import RegistrationState

NEVER_S = float("-inf")


class PathView(NamedTuple):
    """What is known of a path, for the snapshot. up: its last probe was good and is not stale, and data go this way."""

    name: str
    address: str
    up: bool
    registered: bool
    error: str
    probed_at_s: float
    took_s: float


class LunView(NamedTuple):
    """What is known of a LUN, for the snapshot. registration: None as long as nothing is known."""

    wwid: str
    name: str
    reachable: bool
    registration: RegistrationState | None
    generation: int
    keys: tuple[tuple[ReservationKey, int], ...]
    holder: ReservationKey | None
    type: ReservationType | None
    read_at_s: float
    error: str
    paths: tuple[PathView, ...]
    more_keys: int = 0
    read_only: str = ""


class PathRecord:
    """good_at_s: when its last good probe began, None when the last one was bad.

    unconfirmed_since_s: since when only an ended observing process has reported registered; None when the present one
    has, too.
    """

    __slots__ = (
        "address",
        "error",
        "good_at_s",
        "probed_at_s",
        "refused",
        "registered",
        "took_s",
        "unconfirmed_since_s",
    )

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.good_at_s: float | None = None
        self.registered = False
        self.unconfirmed_since_s: float | None = None
        self.error = "not probed yet"
        self.refused = ""
        self.probed_at_s = 0.0
        self.took_s = 0.0

    def lose(self) -> None:
        self.good_at_s, self.registered, self.unconfirmed_since_s = None, False, None

    def register(self) -> None:
        self.registered, self.unconfirmed_since_s = True, None

    def doubt(self, at_s: float) -> None:
        """The observing process that reported it has ended. The time does not begin anew when the next one ends."""
        if self.registered and self.unconfirmed_since_s is None:
            self.unconfirmed_since_s = at_s


class LunRecord:
    """seen: the latest reading that said something new; seen_at_s: when the latest one began, which said the same.
    silence: why there was none since, "" when there was.

    joining: added to the volume group while this node serves; not required before it was reachable once.
    """

    __slots__ = ("joining", "name", "paths", "read_only", "seen", "seen_at_s", "silence")

    def __init__(self, name: str, joining: bool) -> None:
        self.name = name
        self.joining = joining
        self.paths: dict[str, PathRecord] = {}
        self.seen: LunSeen | None = None
        self.seen_at_s = 0.0
        self.silence = ""
        self.read_only = ""

    @property
    def is_read(self) -> bool:
        """Whether there is a reading that counts until it grows stale."""
        return self.seen is not None and self.seen_at_s > NEVER_S

    def lose_reading(self) -> None:
        """Drops the stale reading. It counts again when it is repeated."""
        self.seen_at_s = NEVER_S
