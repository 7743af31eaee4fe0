# SPDX-License-Identifier: Apache-2.0
"""Observations: the messages in which workers report what they saw. The verdict depends on nothing else."""

from fencer._enum import StrEnum
from fencer._typing import NamedTuple
from fencer.model import ChassisCommand, PowerState


class SessionOpened(NamedTuple):
    """The BMC opened a session."""


class BmcIdentified(NamedTuple):
    """The identity of the BMC that opened the session.

    guid: 16 bytes, authenticated by the login. suite: cipher suite. fell_back: another suite was tried first.
    """

    guid: bytes
    suite: int
    fell_back: bool


class BmcNotReached(NamedTuple):
    """Why packets do not reach the BMC, as this host or the network says: a word that anybody may have sent."""

    reason: str


class ChassisCommanded(NamedTuple):
    """The BMC accepted a chassis command."""

    command: ChassisCommand


class ChassisUnanswered(NamedTuple):
    """A chassis command was sent, and the BMC has not accepted it yet: it may have been executed."""

    command: ChassisCommand


class ChassisFoundOff(NamedTuple):
    """The BMC reported off before the fence sent a command. No proof yet: a starting BMC may report off, too."""


class ChassisObserved(NamedTuple):
    """The BMC reported this power state.

    In a fence, OFF is sent only once it is certain. So it is the proof by power.
    """

    state: PowerState


class PowerFailed(NamedTuple):
    """This attempt at the BMC failed.

    reason: begins with the BMC's address. final: another attempt is pointless, because the BMC refused. remedy: what
    the operator has to do; "" for the usual remedy of a refusal or of a missing answer.
    """

    reason: str
    final: bool
    remedy: str = ""


class PowerDone(NamedTuple):
    """The power procedure reached its goal."""


class LunsIdentified(NamedTuple):
    """All LUNs are identified: they are shared disks, and each is named once. Nothing has been changed yet."""

    names: tuple[str, ...]


class ArbitrationResult(StrEnum):
    """How a fence race ended for this node."""

    WON = "won"
    LOST = "lost"  # this node's key is gone, or another node won the race
    REFUSED = "refused"  # this node was fenced by the target, and has not met it since: it does not enter the race
    UNREACHABLE = "unreachable"  # no LUN to arbitrate on


class Arbitrated(NamedTuple):
    """The fence race has ended.

    lun: the arbitration LUN. registered: at the end of a race that could not be decided, this node was seen registered,
    so it was not fenced.
    """

    result: ArbitrationResult
    lun: str
    reason: str = ""
    registered: bool = False


class LunIsolated(NamedTuple):
    """One LUN was read back: the target's key is absent, and a registered survivor holds a reservation.

    aborted: the key was removed by PREEMPT AND ABORT. False: by a plain PREEMPT, or by a command that was not answered;
    commands that the target had queued may still be executed.
    already: the LUN was found in this state; nothing was written.
    """

    lun: str
    aborted: bool
    already: bool


class LunRegistered(NamedTuple):
    """This node's key is registered on every path of this LUN that answers, and a reservation is held.

    paths: how many paths answered, at least one. missing: the names of the paths that did not answer.
    """

    lun: str
    paths: int
    missing: tuple[str, ...] = ()


class LunState(NamedTuple):
    """One LUN was read without changing it.

    registered: the key in question is registered. protected: a registered survivor holds a write-excluding reservation.
    """

    lun: str
    registered: bool
    protected: bool


class LunFailed(NamedTuple):
    """This LUN could not be brought to the wanted state, or could not be shown to be in it. It is the last word on it.

    preempted: this node's key was registered by this call, and another node has removed it since.
    """

    lun: str
    reason: str
    preempted: bool = False


class Noted(NamedTuple):
    """A note for the operator. It does not change the verdict.

    lasting: only other hardware changes the cause, so it is not a warning at each call.
    """

    text: str
    lasting: bool = False


class StorageDone(NamedTuple):
    """The storage procedure has handled every LUN. luns: how many there are."""

    luns: int


class StorageFailed(NamedTuple):
    """The storage procedure was ended by an error."""

    reason: str


class SelfFenceDue(NamedTuple):
    """The target's self-fence bound has passed since every LUN was read back isolated, by our monotonic clock."""

    bound_s: float


Observation = (
    SessionOpened
    | BmcIdentified
    | BmcNotReached
    | ChassisCommanded
    | ChassisUnanswered
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
