"""Feeding one watchdog in time, and knowing how well that went. The clock is the caller's; nothing here waits."""

from fencer.watchdog.device import Watchdog
from fencer.watchdog.snapshot import WatchdogSnapshot

FEEDINGS_A_TIMEOUT = 3
LONGEST_INTERVAL_S = 10.0
"""Also of a timeout of minutes, so that a gap is seen soon."""

LATE_FACTOR = 1.5
"""A gap this much longer than the interval counts as late."""


class Feeding:
    """An armed watchdog that was last fed at a known moment. Fed once as it is made. Unit: seconds, monotonic."""

    def __init__(self, watchdog: Watchdog, now_s: float) -> None:
        self._watchdog = watchdog
        self.interval_s = min(watchdog.support.timeout_s / FEEDINGS_A_TIMEOUT or 1.0, LONGEST_INTERVAL_S)
        self._keepalives = 0
        self._late = 0
        self._worst_gap_s = 0.0
        self._last_s = now_s
        self.feed(now_s)

    @property
    def watchdog(self) -> Watchdog:
        return self._watchdog

    @property
    def due_s(self) -> float:
        """When to feed next."""
        return self._last_s + self.interval_s

    def feed(self, now_s: float) -> None:
        """Raises WatchdogError; the gap then goes on."""
        self._watchdog.keepalive()
        gap_s = now_s - self._last_s
        self._worst_gap_s = max(self._worst_gap_s, gap_s)
        self._late += gap_s > self.interval_s * LATE_FACTOR
        self._keepalives += 1
        self._last_s = now_s

    def snapshot(self) -> WatchdogSnapshot:
        """For readers."""
        support = self._watchdog.support
        return WatchdogSnapshot(
            device=support.device,
            identity=support.identity,
            armed=self._watchdog.armed,
            nowayout=support.nowayout,
            timeout_s=support.timeout_s,
            keepalive_interval_s=self.interval_s,
            keepalives=self._keepalives,
            last_keepalive_monotonic_s=self._last_s,
            worst_gap_s=self._worst_gap_s,
            late_keepalives=self._late,
        )


NOT_ARMED = WatchdogSnapshot("", "", False, False, 0.0, 0.0, 0, 0.0, 0.0, 0)
"""Before the first feeding."""
