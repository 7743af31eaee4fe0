"""What was seen while a plan ran. Workers report these; the verdict is made of nothing else."""

from enum import StrEnum

from fencer._typing import NamedTuple
from fencer.model import ChassisCommand, PowerState


class SessionOpened(NamedTuple):
    """The BMC let us in."""


class BmcIdentified(NamedTuple):
    """Who has let us in: the GUID that it authenticated, and by which cipher suite. fell_back: another one was asked
    for first."""

    guid: bytes
    suite: int
    fell_back: bool


class ChassisCommanded(NamedTuple):
    """The BMC accepted a chassis command."""

    command: ChassisCommand


class ChassisFoundOff(NamedTuple):
    """Before a fence sent anything the BMC reported off: no proof yet, since a BMC that starts says so, too."""


class ChassisObserved(NamedTuple):
    """The BMC reported this power state. In a fence off is reported once it is certain, so it is the proof by power."""

    state: PowerState


class PowerFailed(NamedTuple):
    """This attempt at the BMC ended. final: another attempt is pointless (the BMC refused). remedy: what to do about
    it; "" where that follows from final."""

    reason: str
    final: bool
    remedy: str = ""


class PowerDone(NamedTuple):
    """The power procedure reached its goal."""


class LunsIdentified(NamedTuple):
    """The LUNs that were asked for are shared disks, each named once. Nothing has been changed yet."""

    names: tuple[str, ...]


class ArbitrationResult(StrEnum):
    """How a fence race ended for us."""

    WON = "won"
    LOST = "lost"  # our key is gone, or the target gave the race to somebody else
    UNREACHABLE = "unreachable"  # no LUN to arbitrate on


class Arbitrated(NamedTuple):
    """The arbitration LUN has spoken.

    registered: of a race that could not be decided: this node was seen registered at its end, so it was not fenced.
    """

    result: ArbitrationResult
    lun: str
    reason: str = ""
    registered: bool = False


class LunIsolated(NamedTuple):
    """Read back from one LUN: the target's key is absent, a reservation is held by a registered survivor.

    aborted: the key was removed by PREEMPT AND ABORT (False: by a plain PREEMPT, or by a command that was not answered:
    queued commands may still land).
    already: nothing had to be written; the LUN was found like this.
    """

    lun: str
    aborted: bool
    already: bool


class LunRegistered(NamedTuple):
    """This node's key is registered on every path of this LUN that answers, and a reservation is held.

    paths: how many they are, at least one. missing: the names of those that did not answer.
    """

    lun: str
    paths: int
    missing: tuple[str, ...] = ()


class LunState(NamedTuple):
    """Read from one LUN without changing it: whether the target's key is registered, and whether a write-excluding
    reservation is held by a registered survivor."""

    lun: str
    registered: bool
    protected: bool


class LunFailed(NamedTuple):
    """This LUN could not be brought to, or shown in, the wanted state."""

    lun: str
    reason: str


class Noted(NamedTuple):
    """Something an operator should read; changes no verdict.

    lasting: only other hardware changes it, so it is no warning at each call.
    """

    text: str
    lasting: bool = False


class StorageDone(NamedTuple):
    """The storage procedure has looked at every LUN. luns: how many there are."""

    luns: int


class StorageFailed(NamedTuple):
    """The storage procedure could not run to its end."""

    reason: str


class SelfFenceDue(NamedTuple):
    """The target's self-fence bound has passed since every LUN was read back isolated, by our monotonic clock."""

    bound_s: float


Observation = (
    SessionOpened
    | BmcIdentified
    | ChassisCommanded
    | ChassisFoundOff
    | ChassisObserved
    | PowerFailed
    | PowerDone
    | LunsIdentified
    | Arbitrated
    | LunIsolated
    | LunRegistered
    | LunState
    | LunFailed
    | Noted
    | StorageDone
    | StorageFailed
    | SelfFenceDue
)
