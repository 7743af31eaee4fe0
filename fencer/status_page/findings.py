"""What is wrong on this node, in words, worst first. Unknown is never said to be well."""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple, assert_never

from fencer.event import Event, EventKind, Outcome
from fencer.model import Proof
from fencer.readings import JournalReading, Readings, SnapshotReading, SnapshotStatus, readable_now
from fencer.status_page import words
from fencer.watchdog.sightings import Standing
from fencer.watchdog.snapshot import LunSnapshot, PolicyState, Snapshot

OLD_FENCE_S: Final = 7 * 86400.0
OLD_MONITOR_S: Final = 86400.0


class Severity(IntEnum):
    """How urgently somebody should look."""

    BAD = 0
    WARNING = 1


class Finding(NamedTuple):
    """One sentence, and what to look at next ("" if the sentence says it)."""

    severity: Severity
    text: str
    remedy: str = ""


def find(readings: Readings) -> list[Finding]:
    """Everything that is not as it should be."""
    found = [*_of_snapshot(readings), *_of_journal(readings)]
    return sorted(found, key=lambda finding: finding.severity)


def nothing_there(readings: Readings) -> bool:
    """Neither a sidecar nor an agent has ever written anything here."""
    return (
        readings.snapshot.status is SnapshotStatus.MISSING
        and not readings.journal.failed
        and not readings.journal.totals
    )


def _of_snapshot(readings: Readings) -> Iterator[Finding]:
    reading = readings.snapshot
    match reading.status:
        case SnapshotStatus.FRESH:
            if reading.snapshot is not None:
                yield from _of_state(reading.snapshot, readings)
                yield from _of_watchdog(reading.snapshot)
                yield from _of_luns(reading.snapshot)
        case SnapshotStatus.STALE:
            yield Finding(Severity.BAD, _silent(reading), "systemctl status halvm-watchdogd")
        case SnapshotStatus.OTHER_BOOT:
            yield Finding(
                Severity.BAD,
                "halvm-watchdogd has not run since this node booted: nothing resets this node if it loses its storage.",
                "systemctl status halvm-watchdogd",
            )
        case SnapshotStatus.MISSING:
            yield Finding(
                Severity.WARNING,
                "halvm-watchdogd publishes nothing here: registrations, paths and the watchdog are unknown.",
                "systemctl status halvm-watchdogd",
            )
        case SnapshotStatus.UNREADABLE | SnapshotStatus.MALFORMED | SnapshotStatus.UNKNOWN_SCHEMA:
            yield Finding(Severity.BAD, f"The sidecar's state cannot be read: {reading.problem}.")
        case _:
            assert_never(reading.status)


def _silent(reading: SnapshotReading) -> str:
    return (
        f"halvm-watchdogd has been silent for {words.duration(reading.age_s or 0.0)}: "
        "what it said last stands below and may no longer be true."
    )


def _of_state(snapshot: Snapshot, readings: Readings) -> Iterator[Finding]:
    why = "; ".join(snapshot.reasons) or "no reason is given"
    match snapshot.state:
        case PolicyState.KEEPALIVE:
            return
        case PolicyState.STARTING:
            yield Finding(Severity.WARNING, "halvm-watchdogd is starting: nothing is known yet.")
        case PolicyState.DEGRADED:
            left = snapshot.grace_remaining_s
            then = "" if left is None else f" Unless that ends, this node resets itself in {words.duration(left)}."
            yield Finding(Severity.WARNING if left is None else Severity.BAD, f"This node is degraded: {why}.{then}")
        case PolicyState.SELF_FENCE:
            yield Finding(Severity.BAD, f"This node lets itself be reset: {why}.")
        case PolicyState.PAUSED:
            until = snapshot.paused_until_unix_s
            ends = "" if until is None else f" until {words.moment(until, readings.now.unix_s)}"
            text = f"Self-fencing is paused{ends}: this node is not reset if it loses its storage."
            yield Finding(Severity.WARNING, text)
        case PolicyState.STOPPED if snapshot.watchdog.armed:
            text = "halvm-watchdogd was stopped, but not the watchdog: it resets this node unless that starts again."
            yield Finding(Severity.BAD, text)
        case PolicyState.STOPPED:
            yield Finding(Severity.WARNING, "halvm-watchdogd was stopped in order: the watchdog is disarmed.")
        case _:
            assert_never(snapshot.state)


def _of_watchdog(snapshot: Snapshot) -> Iterator[Finding]:
    watchdog = snapshot.watchdog
    if not watchdog.device:
        yield Finding(
            Severity.WARNING, "No watchdog is configured: if this node hangs, only another node's fence ends it."
        )
        return
    if snapshot.state in (PolicyState.STARTING, PolicyState.STOPPED):
        return
    if not watchdog.armed:
        yield Finding(
            Severity.BAD, f"The watchdog {watchdog.device} is not armed: it does not reset a node that hangs."
        )
        return
    age_s = snapshot.written_monotonic_s - watchdog.last_keepalive_monotonic_s
    if snapshot.state is not PolicyState.SELF_FENCE and age_s > watchdog.timeout_s * 2 / 3:
        text = (
            f"The watchdog was last fed {words.duration(age_s)} ago; "
            f"it fires after {words.duration(watchdog.timeout_s)}."
        )
        yield Finding(Severity.BAD, text)
    elif watchdog.worst_gap_s > watchdog.timeout_s * 2 / 3:
        text = (
            f"The watchdog went unfed for {words.duration(watchdog.worst_gap_s)} once since the sidecar started, "
            f"of the {words.duration(watchdog.timeout_s)} after which it fires."
        )
        yield Finding(Severity.WARNING, text, "Was the node overloaded, or paused by its hypervisor?")


_STANDINGS: Final = {
    Standing.PREEMPTED: (Severity.BAD, "This node's key was preempted on {}: another node has fenced it."),
    Standing.UNPROTECTED: (Severity.BAD, "Nobody holds a reservation on {}: any initiator may write there."),
    Standing.CONFLICT: (Severity.BAD, "The reservation on {} lets only its holder write, and that is not this node."),
    Standing.SHUT_OUT: (
        Severity.BAD,
        "The target lost all registrations on {} and others have registered since: this node may not write there.",
    ),
    Standing.UNKNOWN: (Severity.BAD, "This node is not registered on {}, and whether it was fenced cannot be told."),
    Standing.TARGET_FORGOT: (Severity.BAD, "The target has lost all registrations on {}."),
    Standing.NEVER: (Severity.WARNING, "This node has not been registered on {} in this boot: it may not write there."),
}


def _of_luns(snapshot: Snapshot) -> Iterator[Finding]:
    if not snapshot.luns:
        yield Finding(Severity.WARNING, "The sidecar watches no LUN.", "See its configuration.")
    readable = [lun for lun in snapshot.luns if readable_now(lun, snapshot)]
    silent = [lun for lun in snapshot.luns if lun not in readable]
    if silent:
        first = f": {silent[0].error}" if silent[0].error else ""
        yield Finding(Severity.BAD, f"Registrations cannot be read from {_named(silent)}{first}.")
    for standing, (severity, text) in _STANDINGS.items():
        if there := [lun for lun in readable if lun.standing == standing]:
            yield Finding(severity, text.format(_named(there)))
    unheld = [lun for lun in readable if not lun.type and lun.standing == Standing.REGISTERED]
    if unheld:
        yield Finding(Severity.BAD, f"Nobody holds a reservation on {_named(unheld)}: any initiator may write there.")
    for node in snapshot.nodes:
        absent = [lun for lun in readable if all(key.key != node.key for key in lun.keys)]
        if absent and node.name != snapshot.node:
            where = "any LUN" if len(absent) == len(snapshot.luns) else _named(absent)
            yield Finding(
                Severity.WARNING,
                f"{node.name} is not registered on {where}: it was fenced, or has not joined, and may not write there.",
            )
    known = {node.key for node in snapshot.nodes}
    if strange := [lun for lun in readable if any(key.key not in known for key in lun.keys)]:
        yield Finding(Severity.WARNING, f"Keys of no configured node are registered on {_named(strange)}.")
    yield from _of_paths(snapshot)


def _of_paths(snapshot: Snapshot) -> Iterator[Finding]:
    cut = [lun for lun in snapshot.luns if not any(path.up for path in lun.paths)]
    if cut:
        yield Finding(Severity.BAD, f"No path to {_named(cut)} is up.")
    for lun in snapshot.luns:
        down = [path for path in lun.paths if not path.up]
        up = [path for path in lun.paths if path.up]
        if down and up:
            severity = Severity.BAD if len(up) == 1 else Severity.WARNING
            last = ": one path is left" if len(up) == 1 else ""
            why = f" ({down[0].error})" if down[0].error else ""
            are = "is" if len(down) == 1 else "are"
            yield Finding(severity, f"{words.names([p.name for p in down])} to {_name(lun)} {are} down{why}{last}.")
        if bare := [path.name for path in up if not path.registered]:
            yield Finding(
                Severity.WARNING,
                f"{words.names(bare)} to {_name(lun)}: up, but this node's key is not on it; not counted.",
            )


def _named(luns: list[LunSnapshot]) -> str:
    return words.names([_name(lun) for lun in luns])


def _name(lun: LunSnapshot) -> str:
    return lun.name or lun.wwid


# --- the journal --------------------------------------------------------------------------------------------------


def _of_journal(readings: Readings) -> Iterator[Finding]:
    journal, now = readings.journal, readings.now.unix_s
    if journal.failed:
        yield Finding(Severity.BAD, f"The journal of fences cannot be read: {journal.problem}.")
        return
    for event in last_fences(journal):
        if now - event.at_unix_s < OLD_FENCE_S and not _is_back(event.target, readings):
            yield from _of_fence(event, now)
    for event in journal.monitors:
        who, when = event.target or "an unnamed node", words.ago(event.at_unix_s + event.took_s, now)
        if event.outcome is not Outcome.SUCCESS:
            why = event.error or "it ended without a verdict"
            yield Finding(Severity.BAD, f"A fence of {who} would not work, as of {when}: {why}")
        elif now - event.at_unix_s > OLD_MONITOR_S:
            yield Finding(Severity.WARNING, f"Whether a fence of {who} would work was last tried {when}.")


def last_fences(journal: JournalReading) -> list[Event]:
    """Of each target the latest fence that is told."""
    latest: dict[str, Event] = {}
    for event in journal.story:
        if event.kind is EventKind.FENCE:
            latest.setdefault(event.target, event)
    return list(latest.values())


def _of_fence(event: Event, now: float) -> Iterator[Finding]:
    who, when = event.target or "an unnamed node", words.ago(event.at_unix_s + event.took_s, now)
    match event.outcome:
        case Outcome.SUCCESS:
            if Proof.POWER not in event.proofs:
                weak = ", by a plain PREEMPT: commands it had queued may have landed" if event.weak else ""
                yield Finding(
                    Severity.WARNING,
                    f"{who} was fenced {when} on {proved(event)} alone{weak}: it was not seen powered off.",
                )
        case Outcome.FAILURE:
            yield Finding(
                Severity.BAD, f"The last attempt to fence {who} failed {when}: {event.error or 'no reason given'}"
            )
        case Outcome.UNKNOWN:
            yield Finding(
                Severity.BAD, f"The last attempt to fence {who}, {when}, ended without a verdict.", "Fence it again."
            )
        case _:
            assert_never(event.outcome)


def proved(event: Event) -> str:
    """``power and storage``."""
    return words.names([str(proof) for proof in event.proofs]) if event.proofs else "nothing"


def _is_back(target: str, readings: Readings) -> bool:
    """Whether the node is registered again, on every LUN that can be read: it has been unfenced since."""
    if (snapshot := readings.snapshot.fresh) is None:
        return False
    keys = {node.key for node in snapshot.nodes if node.name == target}
    readable = [lun for lun in snapshot.luns if readable_now(lun, snapshot)]
    return bool(keys and readable) and all(any(key.key in keys for key in lun.keys) for lun in readable)
