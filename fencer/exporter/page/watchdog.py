# SPDX-License-Identifier: Apache-2.0
"""The section of the watchdog: its state, device, keepalives, and the time until a reset."""

from typing import Final

from fencer.exporter.metrics.sidecar import grace_remaining_s
from fencer.exporter.page import words
from fencer.exporter.page.markup import Child, Markup, element, joined, mark
from fencer.state.readings import Readings
from fencer.state.snapshot import PolicyState, Snapshot

_RESETS: Final = (PolicyState.KEEPALIVE, PolicyState.DEGRADED, PolicyState.SELF_FENCE)
"""The states in which a loss of the storage resets the node."""


def watchdog_rows(snapshot: Snapshot, readings: Readings, *, stale: bool) -> Markup:
    """Rows of the state, the device, and the time left before the node is reset."""
    watchdog, now = snapshot.watchdog, readings.now.unix_s
    rows: list[tuple[str, Child]] = [("State", _state(snapshot)), ("Device", _device(snapshot))]
    if watchdog.armed and watchdog.last_keepalive_monotonic_s > 0 and not stale:
        fed_s = max(0.0, snapshot.written_monotonic_s - watchdog.last_keepalive_monotonic_s)
        left_s = max(0.0, watchdog.timeout_s - fed_s)
        seen_s = readings.snapshot.age_s or 0.0
        bar = element(
            "meter", min="0", max=f"{watchdog.timeout_s:g}", low=f"{watchdog.timeout_s / 3:g}",
            optimum=f"{watchdog.timeout_s:g}", value=f"{left_s:g}", aria_label="time left",
        )  # fmt: skip
        at = words.moment(snapshot.written_unix_s + left_s, now)
        text = (
            f" {words.duration(left_s)} left when last seen, {words.duration(seen_s)} ago: unless fed, it fires at {at}"
        )
        rows.append(("Time left", joined((bar, text))))
    if watchdog.keepalives:
        late = f", {words.count(watchdog.late_keepalives, 'late one')}" if watchdog.late_keepalives else ", none late"
        text = f"{words.duration(watchdog.worst_gap_s)} among {words.count(watchdog.keepalives, 'keepalive')}{late}"
        rows.append(("Longest gap", text))
    if snapshot.grace_remaining_s is not None:
        left_s = grace_remaining_s(snapshot)
        at = words.moment(snapshot.written_unix_s + left_s, now)
        left = f"{words.duration(left_s)} of {words.duration(snapshot.grace_s)} left, until {at}"
        rows.append(("Grace", joined((mark("running", "bad"), f" {left}"))))
    rows.append(("All paths lost", _bound(snapshot)))
    if snapshot.paused_until_unix_s is not None:
        until = snapshot.paused_until_unix_s
        rows.append(("Paused until", f"{words.moment(until, now)}, {words.ago(until, now)}"))
    if snapshot.last_self_fence_unix_s > 0:
        when = (
            f"{words.moment(snapshot.last_self_fence_unix_s, now)}, {words.ago(snapshot.last_self_fence_unix_s, now)}"
        )
        rows.append(("Last self-fence", f"{when}: {snapshot.last_self_fence_reason or 'no reason was kept'}"))
    if snapshot.observer_restarts:
        rows.append(("Observers", f"started again {words.count(snapshot.observer_restarts, 'time')}"))
    return element("dl", *(part for term, text in rows for part in (element("dt", term), element("dd", text))))


def _device(snapshot: Snapshot) -> Markup:
    watchdog = snapshot.watchdog
    if not watchdog.device:
        starting = snapshot.state is PolicyState.STARTING
        return joined((mark("none", "warn"), " armed yet" if starting else " configured"))
    armed = mark("armed", "good") if watchdog.armed else mark("not armed", "bad")
    asked = watchdog.asked_timeout_s
    other = f" (asked for {words.duration(asked)})" if asked > 0 and abs(asked - watchdog.timeout_s) > 1 else ""
    text = f" {watchdog.device}, {watchdog.identity}, timeout {words.duration(watchdog.timeout_s)}{other}"
    software = (
        joined((" ", mark("software", "warn"), " a kernel that is stuck is not reset")) if watchdog.software else None
    )
    return joined((armed, text, ", no way out" if watchdog.nowayout else "", software))


def _bound(snapshot: Snapshot) -> Markup:
    """The bound until a reset, or why none holds now."""
    if snapshot.state is PolicyState.PAUSED:
        return joined((mark("no reset", "warn"), " while self-fencing is paused"))
    if snapshot.state not in _RESETS or (snapshot.watchdog.device and not snapshot.watchdog.armed):
        return joined((mark("no reset", "warn"), " nothing is armed"))
    return joined((f"this node is reset within {words.duration(snapshot.bound_s)}",))


_STATE_CLASSES: Final = {
    PolicyState.KEEPALIVE: "good",
    PolicyState.SELF_FENCE: "bad",
    PolicyState.DEGRADED: "warn",
    PolicyState.PAUSED: "warn",
    PolicyState.STOPPED: "warn",
    PolicyState.STARTING: "",
}


def _state(snapshot: Snapshot) -> Markup:
    why = f" {'; '.join(snapshot.reasons)}" if snapshot.reasons else ""
    return joined((mark(snapshot.state, _STATE_CLASSES[snapshot.state]), why))
