"""What was asked, fully typed: built once from option text, never changed after."""

import math
from enum import Enum, auto

from fencer._typing import NamedTuple
from fencer.model import (
    Action,
    BmcSettings,
    Method,
    ProofPolicy,
)
from fencer.storage.settings import StorageSettings

AGAINST_OTHERS = (Action.OFF, Action.REBOOT, Action.DIAG)
"""What a node does to another one, never to itself."""


class Caller(Enum):
    """Who asks: a cluster manager writes to stdin, a person types argv."""

    CLUSTER = auto()
    PERSON = auto()


class Timing(NamedTuple):
    """All in seconds. deadline_s bounds everything after delay_s.

    login_timeout_s: how long a BMC that opens no session is waited for when storage has settled the verdict.
    login_limit_s: after that an attempt at the BMC is begun anew; only where the operator gave it.
    """

    delay_s: float = 0.0
    deadline_s: float = 30.0
    login_timeout_s: float = 5.0
    login_limit_s: float = math.inf
    power_timeout_s: float = 20.0
    power_wait_s: float = 0.0
    status_sleep_s: float = 1.0
    rank_slot_s: float = 0.25
    retry_on: int = 1


class Request(NamedTuple):
    """One call of the agent.

    self_fence_bound_s: with ProofPolicy.SELF, within which the target's sidecar resets it once its key is gone.
    doubts: what the caller should be warned of; a sentence each.
    """

    action: Action
    caller: Caller
    target: str | None
    target_is_local: bool
    policy: ProofPolicy
    bmc: BmcSettings | None = None
    storage: StorageSettings | None = None
    method: Method = Method.ONOFF
    timing: Timing = Timing()
    dry_run: bool = False
    self_fence_bound_s: float = 0.0
    doubts: tuple[str, ...] = ()

    @property
    def who(self) -> str:
        """The target in an operator's words."""
        return self.target or (f"the node behind {self.bmc}" if self.bmc else "the node")
