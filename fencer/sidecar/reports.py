# SPDX-License-Identifier: Apache-2.0
"""The observers' reports to the policy. Types only.

Every time is CLOCK_MONOTONIC, in seconds, of the moment when the command *began*: a slow answer is as old as its
question. A missing report counts as a loss, whatever the cause: what is not reported again grows stale.
"""

from fencer._typing import NamedTuple
from fencer.model import ReservationKey, ReservationType
from fencer.state.snapshot import RegistrationState

LISTED = (RegistrationState.REGISTERED, RegistrationState.UNPROTECTED, RegistrationState.CONFLICT)
"""The states in which our key is on the LUN."""


class ListedPath(NamedTuple):
    """A path in a list of LUNs.

    path: kernel name (``sdb``). address: SCSI ``host:channel:target:lun``.

    refused: why the kernel sends no data this way although it answers ("the multipath map has failed it"), "" else.
    """

    path: str
    address: str
    refused: str = ""


LISTED_MOST = 256
"""LUNs and paths together that go into one LunsListed, or one LUN more with all its paths."""

LUNS_MOST, PATHS_MOST = 256, 256
"""LUNs that one sidecar watches, and paths of one LUN: what the kernel has beyond is not watched. Each path is a thread
or more."""


class ListedLun(NamedTuple):
    """A LUN in a list of LUNs.

    lun: WWID. name: what an operator calls it. read_only: what of it the kernel takes no writes for, "" else.
    """

    lun: str
    name: str
    paths: tuple[ListedPath, ...]
    read_only: str = ""


class LunsListed(NamedTuple):
    """All LUNs that are watched, and the paths that the kernel has for them now. A path that is not in it is no more.

    first: of this observing process. It has registered nothing yet, and has not seen what came and went before it. What
    it watches is fixed for its life. So a LUN that is not in its first list is required no more: the metadata of the
    volume group do not name it (fencer.sidecar.lun_list). One that only vanished is in the list, without a path.
    more: the rest of this list follows in the next one.
    serial: number of the set of LUNs (fencer.sidecar.messages.Observe). A list with a lower one than an earlier list
    comes from an observing process that has been replaced, and changes nothing.
    """

    at_s: float
    luns: tuple[ListedLun, ...]
    first: bool = False
    more: bool = False
    serial: int = 0


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
    """This node's key is registered on this path (nexus). Before this report the path does not count.

    A PathSeen that is not ok, and a PathGone, undo it: what comes back may be another nexus. So does a LunsListed with
    another address for it, and a first LunsListed unless this report is repeated in time.
    """

    lun: str
    path: str
    at_s: float


KEYS_MOST = 64
"""A target may list 8,191 keys in one answer (allocation length FFFFh). A cluster has a few on each path."""


class LunSeen(NamedTuple):
    """One consistent reading of a LUN's registrations.

    keys: each once, KEYS_MOST at most, our own among them if it is listed; more_keys: how many there are besides.
    holder: None for all-registrants types. nexuses: how many each of keys is registered on, in the same order.
    """

    lun: str
    at_s: float
    registration: RegistrationState
    generation: int
    keys: tuple[ReservationKey, ...]
    holder: ReservationKey | None
    type: ReservationType | None
    nexuses: tuple[int, ...] = ()
    more_keys: int = 0


class StillWell(NamedTuple):
    """What was seen again just as it was reported before: most of what an observing process has to report.

    paths: (lun, path, at_s, took_s): it answered its probe again, as a PathSeen that is ok. luns: (lun, at_s,
    generation): a reading that equals the latest LunSeen in all but at_s. That one is REGISTERED, of this generation.
    registered: (lun, path) of a PathRegistered, without its time, which is not needed.
    Plain tuples: they are packed, unpacked and taken each second, for each path.
    """

    paths: tuple[tuple[str, str, float, float], ...]
    luns: tuple[tuple[str, float, int], ...] = ()
    registered: tuple[tuple[str, str], ...] = ()

    @property
    def span_s(self) -> tuple[float, float]:
        """The earliest and the latest at_s. ValueError when it has none."""
        times = [at_s for _, _, at_s, _ in self.paths] + [at_s for _, at_s, _ in self.luns]
        return min(times), max(times)

    def parts(self) -> "tuple[StillWell, ...]":
        """One for each path and LUN, in the order in which they count."""
        paths = tuple(StillWell((path,)) for path in self.paths)
        return (*paths, *(StillWell((), (lun,)) for lun in self.luns))


class LunSilent(NamedTuple):
    """No path answered with the registrations of a LUN. Says nothing of ours, so it is no preemption."""

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
    """The observing process works. Says nothing of its LUNs."""

    at_s: float


Report = (
    LunsListed
    | PathSeen
    | PathGone
    | PathRegistered
    | LunSeen
    | StillWell
    | LunSilent
    | Registered
    | RegistrationFailed
    | Alive
)
