# SPDX-License-Identifier: Apache-2.0
"""Feeds one watchdog in time and measures the gaps. The clock is the caller's; nothing here waits."""

from fencer.errors import WatchdogError
from fencer.sidecar.policy import Decision, with_reasons
from fencer.sidecar.settings import SidecarTiming
from fencer.sidecar.watchdog_device import Watchdog
from fencer.state.snapshot import PolicyState, WatchdogSnapshot

FEEDS = (PolicyState.KEEPALIVE, PolicyState.DEGRADED, PolicyState.PAUSED)
"""The states in which a watchdog is fed."""

FEEDINGS_A_TIMEOUT = 3
LONGEST_INTERVAL_S = 10.0
"""The longest interval, also of a timeout of minutes, so that a gap shows soon."""

LATE_FACTOR = 1.5
"""A gap this much longer than the interval counts as late."""

RETRY_S = SidecarTiming().decide_interval_s
"""Time to the next attempt after the device refused a keepalive: the longest time between two decisions."""

EARLY_S, EARLY_FACTOR = 1.0, 0.5
"""How much before it is due a keepalive may be sent, at most, and in parts of the interval."""


class Feeding:
    """An armed watchdog that was last fed at a known moment. Unit: seconds, monotonic.

    Fed once as it is made. A device that does not take that is disarmed again: raises WatchdogError.
    problem: why the device did not take the latest keepalive, "" when it did.
    """

    def __init__(self, watchdog: Watchdog, now_s: float) -> None:
        self._watchdog = watchdog
        self.interval_s = min(watchdog.support.timeout_s / FEEDINGS_A_TIMEOUT or LONGEST_INTERVAL_S, LONGEST_INTERVAL_S)
        self._keepalives = 0
        self._late = 0
        self._worst_gap_s = 0.0
        self._last_s = self._due_s = now_s
        self.problem = ""
        try:
            self.feed(now_s)
        except WatchdogError as error:  # the program ends then, and a device that goes on ticking would reset the node
            match watchdog.disarm():
                case True:
                    raise
                case False:
                    what = "nor can it be disarmed: it resets this node"
                case None:
                    what = "whether it is disarmed cannot be told: it may reset this node"
            raise WatchdogError(f"{error}; {what} in {watchdog.support.timeout_s:g} s") from error

    @property
    def watchdog(self) -> Watchdog:
        return self._watchdog

    @property
    def due_s(self) -> float:
        """When the next keepalive is due."""
        return self._due_s

    @property
    def early_s(self) -> float:
        """When it may be sent already, at a wake-up that is for something else."""
        return self._due_s if self.problem else self._due_s - min(EARLY_S, EARLY_FACTOR * self.interval_s)

    def feed(self, now_s: float) -> None:
        """Raises WatchdogError; the gap then goes on, and it is due again after RETRY_S."""
        try:
            self._watchdog.keepalive()
        except WatchdogError as error:
            self.problem, self._due_s = str(error), now_s + RETRY_S
            raise
        self.problem, self._due_s = "", now_s + self.interval_s
        gap_s = now_s - self._last_s
        self._worst_gap_s = max(self._worst_gap_s, gap_s)
        self._late += gap_s > self.interval_s * LATE_FACTOR
        self._keepalives += 1
        self._last_s = now_s

    def judged(self, decision: Decision) -> Decision:
        """The decision, with the problem as one more reason where feeding goes on."""
        return with_reasons(decision, (self.problem,) if self.problem and decision.state in FEEDS else ())

    def snapshot(self) -> WatchdogSnapshot:
        """The watchdog's part of the snapshot."""
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
            software=support.software,
            asked_timeout_s=support.asked_s,
        )


NOT_ARMED = WatchdogSnapshot("", "", False, False, 0.0, 0.0, 0, 0.0, 0.0, 0)
"""The watchdog's part of the snapshot before it is armed."""
