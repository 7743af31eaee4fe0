"""Finds what is wrong on this node, in words, worst first. Unknown never counts as good."""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple, assert_never

from fencer.exporter.page import words
from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.model import Proof
from fencer.state.readings import JournalReading, Readings, SnapshotReading, SnapshotStatus, readable_now
from fencer.state.snapshot import LunSnapshot, PolicyState, RegistrationState, Snapshot

RECENT_S: Final = 3600.0
"""How long after a fence or a self-fence the page shows a finding, even if the node has recovered."""
REPEATED_S: Final = 86400.0
REPEATED_TIMES: Final = 3
OLD_FENCE_S: Final = 7 * 86400.0
OLD_MONITOR_S: Final = 86400.0


class FindingSeverity(IntEnum):
    """How urgent a finding is."""

    BAD = 0
    WARNING = 1


class Finding(NamedTuple):
    """One finding. text: a sentence. page: its alert in the runbook. remedy: what to look at next, or ""."""

    severity: FindingSeverity
    text: str
    page: str
    remedy: str = ""


def find(readings: Readings) -> list[Finding]:
    """All findings, worst first."""
    found = [*_of_snapshot(readings), *_of_journal(readings)]
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
                yield from _of_luns(reading.snapshot)
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
    rest, lost = _untold(snapshot), _lost(snapshot)
    if snapshot.grace_remaining_s is not None and lost:
        text = " ".join(sentence for sentence, _ in _losses(lost))
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
    told = tuple(f"{lun.name}: " for lun in snapshot.luns if lun.name and _has_finding(lun, snapshot))
    return [
        reason for reason in snapshot.reasons if not reason.startswith(told) and reason not in snapshot.luns_unsettled
    ]


def _has_finding(lun: LunSnapshot, snapshot: Snapshot) -> bool:
    if not readable_now(lun, snapshot) or not all(path.up and path.registered for path in lun.paths) or not lun.paths:
        return True
    return lun.registration in _REGISTRATION_FINDINGS or not lun.type


def _lost(snapshot: Snapshot) -> list[LunSnapshot]:
    """LUNs of which no path is up, or whose registrations cannot be read."""
    return [lun for lun in snapshot.luns if not readable_now(lun, snapshot) or not any(path.up for path in lun.paths)]


def _losses(lost: list[LunSnapshot]) -> Iterator[tuple[str, str]]:
    """A sentence and its page of the runbook: for LUNs without a path, and for LUNs that only cannot be read."""
    cut = [lun for lun in lost if not any(path.up for path in lun.paths)]
    silent = [lun for lun in lost if lun not in cut]
    if cut:
        errors = [path.error for lun in cut for path in lun.paths if path.error]
        why = f" ({errors[0]})" if errors else ""
        yield f"{_named(cut)} {_are(cut)} lost: no path is up{why}.", "HalvmNoPath"
    if silent:
        why = f": {silent[0].error}" if silent[0].error else ""
        yield f"Registrations cannot be read from {_named(silent)}{why}.", "HalvmLunUnreadable"


def _are(luns: list[LunSnapshot]) -> str:
    return "is" if len(luns) == 1 else "are"


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


_REGISTRATION_FINDINGS: Final = {
    RegistrationState.PREEMPTED: (
        FindingSeverity.BAD,
        "This node's key was preempted on {}: another node has fenced it.",
        "HalvmNodePreempted",
    ),
    RegistrationState.UNPROTECTED: (
        FindingSeverity.BAD,
        "Nobody holds a reservation on {}: any initiator may write there.",
        "HalvmNoReservation",
    ),
    RegistrationState.CONFLICT: (
        FindingSeverity.BAD,
        "The reservation on {} lets only its holder write, and that is not this node.",
        "HalvmReservationConflict",
    ),
    RegistrationState.SHUT_OUT: (
        FindingSeverity.BAD,
        "The target lost all registrations on {} and others have registered since: this node may not write there.",
        "HalvmNodePreempted",
    ),
    RegistrationState.UNKNOWN: (
        FindingSeverity.BAD,
        "This node is not registered on {}, and whether it was fenced cannot be told.",
        "HalvmKeyNotRegistered",
    ),
    RegistrationState.TARGET_FORGOT: (
        FindingSeverity.BAD,
        "The target has lost all registrations on {}.",
        "HalvmTargetForgot",
    ),
    RegistrationState.DROPPED: (
        FindingSeverity.BAD,
        "The target has dropped this node's registration on {}: nobody preempted it, and it is made again.",
        "HalvmKeyNotRegistered",
    ),
    RegistrationState.NEVER: (
        FindingSeverity.WARNING,
        "This node has not been registered on {} in this boot: it may not write there.",
        "HalvmKeyNotRegistered",
    ),
}


def _of_luns(snapshot: Snapshot) -> Iterator[Finding]:
    if not snapshot.luns and snapshot.state is not PolicyState.STARTING:
        yield Finding(
            FindingSeverity.WARNING, "The sidecar watches no LUN.", "HalvmLunListUnsettled", "See its configuration."
        )
    lost = _lost(snapshot)
    if lost and snapshot.state is not PolicyState.SELF_FENCE and snapshot.grace_remaining_s is None:
        yield from (Finding(FindingSeverity.BAD, text, page) for text, page in _losses(lost))
    readable = [lun for lun in snapshot.luns if lun not in lost]
    for state, (severity, text, page) in _REGISTRATION_FINDINGS.items():
        if there := [lun for lun in readable if lun.registration == state]:
            yield Finding(severity, text.format(_named(there)), page)
    unheld = [lun for lun in readable if not lun.type and lun.registration == RegistrationState.REGISTERED]
    if unheld:
        text = f"Nobody holds a reservation on {_named(unheld)}: any initiator may write there."
        yield Finding(FindingSeverity.BAD, text, "HalvmNoReservation")
    for node in snapshot.nodes:
        absent = [lun for lun in readable if all(key.key != node.key for key in lun.keys)]
        if absent and node.name != snapshot.node:
            where = "any LUN" if len(absent) == len(snapshot.luns) else _named(absent)
            text = (
                f"{node.name} is not registered on {where}: it was fenced, or has not joined, and may not write there."
            )
            yield Finding(FindingSeverity.WARNING, text, "HalvmKeyNotRegistered")
    known = {node.key for node in snapshot.nodes}
    if strange := [lun for lun in readable if any(key.key not in known for key in lun.keys)]:
        text = f"Keys of no configured node are registered on {_named(strange)}."
        yield Finding(FindingSeverity.WARNING, text, "HalvmUnknownKey")
    yield from _of_paths(snapshot)


def _of_paths(snapshot: Snapshot) -> Iterator[Finding]:
    for lun in snapshot.luns:
        down = [path for path in lun.paths if not path.up]
        up = [path for path in lun.paths if path.up]
        if down and up:
            severity = FindingSeverity.BAD if len(up) == 1 else FindingSeverity.WARNING
            last = ": one path is left" if len(up) == 1 else ""
            why = f" ({down[0].error})" if down[0].error else ""
            are = "is" if len(down) == 1 else "are"
            text = f"{words.names([p.name for p in down])} to {_name(lun)} {are} down{why}{last}."
            yield Finding(severity, text, "HalvmLastPath" if last else "HalvmPathLost")
        bare = [path.name for path in up if not path.registered]
        if bare and lun.registration not in _REGISTRATION_FINDINGS:  # which covers the whole LUN
            text = f"{words.names(bare)} to {_name(lun)}: up, but this node's key is not on it; not counted."
            yield Finding(FindingSeverity.WARNING, text, "HalvmPathLost")


def _named(luns: list[LunSnapshot]) -> str:
    return words.names([_name(lun) for lun in luns])


def _name(lun: LunSnapshot) -> str:
    return lun.name or lun.wwid


# --- the journal --------------------------------------------------------------------------------------------------


def _of_journal(readings: Readings) -> Iterator[Finding]:
    journal, now = readings.journal, readings.now.unix_s
    if journal.failed:
        text = f"The journal of fences cannot be read: {journal.problem}."
        yield Finding(FindingSeverity.BAD, text, "HalvmJournalUnreadable")
        yield from _of_last_self_fence(readings)
        return
    told: set[str] = set()
    for event in last_fences(journal):
        if now - event.at_unix_s < OLD_FENCE_S and not _is_back(event.target, readings):
            for finding in _of_fence(event, now):
                told.add(event.target)
                yield finding
    yield from _of_the_last_hour(readings, told)
    yield from _of_repeated(journal, now)
    for event in journal.monitors:
        who, when = event.target or "an unnamed node", words.when(event.at_unix_s + event.took_s, now)
        if event.outcome is not FenceOutcome.SUCCESS:
            why = event.error or "it ended without a verdict"
            text = f"A fence of {who} would not work, as of {when}: {why}"
            yield Finding(FindingSeverity.BAD, text, "HalvmMonitorFailing")
        elif now - event.at_unix_s > OLD_MONITOR_S:
            text = f"Whether a fence of {who} would work was last tried {when}."
            yield Finding(FindingSeverity.WARNING, text, "HalvmMonitorTooOld")


def _of_the_last_hour(readings: Readings, told: set[str]) -> Iterator[Finding]:
    """Fences and self-fences of the last hour, also of nodes that have recovered. told: targets to leave out."""
    journal, now = readings.journal, readings.now.unix_s
    for event in last_fences(journal):
        if now - event.at_unix_s - event.took_s < RECENT_S and event.target not in told:
            did = "was fenced" if event.outcome is FenceOutcome.SUCCESS else "could not be fenced"
            text = f"{event.target or 'An unnamed node'} {did} {words.when(event.at_unix_s + event.took_s, now)}."
            yield Finding(
                FindingSeverity.WARNING, text, "HalvmNodeFenced", "Does the service run? Why did it come to that?"
            )
    yield from _of_last_self_fence(readings)


def _of_last_self_fence(readings: Readings) -> Iterator[Finding]:
    snapshot, now = readings.snapshot.fresh, readings.now.unix_s
    known = [(event.at_unix_s, event.error) for event in readings.journal.story if event.kind is EventKind.SELF_FENCE]
    if snapshot is not None and snapshot.last_self_fence_unix_s > 0:
        known.append((snapshot.last_self_fence_unix_s, snapshot.last_self_fence_reason))
    if known and now - (last := max(known))[0] < RECENT_S:
        why = f": {last[1]}" if last[1] else ""
        text = f"This node reset itself {words.when(last[0], now)}{why}."
        yield Finding(FindingSeverity.WARNING, text, "HalvmNodeFencedItself", "halvm-watchdogd last")


def _of_repeated(journal: JournalReading, now: float) -> Iterator[Finding]:
    """Nodes that were fenced, or reset themselves, several times in REPEATED_S. A self-fence and the fence that follows
    it count as two."""
    times: dict[str, int] = {}
    for event in journal.story:
        ended = event.kind is EventKind.SELF_FENCE or (
            event.kind is EventKind.FENCE and event.outcome is FenceOutcome.SUCCESS
        )
        if ended and now - event.at_unix_s < REPEATED_S:
            times[event.target] = times.get(event.target, 0) + 1
    for target, number in times.items():
        if number >= REPEATED_TIMES:
            text = f"{target or 'An unnamed node'} was fenced or reset itself {number} times in the last 24 h."
            yield Finding(FindingSeverity.WARNING, text, "HalvmFenceLoop")


def last_fences(journal: JournalReading) -> list[Event]:
    """The latest fence of each target, among the events shown on the page."""
    latest: dict[str, Event] = {}
    for event in journal.story:
        if event.kind is EventKind.FENCE:
            latest.setdefault(event.target, event)
    return list(latest.values())


def _of_fence(event: Event, now: float) -> Iterator[Finding]:
    who, when = event.target or "an unnamed node", words.when(event.at_unix_s + event.took_s, now)
    match event.outcome:
        case FenceOutcome.SUCCESS:
            if Proof.POWER not in event.proofs:
                weak = ", by a plain PREEMPT: commands it had queued may have landed" if event.weak else ""
                text = f"{who} was fenced {when} on {proved(event)} alone{weak}: it was not seen powered off."
                yield Finding(FindingSeverity.WARNING, text, "HalvmFencedByStorageOnly")
        case FenceOutcome.FAILURE:
            text = f"The last attempt to fence {who} failed {when}: {event.error or 'no reason given'}"
            yield Finding(FindingSeverity.BAD, text, "HalvmFenceFailed")
        case FenceOutcome.UNKNOWN:
            text = f"The last attempt to fence {who}, {when}, ended without a verdict."
            yield Finding(FindingSeverity.BAD, text, "HalvmFenceFailed", "Fence it again.")
        case _:
            assert_never(event.outcome)


def proved(event: Event) -> str:
    """The proofs in words: ``power and storage``."""
    return words.names([str(proof) for proof in event.proofs]) if event.proofs else "nothing"


def _is_back(target: str, readings: Readings) -> bool:
    """Whether the node is registered again on every LUN that can be read. Then it has been unfenced since."""
    if (snapshot := readings.snapshot.fresh) is None:
        return False
    keys = {node.key for node in snapshot.nodes if node.name == target}
    readable = [lun for lun in snapshot.luns if readable_now(lun, snapshot)]
    return bool(keys and readable) and all(any(key.key in keys for key in lun.keys) for lun in readable)
