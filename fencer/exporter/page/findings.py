# SPDX-License-Identifier: Apache-2.0
"""Finds what is wrong on this node, in words, worst first. Unknown never counts as good."""

from collections.abc import Iterator
from typing import assert_never

from fencer.exporter.page import words
from fencer.exporter.page.finding import Finding, FindingSeverity
from fencer.exporter.page.journal_findings import journal_findings
from fencer.exporter.page.lun_findings import has_finding, losses, lost_luns, lun_findings
from fencer.state.readings import Readings, SnapshotReading, SnapshotStatus
from fencer.state.snapshot import PolicyState, Snapshot


def find(readings: Readings) -> list[Finding]:
    """All findings, worst first."""
    found = [*_of_snapshot(readings), *journal_findings(readings)]
    return sorted(found, key=lambda finding: finding.severity)


def nothing_there(readings: Readings) -> bool:
    """Whether neither a sidecar nor an agent has ever written anything on this node."""
    return (
        readings.snapshot.status is SnapshotStatus.MISSING
        and not readings.journal.failed
        and not readings.journal.totals
    )


def _of_snapshot(readings: Readings) -> Iterator[Finding]:
    reading = readings.snapshot
    status = "systemctl status halvm-watchdogd"
    match reading.status:
        case SnapshotStatus.FRESH:
            if reading.snapshot is not None:
                yield from _of_state(reading.snapshot, readings)
                yield from _of_means(reading.snapshot)
                yield from lun_findings(reading.snapshot)
        case SnapshotStatus.STALE:
            yield Finding(FindingSeverity.BAD, _silent(reading), "HalvmSnapshotStale", status)
        case SnapshotStatus.OTHER_BOOT:
            text = (
                "halvm-watchdogd has not run since this node booted: nothing resets this node if it loses its storage."
            )
            yield Finding(FindingSeverity.BAD, text, "HalvmSidecarDown", status)
        case SnapshotStatus.MISSING:
            text = "halvm-watchdogd publishes nothing here: registrations, paths and the watchdog are unknown."
            yield Finding(FindingSeverity.WARNING, text, "HalvmSidecarDown", status)
        case SnapshotStatus.UNREADABLE | SnapshotStatus.MALFORMED | SnapshotStatus.UNKNOWN_SCHEMA:
            text = f"The sidecar's state cannot be read: {reading.problem}."
            yield Finding(FindingSeverity.BAD, text, "HalvmSnapshotUnreadable")
        case _:
            assert_never(reading.status)


def _silent(reading: SnapshotReading) -> str:
    return (
        f"halvm-watchdogd has been silent for {words.duration(reading.age_s or 0.0)}: "
        "what it said last stands below and may no longer be true."
    )


def _of_state(snapshot: Snapshot, readings: Readings) -> Iterator[Finding]:
    now = readings.now.unix_s
    match snapshot.state:
        case PolicyState.KEEPALIVE:
            return
        case PolicyState.STARTING:
            rest = _untold(snapshot)
            why = f": {'; '.join(rest)}" if rest else "" if snapshot.reasons else ": no LUN has been looked at"
            text = f"Nothing is armed yet{why}. Until then nothing resets this node if it hangs or loses its storage."
            yield Finding(FindingSeverity.WARNING, text, "HalvmWatchdogNotArmed")
        case PolicyState.DEGRADED:
            yield from _degraded(snapshot, now)
        case PolicyState.SELF_FENCE:
            why = "; ".join(snapshot.reasons) or "no reason is given"
            yield Finding(FindingSeverity.BAD, f"This node lets itself be reset: {why}.", "HalvmSelfFenceImminent")
        case PolicyState.PAUSED:
            until = snapshot.paused_until_unix_s
            ends = "" if until is None else f" until {words.moment(until, now)}, {words.ago(until, now)}"
            text = f"Self-fencing is paused{ends}: this node is not reset if it loses its storage."
            yield Finding(FindingSeverity.WARNING, text, "HalvmPausedTooLong", "halvm-watchdogd resume ends it now")
        case PolicyState.STOPPED if snapshot.watchdog.armed:
            text = "halvm-watchdogd was stopped, but not the watchdog: it resets this node unless that starts again."
            yield Finding(FindingSeverity.BAD, text, "HalvmSnapshotStale", "systemctl start halvm-watchdogd")
        case PolicyState.STOPPED:
            text = "halvm-watchdogd was stopped in order: the watchdog is disarmed."
            yield Finding(FindingSeverity.WARNING, text, "HalvmSnapshotStale", "systemctl start halvm-watchdogd")
        case _:
            assert_never(snapshot.state)


def _degraded(snapshot: Snapshot, now: float) -> Iterator[Finding]:
    """Findings of the state degraded. Lost LUNs and the coming reset are one finding."""
    rest, lost = _untold(snapshot), lost_luns(snapshot)
    if snapshot.grace_remaining_s is not None and lost:
        text = " ".join(sentence for sentence, _ in losses(lost))
        yield Finding(FindingSeverity.BAD, f"{text} {_reset_comes(snapshot, now)}", "HalvmSelfFenceImminent")
    elif snapshot.grace_remaining_s is not None:
        why = "; ".join(snapshot.reasons) or "no reason is given"
        text = f"This node is degraded: {why}. {_reset_comes(snapshot, now)}"
        yield Finding(FindingSeverity.BAD, text, "HalvmSelfFenceImminent")
        return
    if rest or not snapshot.reasons:
        why = "; ".join(rest) or "no reason is given"
        yield Finding(FindingSeverity.WARNING, f"This node is degraded: {why}.", "HalvmPathLost")


def _reset_comes(snapshot: Snapshot, now: float) -> str:
    at = snapshot.written_unix_s + (snapshot.grace_remaining_s or 0.0)
    left = words.duration(at - now)
    return f"Unless that ends, this node resets itself at {words.moment(at, now)}, in {left}."


def _untold(snapshot: Snapshot) -> list[str]:
    """The reasons that no other finding shows. For display only: recognised by the LUN's name at the beginning."""
    told = tuple(f"{lun.name}: " for lun in snapshot.luns if lun.name and has_finding(lun, snapshot))
    return [
        reason for reason in snapshot.reasons if not reason.startswith(told) and reason not in snapshot.luns_unsettled
    ]


def _of_means(snapshot: Snapshot) -> Iterator[Finding]:
    """Findings of the watchdog, and of what else the sidecar needs to reset the node in time."""
    if snapshot.luns_unsettled:
        text = f"Which LUNs are shared is not certain: {snapshot.luns_unsettled}."
        yield Finding(FindingSeverity.WARNING, text, "HalvmLunListUnsettled")
    if snapshot.not_granted:
        text = f"The kernel refused the sidecar what keeps it from being late ({'; '.join(snapshot.not_granted)})."
        yield Finding(FindingSeverity.WARNING, text, "HalvmRealTimeRefused")
    if snapshot.state not in (PolicyState.STARTING, PolicyState.STOPPED):
        yield from _of_watchdog(snapshot)


def _of_watchdog(snapshot: Snapshot) -> Iterator[Finding]:
    watchdog = snapshot.watchdog
    if not watchdog.device:
        text = "No watchdog is configured: if this node hangs, only another node's fence ends it."
        yield Finding(FindingSeverity.WARNING, text, "HalvmWatchdogNotArmed")
        return
    if not watchdog.armed:
        text = f"The watchdog {watchdog.device} is not armed: it does not reset a node that hangs."
        yield Finding(FindingSeverity.BAD, text, "HalvmWatchdogNotArmed")
        return
    if watchdog.asked_timeout_s > 0 and abs(watchdog.timeout_s - watchdog.asked_timeout_s) > 1:
        text = (
            f"The watchdog fires after {words.duration(watchdog.timeout_s)}, "
            f"and not after {words.duration(watchdog.asked_timeout_s)} as it was asked to."
        )
        yield Finding(FindingSeverity.WARNING, text, "HalvmWatchdogTimeoutOther")
    age_s = snapshot.written_monotonic_s - watchdog.last_keepalive_monotonic_s
    if snapshot.state is not PolicyState.SELF_FENCE and age_s > watchdog.timeout_s * 2 / 3:
        text = (
            f"The watchdog was last fed {words.duration(age_s)} ago; "
            f"it fires after {words.duration(watchdog.timeout_s)}."
        )
        yield Finding(FindingSeverity.BAD, text, "HalvmWatchdogToothless")
    elif watchdog.worst_gap_s > watchdog.timeout_s * 2 / 3:
        text = (
            f"The watchdog went unfed for {words.duration(watchdog.worst_gap_s)} once since the sidecar started, "
            f"of the {words.duration(watchdog.timeout_s)} after which it fires."
        )
        remedy = "Was the node overloaded, or paused by its hypervisor?"
        yield Finding(FindingSeverity.WARNING, text, "HalvmWatchdogFedLate", remedy)
