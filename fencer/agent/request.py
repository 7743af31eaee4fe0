# SPDX-License-Identifier: Apache-2.0
"""The request of one call: typed and immutable. It is built once from option text."""

import math

from fencer._enum import Enum, auto
from fencer._typing import NamedTuple
from fencer.model import Action, ArbitrationMode, BmcSettings, Method, ProofPolicy, ReservationKey
from fencer.storage.settings import StorageSettings

AGAINST_OTHERS = (Action.OFF, Action.REBOOT, Action.DIAG)
"""Actions that a node performs on another node, never on itself."""


class Caller(Enum):
    """Who calls: a cluster manager writes to stdin, a person types argv."""

    CLUSTER = auto()
    PERSON = auto()


class Timing(NamedTuple):
    """Time limits of a call, in seconds. deadline_s bounds everything after delay_s.

    login_timeout_s: how long to wait for a session once storage has settled the verdict.
    rank_slot_s: the head start that each rank gives in a fence race; None: fencer.storage.arbitration chooses it.
    login_limit_s: longest attempt to log in; then a new attempt begins. Infinite unless the operator gave it.
    left_s: what of deadline_s the run had when it began. start_s: how long the start of the process took before. Both
    only for the words of a failure.
    """

    delay_s: float = 0.0
    deadline_s: float = 30.0
    login_timeout_s: float = 5.0
    login_limit_s: float = math.inf
    power_timeout_s: float = 20.0
    power_wait_s: float = 0.0
    status_sleep_s: float = 1.0
    rank_slot_s: float | None = None
    retry_on: int = 1
    left_s: float = math.inf
    start_s: float = 0.0


class StorageRequest(NamedTuple):
    """What a call wants on the shared LUNs.

    settings: which LUNs they are, and this node's key. target_key: of the node to fence; None where the action needs
    none. re_register: register this node although it was preempted in this boot.
    """

    settings: StorageSettings
    target_key: ReservationKey | None = None
    arbitration: ArbitrationMode = ArbitrationMode.REQUIRED
    re_register: bool = False


class Request(NamedTuple):
    """One call of the agent.

    self_fence_bound_s: with ProofPolicy.SELF, the longest time in which the target's sidecar resets the target once its
    key is gone. doubts: warnings for the caller, one sentence each.
    """

    action: Action
    caller: Caller
    target: str | None
    target_is_local: bool
    policy: ProofPolicy
    bmc: BmcSettings | None = None
    storage: StorageRequest | None = None
    method: Method = Method.ONOFF
    timing: Timing = Timing()
    dry_run: bool = False
    self_fence_bound_s: float = 0.0
    doubts: tuple[str, ...] = ()

    @property
    def who(self) -> str:
        """The target as messages name it."""
        return self.target or (f"the node behind {self.bmc}" if self.bmc else "the node")
