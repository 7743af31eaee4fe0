# SPDX-License-Identifier: Apache-2.0
"""What the sidecar publishes for others to read, atomically replaced: /run/fence-halvm/watchdogd.json.

Unix times (``…_unix_s``) are for people and metrics; ages are taken between ``…_monotonic_s`` of the same boot, which
no clock change moves. A reader compares boot_id with its own and calls anything else stale.
"""

from fencer._enum import StrEnum
from fencer._typing import NamedTuple

SCHEMA = 1
SNAPSHOT_NAME = "watchdogd.json"


class RegistrationState(StrEnum):
    """This node's registration state at one LUN, from PERSISTENT RESERVE IN."""

    REGISTERED = "registered"  # our key is listed, a write-excluding reservation is held
    UNPROTECTED = "unprotected"  # our key is listed, no reservation is held
    CONFLICT = "conflict"  # our key is listed, but the reservation held lets only its holder write, and that is not us
    DROPPED = "dropped"  # registered in this boot, gone, and nothing else has changed: the target lost our registration
    PREEMPTED = "preempted"  # registered in this boot, and gone: another node fenced us
    TARGET_FORGOT = "target-forgot"  # no key is left and the generation restarted: the target lost everything
    SHUT_OUT = "shut-out"  # the target lost everything, others registered since: whether they fenced us is unknowable
    NEVER = "never"  # not registered in this boot
    UNKNOWN = "unknown"  # our key is absent, and the record of this boot is unreadable


class PolicyState(StrEnum):
    """What the policy says now."""

    STARTING = "starting"
    KEEPALIVE = "keepalive"
    DEGRADED = "degraded"  # something is lost; grace runs, or enough is left
    SELF_FENCE = "self-fence"
    PAUSED = "paused"
    STOPPED = "stopped"  # an orderly stop: the watchdog is disarmed where it could be


class PathSnapshot(NamedTuple):
    """A path of a LUN. name: kernel name. address: SCSI ``host:channel:target:lun``. up: answered its probe in time."""

    name: str
    address: str
    up: bool
    registered: bool
    error: str
    probed_monotonic_s: float
    probe_took_s: float


class KeySnapshot(NamedTuple):
    """A key at a LUN. node: its owner by the cluster configuration, "" if none. nexuses: how many."""

    key: str
    node: str
    nexuses: int


class LunSnapshot(NamedTuple):
    """A LUN, as it was last read.

    registration: this node's RegistrationState, "" while unknown. type: the reservation's SPC name, "" if none is held.
    holder: the key, "" when none or when all registrants hold it. error: why it could not be read, "" else. more_keys:
    how many are listed besides keys. read_only: what of it the kernel takes no writes for, "" else.
    """

    wwid: str
    name: str
    registration: str
    generation: int
    keys: tuple[KeySnapshot, ...]
    holder: str
    type: str
    read_monotonic_s: float
    error: str
    paths: tuple[PathSnapshot, ...]
    more_keys: int = 0
    read_only: str = ""


class WatchdogSnapshot(NamedTuple):
    """The watchdog, and how it was fed. Gaps are between two keepalives.

    device: "" and armed False when configured as ``none``. timeout_s: as read back.
    nowayout: None when unknown. software: it counts in the kernel (softdog); None: unknown. asked_timeout_s: as
    configured, 0.0 when unknown.
    """

    device: str
    identity: str
    armed: bool
    nowayout: bool | None
    timeout_s: float
    keepalive_interval_s: float
    keepalives: int
    last_keepalive_monotonic_s: float
    worst_gap_s: float
    late_keepalives: int
    software: bool | None = None
    asked_timeout_s: float = 0.0


class NodeSnapshot(NamedTuple):
    """A node of the cluster's configuration and its key, as hexadecimal text with 0x."""

    name: str
    key: str


class Snapshot(NamedTuple):
    """The sidecar's state at one moment, as it publishes it.

    grace_remaining_s: None unless grace runs. bound_s: the longest time from the loss of all paths to the reset.
    last_self_fence_*: of an earlier boot; "" and 0.0 when there is none.

    storage: what names the LUNs in watchdogd.toml, "" when unknown.
    luns_unsettled: why the list of LUNs may not be the right one, "" when it is. not_granted: what the kernel refused
    the sidecar, one phrase each (``lock memory: Cannot allocate memory``, ``real-time priority: …``)."""

    boot_id: str
    pid: int
    version: str
    node: str
    key: str
    written_unix_s: float
    written_monotonic_s: float
    started_unix_s: float
    interval_s: float
    state: PolicyState
    reasons: tuple[str, ...]
    grace_s: float
    grace_remaining_s: float | None
    check_interval_s: float
    bound_s: float
    paused_until_unix_s: float | None
    watchdog: WatchdogSnapshot
    nodes: tuple[NodeSnapshot, ...]
    luns: tuple[LunSnapshot, ...]
    registrations: int
    last_self_fence_reason: str
    last_self_fence_unix_s: float
    observer_restarts: int
    paused_until_monotonic_s: float | None = None
    luns_unsettled: str = ""
    not_granted: tuple[str, ...] = ()
    storage: str = ""


class SelfFence(NamedTuple):
    """Why this node last fenced itself, for after the reset. reason: one sentence. boot_id: of the boot that it ended.
    Times as of the decision."""

    reason: str
    node: str
    boot_id: str
    at_unix_s: float
    at_monotonic_s: float
