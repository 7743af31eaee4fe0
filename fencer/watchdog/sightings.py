"""What the observers report to the policy. Types only.

Every time is CLOCK_MONOTONIC, in seconds, of the moment when the look *began*: an answer that took long is as old as
its question. Silence is no sighting: what is not heard of again grows stale, and stale is lost.
"""

from enum import StrEnum
from typing import NamedTuple

from fencer.model import ReservationKey, ReservationType


class Standing(StrEnum):
    """This node's standing at one LUN, read by PERSISTENT RESERVE IN."""

    REGISTERED = "registered"  # our key is listed, a write-excluding reservation is held
    UNPROTECTED = "unprotected"  # our key is listed, nobody holds a reservation
    PREEMPTED = "preempted"  # registered in this boot, and gone: somebody fenced us
    TARGET_FORGOT = "target-forgot"  # nobody's key is left and the generation restarted: the target lost everything
    NEVER = "never"  # not registered in this boot


class PathSeen(NamedTuple):
    """One path answered its probe, or failed it. lun: WWID. path: kernel name (``sdb``). took_s: of the probe."""

    lun: str
    path: str
    at_s: float
    ok: bool
    reason: str = ""
    took_s: float = 0.0


class PathGone(NamedTuple):
    """The kernel removed the path."""

    lun: str
    path: str
    at_s: float


class PathRegistered(NamedTuple):
    """Our key is on this path (nexus), found so or put there. Until then a path does not count."""

    lun: str
    path: str
    at_s: float


class LunSeen(NamedTuple):
    """One consistent reading of a LUN's registrations. keys: each once; holder: None for all-registrants types."""

    lun: str
    at_s: float
    standing: Standing
    generation: int
    keys: tuple[ReservationKey, ...]
    holder: ReservationKey | None
    type: ReservationType | None


class LunSilent(NamedTuple):
    """No path gave its registrations: says nothing of our standing, and is never taken for a preemption."""

    lun: str
    at_s: float
    reason: str


class Alive(NamedTuple):
    """The observing process works, whatever its LUNs do."""

    at_s: float


Sighting = PathSeen | PathGone | PathRegistered | LunSeen | LunSilent | Alive
