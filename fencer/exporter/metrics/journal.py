# SPDX-License-Identifier: Apache-2.0
"""Collectors of the journal: events, fences, monitors. Each is a pure function."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from fencer.exporter.metrics import table
from fencer.exporter.metrics.families import Families
from fencer.exporter.metrics.sidecar import state_set
from fencer.exporter.metrics.table import Metric
from fencer.journal.event import Event, EventKind, FenceOutcome, StepName, Total
from fencer.model import Side
from fencer.state.readings import JournalReading, JournalStatus

TARGETS_MOST: Final = 64
OTHER: Final = "(other)"


class _Newest(NamedTuple):
    """The event of a target that was recorded last, regardless of its time."""

    ended_unix_s: float
    success: bool


def collect_journal(journal: JournalReading, out: Families) -> None:
    """Whether the journal can be read, and all its events by kind."""
    state_set(out, table.JOURNAL_STATUS, JournalStatus, journal.status)
    for target, total in _bounded(journal.totals):
        out.add(table.EVENTS, total.events, total.kind, target, total.outcome)
        out.most(table.LAST_EVENT, total.last_unix_s, total.kind, target, total.outcome)


def collect_fences(journal: JournalReading, out: Families) -> None:
    """Fences of other nodes by this one."""
    fences = tuple((target, total) for target, total in _bounded(journal.totals) if total.kind is EventKind.FENCE)
    out.take(_fences, fences, tuple(_newest(journal.fences).items()))
    for steps in journal.steps:
        out.add_histogram(table.STEP_DURATION, steps.buckets, steps.steps, steps.sum_s, steps.kind, steps.name)


def _fences(totals: tuple[tuple[str, Total], ...], newest: tuple[tuple[str, _Newest], ...]) -> Families:
    """The families of fences. A function of its own, because most new events are not fences: then they are reused."""
    out, by_target = Families(), dict(newest)
    for target, total in totals:
        labels = (target, total.action, total.outcome, total.proof)
        out.add(table.FENCES, total.events, *labels)
        out.add_histogram(table.FENCE_DURATION, total.buckets, total.events, total.sum_s, *labels)
        _add_last(total, by_target.get(target), table.LAST_FENCE, table.LAST_FENCE_SUCCESS, target, out)
    return out


def collect_monitors(journal: JournalReading, out: Families) -> None:
    """Whether a fence would have worked at the last monitor."""
    newest, latest = _newest(journal.monitors), dict[str, Total]()
    for target, total in _bounded(journal.totals):
        if total.kind is not EventKind.MONITOR:
            continue
        out.add(table.MONITORS, total.events, target, total.outcome)
        _add_last(total, newest.get(target), table.LAST_MONITOR, table.LAST_MONITOR_SUCCESS, target, out)
        if target not in latest or latest[target].last_unix_s <= total.last_unix_s:
            latest[target] = total
    for target, total in latest.items():
        last = newest.get(target)
        out.put(table.MONITOR_SUCCESS, total.outcome is FenceOutcome.SUCCESS if last is None else last.success, target)
    for event in journal.monitors:
        reachable = bmc_reachable(event)
        if reachable is not None:
            out.put(table.BMC_REACHABLE, reachable, event.target)


def _newest(events: Iterable[Event]) -> Mapping[str, _Newest]:
    """The newest event of each target, by target. events: one for each target."""
    return {e.target: _Newest(e.at_unix_s + e.took_s, e.outcome is FenceOutcome.SUCCESS) for e in events}


def _add_last(
    total: Total, newest: _Newest | None, ended: Metric, succeeded: Metric, target: str, out: Families
) -> None:
    """When the target's last event ended, and its last success.

    newest: None if the journal has dropped it, and for OTHER; then only the times are known.

    An earlier success with a later time was recorded while the clock was ahead. It would hide the failure after it from
    HalvmFenceFailed, which compares the two times. Its real time is unknown, so it is not published. With the
    failure's time instead, it would mean that the target has just been fenced.
    """
    success = total.outcome is FenceOutcome.SUCCESS
    if newest is None:
        out.most(ended, total.last_unix_s, target)
        if success:
            out.most(succeeded, total.last_unix_s, target)
        return
    out.put(ended, newest.ended_unix_s, target)
    if newest.success:
        out.put(succeeded, newest.ended_unix_s, target)
    elif success and total.last_unix_s < newest.ended_unix_s:
        out.most(succeeded, total.last_unix_s, target)


def bmc_reachable(event: Event) -> bool | None:
    """Whether the BMC accepted a session. None: this monitor used no BMC, or an older fence-halvm recorded it."""
    if any(step.name in (StepName.SESSION, StepName.CHASSIS) for step in event.steps):
        return True
    return False if Side.POWER in event.failed else None


def _bounded(totals: tuple[Total, ...]) -> Iterator[tuple[str, Total]]:
    """Each total with its target label. Only TARGETS_MOST targets get one of their own; the others share OTHER."""
    latest: dict[str, float] = {}
    for total in totals:
        latest[total.target] = max(latest.get(total.target, 0.0), total.last_unix_s)
    kept = set(sorted(latest, key=lambda target: (-latest[target], target))[:TARGETS_MOST])
    for total in totals:
        yield (total.target if total.target in kept else OTHER), total
