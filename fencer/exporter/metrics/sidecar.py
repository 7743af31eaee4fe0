# SPDX-License-Identifier: Apache-2.0
"""Collectors of the snapshot: its age, the sidecar, the watchdog, reservations, paths. Each is a pure function. All but
the first use the snapshot only while it is fresh."""

from collections.abc import Iterable
from typing import Final

from fencer.exporter.metrics import table
from fencer.exporter.metrics.families import Families
from fencer.exporter.metrics.table import Metric
from fencer.state.readings import SnapshotReading, SnapshotStatus, readable_now, unix_s
from fencer.state.snapshot import KeySnapshot, NodeSnapshot, PolicyState, RegistrationState, Snapshot

UNKNOWN_KEYS_MOST: Final = 32
_REGISTRATION_STATES: Final = tuple(state.value for state in RegistrationState)


def collect_snapshot(reading: SnapshotReading, out: Families) -> None:
    """Status and age of the snapshot. Published also when the snapshot is stale."""
    state_set(out, table.SNAPSHOT_STATUS, SnapshotStatus, reading.status)
    if reading.snapshot is not None and reading.age_s is not None:
        out.put(table.SNAPSHOT_AGE, reading.age_s)
        out.put(table.SNAPSHOT_TIME, reading.snapshot.written_unix_s)
        out.put(table.SNAPSHOT_INTERVAL, reading.snapshot.interval_s)


def collect_sidecar(snapshot: Snapshot | None, out: Families) -> None:
    """The state of the sidecar's policy, and its settings."""
    if snapshot is None:
        return
    out.put(table.SIDECAR_INFO, 1, snapshot.node, snapshot.key, snapshot.version)
    state_set(out, table.SIDECAR_STATE, PolicyState, snapshot.state)
    out.put(table.SIDECAR_START, snapshot.started_unix_s)
    out.put(table.SIDECAR_GRACE, snapshot.grace_s)
    out.put(table.SIDECAR_GRACE_REMAINING, grace_remaining_s(snapshot))
    out.put(table.SIDECAR_CHECK_INTERVAL, snapshot.check_interval_s)
    out.put(table.SIDECAR_BOUND, snapshot.bound_s)
    out.put(table.SIDECAR_PAUSED, snapshot.state is PolicyState.PAUSED)
    if snapshot.paused_until_unix_s is not None:
        out.put(table.SIDECAR_PAUSED_UNTIL, snapshot.paused_until_unix_s)
    out.put(table.SIDECAR_REGISTRATIONS, snapshot.registrations)
    out.put(table.SIDECAR_OBSERVER_RESTARTS, snapshot.observer_restarts)
    out.put(table.SIDECAR_NOT_GRANTED, len(snapshot.not_granted))
    out.put(table.SIDECAR_LUNS_UNSETTLED, bool(snapshot.luns_unsettled))
    if snapshot.last_self_fence_unix_s > 0:
        out.put(table.SIDECAR_LAST_SELF_FENCE, snapshot.last_self_fence_unix_s)
    for node in snapshot.nodes:
        out.put(table.NODE_INFO, 1, node.name, node.key, "true" if node.name == snapshot.node else "false")


def grace_remaining_s(snapshot: Snapshot) -> float:
    """Remaining grace; the whole grace while it does not run, 0 once the node self-fences."""
    if snapshot.grace_remaining_s is not None:
        return snapshot.grace_remaining_s
    return 0.0 if snapshot.state is PolicyState.SELF_FENCE else snapshot.grace_s


def collect_watchdog(snapshot: Snapshot | None, out: Families) -> None:
    """The watchdog device, and whether it was fed in time."""
    if snapshot is None:
        return
    watchdog = snapshot.watchdog
    out.put(table.WATCHDOG_INFO, 1, watchdog.device, watchdog.identity)
    out.put(table.WATCHDOG_ARMED, watchdog.armed)
    if watchdog.nowayout is not None:
        out.put(table.WATCHDOG_NOWAYOUT, watchdog.nowayout)
    out.put(table.WATCHDOG_TIMEOUT, watchdog.timeout_s)
    if watchdog.asked_timeout_s > 0:
        out.put(table.WATCHDOG_ASKED_TIMEOUT, watchdog.asked_timeout_s)
    if watchdog.software is not None:
        out.put(table.WATCHDOG_SOFTWARE, watchdog.software)
    out.put(table.WATCHDOG_INTERVAL, watchdog.keepalive_interval_s)
    if watchdog.last_keepalive_monotonic_s > 0:
        out.put(table.WATCHDOG_LAST_KEEPALIVE, unix_s(snapshot, watchdog.last_keepalive_monotonic_s))
    out.put(table.WATCHDOG_WORST_GAP, watchdog.worst_gap_s)
    out.put(table.WATCHDOG_KEEPALIVES, watchdog.keepalives)
    out.put(table.WATCHDOG_LATE, watchdog.late_keepalives)


def collect_reservations(snapshot: Snapshot | None, out: Families) -> None:
    """Registrations and reservations of the LUNs that were read recently."""
    if snapshot is None:
        return
    for lun in snapshot.luns:
        readable = readable_now(lun, snapshot)
        out.put(table.LUN_INFO, 1, lun.wwid, lun.name)
        out.put(table.LUN_READABLE, readable, lun.wwid)
        if lun.read_monotonic_s > 0:
            out.put(table.LUN_READ_TIME, unix_s(snapshot, lun.read_monotonic_s), lun.wwid)
        if readable:
            registration, nodes = lun.registration, snapshot.nodes
            out.take(_read, lun.wwid, registration, lun.generation, lun.keys, lun.holder, lun.type, nodes)
        else:
            out.take(_unread, lun.wwid)


def _read(
    wwid: str,
    registration: str,
    generation: int,
    keys: tuple[KeySnapshot, ...],
    holder: str,
    kind: str,
    nodes: tuple[NodeSnapshot, ...],
) -> Families:
    """The families of a LUN that was read. A function of its own, so that they are reused: they rarely change."""
    out = Families()
    state = registration if registration in _REGISTRATION_STATES else RegistrationState.UNKNOWN
    state_set(out, table.LUN_REGISTRATION, _REGISTRATION_STATES, state, wwid)
    out.put(table.LUN_GENERATION, generation, wwid)
    names = {node.key: node.name for node in nodes}
    for node in nodes:
        out.put(table.LUN_REGISTRATIONS, 0, wwid, node.key, node.name)
    unknown = [key for key in keys if key.key not in names]
    for key in (*(key for key in keys if key.key in names), *unknown[:UNKNOWN_KEYS_MOST]):
        out.put(table.LUN_REGISTRATIONS, key.nexuses, wwid, key.key, names.get(key.key, ""))
    out.put(table.LUN_UNKNOWN_KEYS, len(unknown), wwid)
    out.put(table.LUN_RESERVED, bool(kind), wwid)
    if kind:
        out.put(table.LUN_RESERVATION_INFO, 1, wwid, holder, names.get(holder, ""), kind)
    return out


def _unread(wwid: str) -> Families:
    out = Families()
    state_set(out, table.LUN_REGISTRATION, _REGISTRATION_STATES, RegistrationState.UNKNOWN, wwid)
    return out


def collect_paths(snapshot: Snapshot | None, out: Families) -> None:
    """Every path of every LUN."""
    if snapshot is None:
        return
    for lun in snapshot.luns:
        out.put(table.LUN_PATHS, len(lun.paths), lun.wwid)
        out.put(table.LUN_PATHS_UP, sum(path.up for path in lun.paths), lun.wwid)
        out.put(table.LUN_PATHS_USABLE, sum(path.up and path.registered for path in lun.paths), lun.wwid)
    paths = [((lun.wwid, path.name, path.address), path) for lun in snapshot.luns for path in lun.paths]
    probed = [(labels, path) for labels, path in paths if path.probed_monotonic_s > 0]
    if paths:
        out.put_each(table.PATH_UP, ((labels, path.up) for labels, path in paths))
        out.put_each(table.PATH_REGISTERED, ((labels, path.registered) for labels, path in paths))
    if probed:
        times = ((labels, unix_s(snapshot, path.probed_monotonic_s)) for labels, path in probed)
        out.put_each(table.PATH_PROBE_TIME, times)
        out.put_each(table.PATH_PROBE_DURATION, ((labels, path.probe_took_s) for labels, path in probed))


def state_set(out: Families, metric: Metric, states: Iterable[str], present: str, *labels: str) -> None:
    """Sets one series for each state: 1 for the present one, else 0. The state is the last label."""
    for state in states:
        out.put(metric, state == present, *labels, str(state))
