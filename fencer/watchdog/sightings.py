"""What the observers report to the policy. Types only.

Every time is CLOCK_MONOTONIC, in seconds, of the moment when the look *began*: an answer that took long is as old as
its question. Silence is no sighting: what is not heard of again grows stale, and stale is lost.
"""

from enum import StrEnum

from fencer.light_typing import NamedTuple
from fencer.model import ReservationKey, ReservationType


class Standing(StrEnum):
    """This node's standing at one LUN, read by PERSISTENT RESERVE IN."""

    REGISTERED = "registered"  # our key is listed, a write-excluding reservation is held
    UNPROTECTED = "unprotected"  # our key is listed, nobody holds a reservation
    CONFLICT = "conflict"  # our key is listed, but the reservation held lets only its holder write, and that is not us
    PREEMPTED = "preempted"  # registered in this boot, and gone: somebody fenced us
    TARGET_FORGOT = "target-forgot"  # nobody's key is left and the generation restarted: the target lost everything
    SHUT_OUT = "shut-out"  # the target lost everything, others registered since: whether they fenced us is unknowable
    NEVER = "never"  # not registered in this boot
    UNKNOWN = "unknown"  # our key is absent, and the record of this boot is unreadable


class ListedPath(NamedTuple):
    """path: kernel name (``sdb``). address: SCSI ``host:channel:target:lun``."""

    path: str
    address: str


class ListedLun(NamedTuple):
    """lun: WWID. name: what an operator calls it."""

    lun: str
    name: str
    paths: tuple[ListedPath, ...]


class LunsListed(NamedTuple):
    """All LUNs and the paths that the kernel has for them now. What is not in it is no more.

    first: of this observing process. It has registered nothing yet, and has not seen what came and went before it.
    """

    at_s: float
    luns: tuple[ListedLun, ...]
    first: bool = False


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
    """Our key is on this path (nexus), found so or put there. Until then a path does not count.

    A PathSeen that is not ok, and a PathGone, undo it: what comes back may be another nexus. So does a LunsListed with
    another address for it, and one that is first unless this is said again in time.
    """

    lun: str
    path: str
    at_s: float


class LunSeen(NamedTuple):
    """One consistent reading of a LUN's registrations.

    keys: each once; holder: None for all-registrants types. nexuses: how many each of keys is registered on, in the
    same order, as the target lists them.
    """

    lun: str
    at_s: float
    standing: Standing
    generation: int
    keys: tuple[ReservationKey, ...]
    holder: ReservationKey | None
    type: ReservationType | None
    nexuses: tuple[int, ...] = ()


class LunSilent(NamedTuple):
    """No path gave its registrations: says nothing of our standing, and is never taken for a preemption."""

    lun: str
    at_s: float
    reason: str


class Registered(NamedTuple):
    """We registered our key, for the journal. why: one phrase (``at start``, ``the path came back``). path: "" for all
    paths of the LUN."""

    lun: str
    path: str
    at_s: float
    why: str


class RegistrationFailed(NamedTuple):
    """Our key could not be registered, for the journal. path: "" for the LUN as a whole."""

    lun: str
    path: str
    at_s: float
    reason: str


class Alive(NamedTuple):
    """The observing process works, whatever its LUNs do."""

    at_s: float


Sighting = (
    LunsListed | PathSeen | PathGone | PathRegistered | LunSeen | LunSilent | Registered | RegistrationFailed | Alive
)
