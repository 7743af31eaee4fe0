# SPDX-License-Identifier: Apache-2.0
"""Finds what is wrong in the journal: fences that failed or repeat, self-fences, monitors that fail or are old."""

from collections.abc import Iterator
from typing import Final, assert_never

from fencer.exporter.page import words
from fencer.exporter.page.finding import Finding, FindingSeverity
from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.model import Proof
from fencer.state.readings import JournalReading, Readings, readable_now

RECENT_S: Final = 3600.0
"""How long after a fence or a self-fence the page shows a finding, even if the node has recovered."""
REPEATED_S: Final = 86400.0
REPEATED_TIMES: Final = 3
OLD_FENCE_S: Final = 7 * 86400.0
OLD_MONITOR_S: Final = 86400.0


def journal_findings(readings: Readings) -> Iterator[Finding]:
    """The findings of the journal, and of the last self-fence that the sidecar names."""
    journal, now = readings.journal, readings.now.unix_s
    if journal.failed:
        text = f"The journal of fences cannot be read: {journal.problem}."
        yield Finding(FindingSeverity.BAD, text, "HalvmJournalUnreadable")
        yield from _of_last_self_fence(readings)
        return
    told: set[str] = set()
    for event in _last_fences(journal):
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
    for event in _last_fences(journal):
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


def _last_fences(journal: JournalReading) -> list[Event]:
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
