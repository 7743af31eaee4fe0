# SPDX-License-Identifier: Apache-2.0
"""The messages between a run and its two workers. An order is the first message to a worker."""

from fencer._typing import NamedTuple
from fencer.agent.request import StorageRequest
from fencer.model import BmcSettings, Deadline
from fencer.observations import ArbitrationResult, Observation
from fencer.power.procedure import PowerGoal, PowerTiming
from fencer.storage.goal import StorageGoal

LOOK_GOOD_S = 1.0
"""How old a look at the arbiter may be when a command is sent that takes power away. It takes less than a millisecond,
unless a process or the machine was stopped meanwhile; then the arbiter is looked at again."""


class Login(NamedTuple):
    """The first permission for a gated power worker: the LUNs make sense, so the BMC may be asked for a session."""


class Go(NamedTuple):
    """The second one: power may be taken away, for LOOK_GOOD_S since the last look at the arbiter. The first Go comes
    unasked.

    looked_at_s: when it was looked at, by the monotonic clock of all processes; None where no race was won and power is
    used all the same (arbitration=preferred): that does not grow old.
    """

    looked_at_s: float | None


class GoAgain(NamedTuple):
    """A power worker asks for another Go: its last one has grown old. Exactly one Go answers it, or none."""


class PowerOrder(NamedTuple):
    """The first message to a power worker. gated: wait for Login, then for Go before power is changed."""

    settings: BmcSettings
    goal: PowerGoal
    timing: PowerTiming
    gated: bool


class StorageOrder(NamedTuple):
    """The first message to a storage worker. slot_s, repair: see Contest in fencer.storage.arbitration.

    slot_s: None where the operator has not given it. began_s: when the call began, by the monotonic clock of all
    processes. needed: no fence of this plan's policy succeeds without a proof by storage.
    """

    goal: StorageGoal
    request: StorageRequest
    slot_s: float | None
    began_s: float
    repair: bool
    needed: bool
    deadline: Deadline


class Seen(NamedTuple):
    """A storage worker's message: what it observed since the last one."""

    what: tuple[Observation, ...]


class LookAgain(NamedTuple):
    """To a storage worker that has won the race: look at the arbiter once more, and write nothing."""

    number: int


class Looked(NamedTuple):
    """The answer to LookAgain. result: None where the target is registered again, so that the race is open.

    at_s: when it looked, by the monotonic clock of all processes.
    """

    number: int
    result: ArbitrationResult | None
    reason: str
    at_s: float


class Guarding(NamedTuple):
    """A storage worker registers a path under a guard key (begins), or is done with that: a key that is left there lets
    its owner write."""

    path: str
    begins: bool
