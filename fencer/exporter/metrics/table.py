# SPDX-License-Identifier: Apache-2.0
"""The table of all metrics. The collectors, docs/metrics.md and the tests are made from it.

Names follow Prometheus' conventions: base units, ``_total`` for counters, ``_seconds`` for durations,
``_timestamp_seconds`` for Unix times, ``_info`` for a constant 1 whose labels are the message. Points in time are
timestamps, not ages: ``time() - metric`` goes on growing in Prometheus when nothing new is published. A state set has
one series for each possible state: 1 for the present one, 0 for the others.
"""

from typing import Final, NamedTuple

from fencer._enum import StrEnum
from fencer.journal.event import EventKind, FenceOutcome, StepName
from fencer.state.snapshot import PolicyState, RegistrationState


class MetricKind(StrEnum):
    """The type of a metric in Prometheus."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Source(StrEnum):
    """Where the value comes from. The metric is absent while its source cannot be read."""

    EXPORTER = "exporter"
    SNAPSHOT = "snapshot"
    READING = "reading"
    JOURNAL = "journal"


class Metric(NamedTuple):
    """One row. collector: the subsystem that publishes it. name: as exposed, with ``_total``."""

    collector: str
    source: Source
    kind: MetricKind
    name: str
    labels: tuple[str, ...]
    help: str


class Label(NamedTuple):
    """A label, and what bounds the number of its values."""

    name: str
    meaning: str
    bound: str


def _all(values: type[StrEnum]) -> str:
    return ", ".join(f"`{value}`" for value in values)


LABELS: Final = (
    Label("action", "what the caller asked: `off`, `reboot`", "FenceAgentAPI's actions"),
    Label("address", "SCSI `host:channel:target:lun`", "one a path"),
    Label("collector", "subsystem of the exporter", "the collectors above, and `read`"),
    Label("device", "watchdog device", "1"),
    Label("holder", "reservation key of the holder, `0x…`; empty: all registrants hold it", "one a LUN"),
    Label("identity", "what the watchdog driver calls itself", "1"),
    Label("key", "reservation key, `0x…`, no leading zeros", "configured nodes, and at most 32 unknown keys a LUN"),
    Label("kind", _all(EventKind), str(len(EventKind))),
    Label("local", "`true` for the node that is scraped", "2"),
    Label("lun", "WWID, the same on every node", "LUNs of the volume group"),
    Label("name", "name of the LUN's device on this node, which may change with a reboot", "one a LUN"),
    Label("node", "name of a cluster node; empty where the configuration knows none", "nodes of the cluster"),
    Label("outcome", f"{_all(FenceOutcome)} (ended before there was a verdict)", str(len(FenceOutcome))),
    Label("path", "kernel name of the path (`sdb`)", "paths of the LUN"),
    Label("proof", "what proved it: `power`, `storage`, `power+storage`, `storage+self`, `power+storage+self`, `none`",
          "the proofs' combinations"),
    Label("python", "version of Python", "1"),
    Label("registration", f"{_all(RegistrationState)}: see fencer/state/snapshot.py", str(len(RegistrationState))),
    Label("state", _all(PolicyState), str(len(PolicyState))),
    Label("status", "see the metric", "see the metric"),
    Label("step", _all(StepName), str(len(StepName))),
    Label("target", "node that was acted on; empty where the caller named none", "nodes of the cluster; at most 64, "
          "the rest is summed as `(other)`"),
    Label("type", "reservation type in words (SPC-4 table 60)", "one a LUN"),
    Label("version", "version of the program", "1"),
)  # fmt: skip

# --- exporter -----------------------------------------------------------------------------------------------------

_E, _S, _R, _J = Source.EXPORTER, Source.SNAPSHOT, Source.READING, Source.JOURNAL
_GAUGE, _COUNTER, _HISTOGRAM = MetricKind.GAUGE, MetricKind.COUNTER, MetricKind.HISTOGRAM

BUILD_INFO: Final = Metric(
    "build", _E, _GAUGE, "halvm_exporter_build_info", ("version", "python"), "Version of the exporter; always 1."
)
COLLECTOR_SUCCESS: Final = Metric(
    "exporter", _E, _GAUGE, "halvm_exporter_collector_success", ("collector",),
    "Whether the collector succeeded in this scrape. A missing source is no failure; one that cannot be read is.",
)  # fmt: skip
COLLECTOR_DURATION: Final = Metric(
    "exporter", _E, _GAUGE, "halvm_exporter_collector_duration_seconds", ("collector",),
    "Time the collector took in this scrape.",
)  # fmt: skip
CLOCK: Final = Metric(
    "exporter", _E, _GAUGE, "halvm_exporter_clock_seconds", (),
    "This node's clock at the scrape. All timestamps of the node are by this clock; correct them by it before you "
    "compare them with Prometheus' time or with another node's.",
)  # fmt: skip
PATHS_ACCEPTED: Final = Metric(
    "exporter", _E, _GAUGE, "halvm_paths_accepted_timestamp_seconds", (),
    "When an operator last accepted the present paths as all that there should be: the time of modification of the "
    "file paths-accepted beside the journal. 0 if never.",
)  # fmt: skip
WEB_CONFIG_CURRENT: Final = Metric(
    "exporter", _E, _GAUGE, "halvm_exporter_web_config_current", (),
    "Whether TLS and passwords are those of --web.config.file; 0 while that file is invalid. 1 without one.",
)  # fmt: skip

# --- snapshot -----------------------------------------------------------------------------------------------------

SNAPSHOT_STATUS: Final = Metric(
    "snapshot", _E, _GAUGE, "halvm_snapshot_status", ("status",),
    "State set of the sidecar's snapshot: fresh, stale, missing, unreadable, malformed, unknown_schema, other_boot. "
    "Unless it is fresh, every metric taken from it is absent.",
)  # fmt: skip
SNAPSHOT_AGE: Final = Metric(
    "snapshot", _E, _GAUGE, "halvm_snapshot_age_seconds", (),
    "Time since the snapshot was written, by the monotonic clock: a clock change does not affect it. "
    "Absent if there is none of this boot.",
)  # fmt: skip
SNAPSHOT_TIME: Final = Metric(
    "snapshot", _E, _GAUGE, "halvm_snapshot_timestamp_seconds", (),
    "When the snapshot was written. Published also when it is stale. Absent if there is none of this boot.",
)  # fmt: skip
SNAPSHOT_INTERVAL: Final = Metric(
    "snapshot", _E, _GAUGE, "halvm_snapshot_interval_seconds", (),
    "How often the sidecar writes a snapshot. Published also when it is stale.",
)  # fmt: skip

# --- sidecar ------------------------------------------------------------------------------------------------------

SIDECAR_INFO: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_info", ("node", "key", "version"),
    "This node, its reservation key and the version of halvm-watchdogd; always 1.",
)  # fmt: skip
SIDECAR_STATE: Final = Metric(
    "sidecar",
    _S,
    _GAUGE,
    "halvm_sidecar_state",
    ("state",),
    "State set of the policy that decides whether the watchdog is fed.",
)
SIDECAR_START: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_start_timestamp_seconds", (), "When halvm-watchdogd started."
)
SIDECAR_GRACE: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_grace_seconds", (), "Configured grace after a loss of paths."
)
SIDECAR_GRACE_REMAINING: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_grace_remaining_seconds", (),
    "Grace that is left before this node resets itself; the whole grace while none runs, 0 once it self-fences.",
)  # fmt: skip
SIDECAR_CHECK_INTERVAL: Final = Metric(
    "sidecar",
    _S,
    _GAUGE,
    "halvm_sidecar_check_interval_seconds",
    (),
    "How often paths and registrations are checked.",
)
SIDECAR_BOUND: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_reset_bound_seconds", (),
    "Longest time from the loss of all paths to the reset, as configured.",
)  # fmt: skip
SIDECAR_PAUSED: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_paused", (), "Whether an operator has paused self-fencing for maintenance."
)
SIDECAR_PAUSED_UNTIL: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_paused_until_timestamp_seconds", (),
    "When the pause ends by itself. Absent while there is none.",
)  # fmt: skip
SIDECAR_REGISTRATIONS: Final = Metric(
    "sidecar", _S, _COUNTER, "halvm_sidecar_registrations_total", (),
    "Registrations of this node's key that the sidecar has made since it started.",
)  # fmt: skip
SIDECAR_OBSERVER_RESTARTS: Final = Metric(
    "sidecar", _S, _COUNTER, "halvm_sidecar_observer_restarts_total", (),
    "Observers that hung or died and were started again, since the sidecar started.",
)  # fmt: skip
SIDECAR_NOT_GRANTED: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_not_granted", (),
    "How many of real-time priority and locked memory the kernel refused the sidecar; 0 as it should be.",
)  # fmt: skip
SIDECAR_LUNS_UNSETTLED: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_luns_unsettled", (),
    "Whether the list of shared LUNs may be wrong: the volume group and the LUNs do not agree, or LVM does not answer.",
)  # fmt: skip
SIDECAR_LAST_SELF_FENCE: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_sidecar_last_self_fence_timestamp_seconds", (),
    "When this node last reset itself, in an earlier boot. Absent if it never did.",
)  # fmt: skip
NODE_INFO: Final = Metric(
    "sidecar", _S, _GAUGE, "halvm_node_info", ("node", "key", "local"),
    "A node of the cluster's configuration and its reservation key; always 1.",
)  # fmt: skip

# --- watchdog -----------------------------------------------------------------------------------------------------

WATCHDOG_INFO: Final = Metric(
    "watchdog", _S, _GAUGE, "halvm_watchdog_info", ("device", "identity"),
    "The watchdog that is fed; device is empty where none is configured; always 1.",
)  # fmt: skip
WATCHDOG_ARMED: Final = Metric(
    "watchdog", _S, _GAUGE, "halvm_watchdog_armed", (), "Whether the hardware resets this node unless it is fed."
)
WATCHDOG_NOWAYOUT: Final = Metric(
    "watchdog",
    _S,
    _GAUGE,
    "halvm_watchdog_nowayout",
    (),
    "Whether the watchdog, once armed, cannot be disarmed. Absent if its driver does not say so.",
)
WATCHDOG_TIMEOUT: Final = Metric(
    "watchdog", _S, _GAUGE, "halvm_watchdog_timeout_seconds", (), "Timeout read back from the watchdog."
)
WATCHDOG_ASKED_TIMEOUT: Final = Metric(
    "watchdog", _S, _GAUGE, "halvm_watchdog_asked_timeout_seconds", (),
    "Timeout that the watchdog was asked for. Absent where it is not known.",
)  # fmt: skip
WATCHDOG_SOFTWARE: Final = Metric(
    "watchdog", _S, _GAUGE, "halvm_watchdog_software", (),
    "Whether the watchdog counts in the kernel (softdog), and so does not reset a kernel that is stuck. Absent where "
    "it is not known.",
)  # fmt: skip
WATCHDOG_INTERVAL: Final = Metric(
    "watchdog", _S, _GAUGE, "halvm_watchdog_keepalive_interval_seconds", (), "Time between keepalives, as configured."
)
WATCHDOG_LAST_KEEPALIVE: Final = Metric(
    "watchdog", _S, _GAUGE, "halvm_watchdog_last_keepalive_timestamp_seconds", (),
    "When the watchdog was last fed, by the clock pair of the snapshot. Absent before the first keepalive.",
)  # fmt: skip
WATCHDOG_WORST_GAP: Final = Metric(
    "watchdog", _S, _GAUGE, "halvm_watchdog_worst_gap_seconds", (),
    "Longest time between two keepalives since the sidecar started.",
)  # fmt: skip
WATCHDOG_KEEPALIVES: Final = Metric(
    "watchdog", _S, _COUNTER, "halvm_watchdog_keepalives_total", (), "Keepalives since the sidecar started."
)
WATCHDOG_LATE: Final = Metric(
    "watchdog", _S, _COUNTER, "halvm_watchdog_late_keepalives_total", (),
    "Keepalives that came later than they should, since the sidecar started.",
)  # fmt: skip

# --- reservations -------------------------------------------------------------------------------------------------

LUN_INFO: Final = Metric(
    "reservations", _S, _GAUGE, "halvm_lun_info", ("lun", "name"), "A shared LUN and its device on this node; always 1."
)
LUN_READABLE: Final = Metric(
    "reservations", _S, _GAUGE, "halvm_lun_readable", ("lun",),
    "Whether the LUN's registrations were read recently. If not, metrics marked with an asterisk are absent for it.",
)  # fmt: skip
LUN_READ_TIME: Final = Metric(
    "reservations", _S, _GAUGE, "halvm_lun_read_timestamp_seconds", ("lun",),
    "When the LUN's registrations were last read. Absent if never.",
)  # fmt: skip
LUN_REGISTRATION: Final = Metric(
    "reservations", _S, _GAUGE, "halvm_lun_registration", ("lun", "registration"),
    "State set of this node's registration at the LUN; unknown while it cannot be read.",
)  # fmt: skip
LUN_GENERATION: Final = Metric(
    "reservations", _R, _GAUGE, "halvm_lun_pr_generation", ("lun",),
    "PRGENERATION: grows with every registration and preemption; restarts at 0 when the target does.",
)  # fmt: skip
LUN_REGISTRATIONS: Final = Metric(
    "reservations", _R, _GAUGE, "halvm_lun_registrations", ("lun", "key", "node"),
    "I_T nexuses on which the key is registered; 0 for a node of the configuration whose key is absent.",
)  # fmt: skip
LUN_UNKNOWN_KEYS: Final = Metric(
    "reservations", _R, _GAUGE, "halvm_lun_unknown_keys", ("lun",), "Registered keys that belong to no configured node."
)
LUN_RESERVED: Final = Metric(
    "reservations", _R, _GAUGE, "halvm_lun_reserved", ("lun",), "Whether a persistent reservation is held."
)
LUN_RESERVATION_INFO: Final = Metric(
    "reservations", _R, _GAUGE, "halvm_lun_reservation_info", ("lun", "holder", "node", "type"),
    "Holder and type of the LUN's reservation; always 1. Absent while there is none.",
)  # fmt: skip

# --- paths --------------------------------------------------------------------------------------------------------

LUN_PATHS: Final = Metric("paths", _S, _GAUGE, "halvm_lun_paths", ("lun",), "Paths that the LUN has.")
LUN_PATHS_UP: Final = Metric(
    "paths",
    _S,
    _GAUGE,
    "halvm_lun_paths_up",
    ("lun",),
    "Paths that answered their last probe in time and that no multipath map has failed.",
)
LUN_PATHS_USABLE: Final = Metric(
    "paths", _S, _GAUGE, "halvm_lun_paths_usable", ("lun",),
    "Paths that are up and on which this node's key is registered.",
)  # fmt: skip
PATH_UP: Final = Metric(
    "paths",
    _S,
    _GAUGE,
    "halvm_path_up",
    ("lun", "path", "address"),
    "Whether the path answered its last probe in time and no multipath map has failed it.",
)
PATH_REGISTERED: Final = Metric(
    "paths", _S, _GAUGE, "halvm_path_registered", ("lun", "path", "address"),
    "Whether this node's key is registered on the path.",
)  # fmt: skip
PATH_PROBE_TIME: Final = Metric(
    "paths", _S, _GAUGE, "halvm_path_last_probe_timestamp_seconds", ("lun", "path", "address"),
    "When the path was last probed. Absent if never.",
)  # fmt: skip
PATH_PROBE_DURATION: Final = Metric(
    "paths", _S, _GAUGE, "halvm_path_probe_duration_seconds", ("lun", "path", "address"),
    "How long the last probe took. Absent if there was none.",
)  # fmt: skip

# --- journal ------------------------------------------------------------------------------------------------------

JOURNAL_STATUS: Final = Metric(
    "journal", _E, _GAUGE, "halvm_journal_status", ("status",),
    "State set of the journal: readable, missing, unreadable, unknown_schema. "
    "Unless it is readable, every metric taken from it is absent.",
)  # fmt: skip
EVENTS: Final = Metric(
    "journal", _J, _COUNTER, "halvm_events_total", ("kind", "target", "outcome"),
    "All events that the journal of this node ever recorded, also those that it has dropped since.",
)  # fmt: skip
LAST_EVENT: Final = Metric(
    "journal", _J, _GAUGE, "halvm_last_event_timestamp_seconds", ("kind", "target", "outcome"),
    "When the latest of these events ended.",
)  # fmt: skip

# --- fences -------------------------------------------------------------------------------------------------------

FENCES: Final = Metric(
    "fences", _J, _COUNTER, "halvm_fences_total", ("target", "action", "outcome", "proof"),
    "Fences (off, reboot) by this node.",
)  # fmt: skip
FENCE_DURATION: Final = Metric(
    "fences", _J, _HISTOGRAM, "halvm_fence_duration_seconds", ("target", "action", "outcome", "proof"),
    "Time from the call to the verdict of fences by this node.",
)  # fmt: skip
LAST_FENCE: Final = Metric(
    "fences", _J, _GAUGE, "halvm_last_fence_timestamp_seconds", ("target",),
    "When this node's last attempt to fence the target ended, with any outcome.",
)  # fmt: skip
LAST_FENCE_SUCCESS: Final = Metric(
    "fences", _J, _GAUGE, "halvm_last_fence_success_timestamp_seconds", ("target",),
    "When this node last fenced the target with proof. Absent if never, or if a later attempt without success has an "
    "earlier time.",
)  # fmt: skip
STEP_DURATION: Final = Metric(
    "fences", _J, _HISTOGRAM, "halvm_step_duration_seconds", ("kind", "step"),
    "Duration of a step, from the step before it that it depends on, in all events of the kind.",
)  # fmt: skip

# --- monitors -----------------------------------------------------------------------------------------------------

MONITORS: Final = Metric(
    "monitors", _J, _COUNTER, "halvm_monitors_total", ("target", "outcome"),
    "Monitors: checks, which change nothing, of whether a fence of the target would work.",
)  # fmt: skip
MONITOR_SUCCESS: Final = Metric(
    "monitors", _J, _GAUGE, "halvm_last_monitor_success", ("target",),
    "Whether the last monitor showed that a fence of the target would work.",
)  # fmt: skip
LAST_MONITOR: Final = Metric(
    "monitors", _J, _GAUGE, "halvm_last_monitor_timestamp_seconds", ("target",),
    "When the last monitor of the target ended.",
)  # fmt: skip
LAST_MONITOR_SUCCESS: Final = Metric(
    "monitors", _J, _GAUGE, "halvm_last_monitor_success_timestamp_seconds", ("target",),
    "When a monitor of the target last succeeded. Absent if never, or if a later one without success has an earlier "
    "time.",
)  # fmt: skip
BMC_REACHABLE: Final = Metric(
    "monitors", _J, _GAUGE, "halvm_bmc_reachable", ("target",),
    "Whether the target's BMC accepted a session at the last monitor. Absent if that used no BMC.",
)  # fmt: skip

METRICS: Final = tuple(row for row in list(globals().values()) if isinstance(row, Metric))
