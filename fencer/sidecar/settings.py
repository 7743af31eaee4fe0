# SPDX-License-Identifier: Apache-2.0
"""Typed settings of observers and policy, and the longest time from a loss to the reset. Made once from the
configuration. docs/decisions/0008-self-fence-bound.md derives the sums."""

from fencer._enum import StrEnum
from fencer._typing import Final, NamedTuple
from fencer.storage.settings import StorageSettings

DEFAULT_PATH: Final = "/etc/fence-halvm/watchdogd.toml"

SLACK_S = 0.5
"""How late a look may begin, on a busy machine, before it counts as missing."""


GRACE_S = 70.0
"""Long enough for an array's controller take-over, 15 to 60 s, and to see its end: docs/decisions/0012-grace.md."""


class Requirement(StrEnum):
    """How many of the LUNs must be reachable."""

    ALL = "all"
    ANY = "any"
    MAJORITY = "majority"


class TargetReset(StrEnum):
    """What to do when a target has lost all registrations."""

    RE_REGISTER = "re-register"
    SELF_FENCE = "self-fence"


class SelfFenceBy(StrEnum):
    """How this node resets itself."""

    RESET = "reset"  # at once; the watchdog is the fallback
    WATCHDOG = "watchdog"  # by no longer feeding
    NONE = "none"  # not at all: for trying things out


class SidecarTiming(NamedTuple):
    """The intervals and deadlines, in seconds.

    probe_*: the read of each path. check_interval_s, answer_deadline_s: the reading of each LUN's registrations.
    list_interval_s: how often the kernel's paths are listed although no uevent came. grace_s: how long the requirement
    may be unmet. settle_s: how long it must be met again until the grace is whole again. decide_interval_s: the longest
    time between two decisions.
    """

    probe_interval_s: float = 1.0
    probe_deadline_s: float = 2.0
    check_interval_s: float = 2.0
    answer_deadline_s: float = 2.0
    list_interval_s: float = 5.0
    grace_s: float = GRACE_S
    settle_s: float = 3.0
    decide_interval_s: float = 0.25

    @property
    def path_stale_s(self) -> float:
        """A path whose last good probe began longer ago is lost."""
        return self.probe_interval_s + self.probe_deadline_s + SLACK_S

    @property
    def registration_stale_s(self) -> float:
        """A LUN whose last reading of registrations began longer ago is lost. One reading may be missed."""
        return 2 * (self.check_interval_s + self.answer_deadline_s) + SLACK_S

    @property
    def alive_interval_s(self) -> float:
        """The longest time that the observing process keeps a batch of unchanged reports while paths take their turns.

        A quick report waits so long at most, and still arrives before path_stale_s: with
        fencer.sidecar.batching.QUICK_S it takes at most 0.75 s of the probe deadline and SLACK_S.
        """
        return min(self.probe_interval_s / 2, 0.5)

    @property
    def alive_after_s(self) -> float:
        """How long after the latest Alive the observing process sends one although no round of turns has ended."""
        return min(1.25 * self.probe_interval_s, 1.5)


class PolicySettings(NamedTuple):
    """The settings of the policy."""

    timing: SidecarTiming = SidecarTiming()
    require: Requirement = Requirement.ALL
    on_target_reset: TargetReset = TargetReset.RE_REGISTER


class ObserverSettings(NamedTuple):
    """The observers' settings.

    storage.devices must name disks of this node: an iscsi:// session of our own says nothing of the node's paths.
    """

    storage: StorageSettings
    timing: SidecarTiming = SidecarTiming()
    on_target_reset: TargetReset = TargetReset.RE_REGISTER


class Settings(NamedTuple):
    """The settings of a file, with defaults. Every value has its type and is within its bounds."""

    source: str
    vg: str
    devices: tuple[str, ...]
    require: Requirement
    watchdog: str
    watchdog_timeout_s: int
    shutdown_timeout_s: int
    self_fence: SelfFenceBy
    grace_s: float
    settle_s: float
    probe_interval_s: float
    probe_deadline_s: float
    check_interval_s: float
    answer_deadline_s: float
    on_target_reset: TargetReset
    unregister_on_stop: bool
    local_node: str
    local_key: str
    key_value: str
    reservation_type: str
    aptpl: bool
    cluster_conf: str
    state_dir: str
    record_dir: str

    @property
    def timing(self) -> SidecarTiming:
        """The intervals and deadlines."""
        return SidecarTiming(
            probe_interval_s=self.probe_interval_s,
            probe_deadline_s=self.probe_deadline_s,
            check_interval_s=self.check_interval_s,
            answer_deadline_s=self.answer_deadline_s,
            grace_s=self.grace_s,
            settle_s=self.settle_s,
        )

    @property
    def named_storage(self) -> str:
        """What names the LUNs."""
        return f"devices {' '.join(self.devices)}" if self.devices else f"vg {self.vg}"

    @property
    def policy(self) -> PolicySettings:
        """The policy's part."""
        return PolicySettings(self.timing, self.require, self.on_target_reset)


RELOADABLE: Final = frozenset(
    (
        "answer_deadline_s",
        "check_interval_s",
        "grace_s",
        "on_target_reset",
        "probe_deadline_s",
        "probe_interval_s",
        "require",
        "settle_s",
        "unregister_on_stop",
    )
)
"""The settings that SIGHUP may change. Not self_fence: what resets the node is opened at the start."""


def changed(old: Settings, new: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The settings that differ: those that a reload may change, and those that need a restart."""
    names = [name for name in Settings._fields if name != "source" and getattr(old, name) != getattr(new, name)]
    return (
        tuple(name for name in names if name in RELOADABLE),
        tuple(name for name in names if name not in RELOADABLE),
    )


def loss_bound_s(timing: SidecarTiming, reset_s: float) -> float:
    """The longest time from the loss of the last path that the requirement needs until the node is reset.

    reset_s: from the decision to the reset: the watchdog's timeout when feeding just stops, or what an immediate reset
    takes at most.
    """
    return timing.path_stale_s + timing.grace_s + 2 * timing.decide_interval_s + reset_s


def preempt_bound_s(timing: SidecarTiming, reset_s: float) -> float:
    """The longest time from a preemption to the reset, while the target answers PERSISTENT RESERVE IN.

    A probe that is under way on the path that is to read comes first, for as long as it may take.
    """
    reading_s = timing.check_interval_s + timing.probe_deadline_s + timing.answer_deadline_s + SLACK_S
    return reading_s + timing.decide_interval_s + reset_s


def unseen_bound_s(timing: SidecarTiming, reset_s: float) -> float:
    """The same when the target has stopped answering PERSISTENT RESERVE IN while it still answers reads."""
    return timing.registration_stale_s + timing.grace_s + 2 * timing.decide_interval_s + reset_s


def bound_s(timing: SidecarTiming, reset_s: float) -> float:
    """The longest of the three: the bound for any loss of storage or key."""
    return max(loss_bound_s(timing, reset_s), preempt_bound_s(timing, reset_s), unseen_bound_s(timing, reset_s))
