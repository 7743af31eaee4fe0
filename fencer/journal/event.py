# SPDX-License-Identifier: Apache-2.0
"""The events and totals that the journal holds. Types only."""

from fencer._enum import StrEnum
from fencer._typing import NamedTuple
from fencer.model import Proof, Side


class EventKind(StrEnum):
    """What happened. Values are label values of metrics and stand in the database."""

    FENCE = "fence"  # off or reboot of another node
    POWER_ON = "power-on"  # on, of another node
    UNFENCE = "unfence"  # on, of this node
    MONITOR = "monitor"  # a proof that a fence would work
    SELF_FENCE = "self-fence"  # the sidecar let this node be reset
    REGISTRATION = "registration"  # the sidecar registered a path or a LUN, or saw a registration vanish
    DIAG = "diag"  # a diagnostic interrupt sent to another node, which is not a fence
    PAUSE = "pause"  # maintenance began or ended


class FenceOutcome(StrEnum):
    """How an event ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"  # killed or interrupted before there was a verdict


class StepName(StrEnum):
    """What a step was. Values are label values of metrics."""

    SESSION = "session"  # the BMC let us in
    COMMAND = "command"  # the BMC accepted a chassis command
    CHASSIS = "chassis"  # the BMC reported a power state
    IDENTIFY = "identify"  # the LUNs make sense
    ARBITRATE = "arbitrate"  # the race on the first LUN is decided
    ISOLATE = "isolate"  # a LUN was read back without the target's key, under a survivor's reservation
    REGISTER = "register"  # a LUN was read back with this node's key on every path
    LOOK = "look"  # a LUN was read
    SELF_FENCE = "self-fence"  # the time in which the target resets itself has passed
    FAILURE = "failure"  # one of these went wrong
    OTHER = "other"


class Step(NamedTuple):
    """One observation. at_s: seconds since the event began. took_s: since the step it had to wait for (a BMC's and the
    LUNs' steps run side by side)."""

    at_s: float
    text: str
    name: StepName = StepName.OTHER
    took_s: float = 0.0


class Event(NamedTuple):
    """One line of the journal; never holds a secret.

    at_unix_s: when it began, UTC. took_s: until the verdict. program: ``fence_halvm`` or ``halvm-watchdogd``. actor:
    the node that acted (this one), target: whom it acted on, by its BMC's
    address where it was not named, "" where nothing is known. action: as the caller asked (``off``).
    proofs: what proved it; weak: only a plain PREEMPT. error: one sentence, "" when it succeeded.
    failed: the sides that did not do their part, also beside a success that the other side made.
    """

    at_unix_s: float
    took_s: float
    kind: EventKind
    program: str
    actor: str
    target: str
    action: str
    outcome: FenceOutcome
    proofs: tuple[Proof, ...] = ()
    weak: bool = False
    error: str = ""
    steps: tuple[Step, ...] = ()
    failed: tuple[Side, ...] = ()

    @property
    def proof(self) -> str:
        """The proofs as one word: ``power``, ``storage``, ``power+storage``, ``none``."""
        return "+".join(self.proofs) or "none"


class Total(NamedTuple):
    """A total over all events of one kind, target, action, outcome and proof, with those that the journal has dropped.

    events and sum_s never go back. buckets: how many took at most BUCKETS_S[i], cumulative. last_unix_s: the end of the
    one that was recorded last. An older fence-halvm wrote the latest by the clock.
    """

    kind: EventKind
    target: str
    action: str
    outcome: FenceOutcome
    proof: str
    events: int
    sum_s: float
    buckets: tuple[int, ...]
    last_unix_s: float


class StepTotal(NamedTuple):
    """A total over all steps of one name in events of one kind; as Total."""

    kind: EventKind
    name: StepName
    steps: int
    sum_s: float
    buckets: tuple[int, ...]


BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""Upper bounds of the duration histograms."""
