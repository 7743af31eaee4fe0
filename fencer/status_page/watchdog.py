"""What feeds the watchdog, and what would end that."""

from typing import Final

from fencer.metrics.sidecar import grace_remaining_s
from fencer.readings import Readings
from fencer.status_page import words
from fencer.status_page.markup import Child, Markup, element, joined, mark
from fencer.watchdog.snapshot import PolicyState, Snapshot


def watchdog_rows(snapshot: Snapshot, readings: Readings, *, stale: bool) -> Markup:
    """Its state, its device, and how much time is left before it resets this node."""
    watchdog, now = snapshot.watchdog, readings.now.unix_s
    rows: list[tuple[str, Child]] = [("State", _state(snapshot))]
    if watchdog.device:
        armed = mark("armed", "good") if watchdog.armed else mark("not armed", "bad")
        kind = f" {watchdog.device}, {watchdog.identity}, timeout {words.duration(watchdog.timeout_s)}"
        rows.append(("Device", joined((armed, kind, ", no way out" if watchdog.nowayout else ""))))
    else:
        rows.append(("Device", joined((mark("none", "warn"), " configured"))))
    if watchdog.armed and watchdog.last_keepalive_monotonic_s > 0 and not stale:
        fed_s = max(0.0, snapshot.written_monotonic_s - watchdog.last_keepalive_monotonic_s)
        left_s = max(0.0, watchdog.timeout_s - fed_s)
        seen_s = readings.snapshot.age_s or 0.0
        bar = element(
            "meter", min="0", max=f"{watchdog.timeout_s:g}", low=f"{watchdog.timeout_s / 3:g}",
            optimum=f"{watchdog.timeout_s:g}", value=f"{left_s:g}", aria_label="time left",
        )  # fmt: skip
        rows.append(
            ("Time left", joined((bar, f" {words.duration(left_s)} left when last seen, {words.duration(seen_s)} ago")))
        )
    if watchdog.keepalives:
        late = f", {words.count(watchdog.late_keepalives, 'late one')}" if watchdog.late_keepalives else ", none late"
        text = f"{words.duration(watchdog.worst_gap_s)} among {words.count(watchdog.keepalives, 'keepalive')}{late}"
        rows.append(("Longest gap", text))
    if snapshot.grace_remaining_s is not None:
        left = f"{words.duration(grace_remaining_s(snapshot))} of {words.duration(snapshot.grace_s)} left"
        rows.append(("Grace", joined((mark("running", "bad"), f" {left}"))))
    rows.append(("All paths lost", f"this node is reset within {words.duration(snapshot.bound_s)}"))
    if snapshot.paused_until_unix_s is not None:
        rows.append(("Paused until", words.moment(snapshot.paused_until_unix_s, now)))
    if snapshot.last_self_fence_unix_s > 0:
        when = (
            f"{words.moment(snapshot.last_self_fence_unix_s, now)}, {words.ago(snapshot.last_self_fence_unix_s, now)}"
        )
        rows.append(("Last self-fence", f"{when}: {snapshot.last_self_fence_reason or 'no reason was kept'}"))
    if snapshot.observer_restarts:
        rows.append(("Observers", f"started again {words.count(snapshot.observer_restarts, 'time')}"))
    return element("dl", *(part for term, text in rows for part in (element("dt", term), element("dd", text))))


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
