# SPDX-License-Identifier: Apache-2.0
"""Decides whether this node may go on: KEEPALIVE, DEGRADED or SELF_FENCE, by the observers' reports. Pure.

    policy = Policy(settings, now)
    policy.take(report)              # as they come
    decision = policy.decide(now)      # at least every decide_interval_s, and after each batch of reports

While too few LUNs are reachable (fencer.sidecar.lun_state) the grace runs; it is whole again only when enough have been
reachable for settle_s without a break, so flapping cannot stretch it. A preemption has no grace. A self-fence is final.
docs/decisions/0008-self-fence-bound.md argues all this and the bound.
"""

from fencer._typing import NamedTuple
from fencer.sidecar.lun_state import Cause, LunStates, Obstacle
from fencer.sidecar.reports import LunSeen, LunsListed, PathGone, PathSeen, Report, StillWell
from fencer.sidecar.settings import PolicySettings, TargetReset
from fencer.state.snapshot import PolicyState, RegistrationState


class Decision(NamedTuple):
    """What to do now. SELF_FENCE: feed no more; cause says why and reasons[0] is the sentence for the journal.

    state is STARTING until the first complete look: nothing is armed yet. PAUSED feeds, as KEEPALIVE and DEGRADED do.
    grace_remaining_s: None unless the grace is running.
    """

    state: PolicyState
    reasons: tuple[str, ...] = ()
    grace_remaining_s: float | None = None
    cause: Cause | None = None


def with_reasons(decision: Decision, reasons: tuple[str, ...]) -> Decision:
    """The decision with what else is not as it should be, where it goes on feeding or has not begun: KEEPALIVE becomes
    DEGRADED. It never takes anything back."""
    if not reasons or decision.state is PolicyState.SELF_FENCE:
        return decision
    state = PolicyState.DEGRADED if decision.state is PolicyState.KEEPALIVE else decision.state
    return decision._replace(state=state, reasons=(*decision.reasons, *reasons))


class Policy:
    """The state between reports and decisions. Times given must not be of different clocks; going back is ignored.

    began_s: now. resumed: a predecessor left the watchdog running, so the first look, too, has only the grace to
    become complete.
    """

    def __init__(self, settings: PolicySettings, began_s: float, *, resumed: bool = False) -> None:
        self._settings = settings
        self._now = began_s
        self._known = LunStates(settings, began_s)
        self._armed = resumed
        if resumed:
            self._known.serve()
        self._grace_s = settings.timing.grace_s
        self._lost_since_s: float | None = None
        self._met_since_s: float | None = None
        self._interrupted = False
        self._fatal: Obstacle | None = None
        self._paused_until_s: float | None = None
        self._end: Decision | None = None
        self._silent_since_s: float | None = None

    def reconfigure(self, settings: PolicySettings, now: float) -> None:
        """Other settings from now on. What is known stays known; grace, pause and what no grace can mend go on."""
        # A loss from before must not gain by a change: the shorter grace goes on until all has settled under the new
        # settings, and known keeps what was stale. So it ends within the longer of both bounds, and a later loss within
        # the new one.
        self._grace_s = min(self._grace_s, settings.timing.grace_s)
        self._met_since_s = None
        self._settings = settings
        self._known.reconfigure(settings, max(now, self._now))

    def explain_silence(self, reason: str) -> None:
        """Notes why the observing process has ended, for the reason that is shown while there is none."""
        self._known.explain_silence(reason)
        self._silent_since_s = None

    def needs_new_observer(self) -> bool:
        """Whether the observing process has been silent for a quarter of the grace: a new one has the rest to see
        that all is well. Says so once in that time."""
        if self._silent_since_s is None or self._now - self._silent_since_s < self._settings.timing.grace_s / 4:
            return False
        self._silent_since_s = self._now
        return True

    @property
    def stale_from_s(self) -> float:
        """Before this time no decision differs from the latest one, unless something is reported, a grace or a pause
        runs, or a change is asked for. It may be too early, never too late."""
        return self._known.stale_from_s

    @property
    def joining(self) -> tuple[str, ...]:
        """LUNs that were added and are not required yet, one phrase each."""
        return self._known.joining

    # --- what is seen ---------------------------------------------------------------------------------------------

    def take(self, report: Report) -> None:
        """Takes one report."""
        if isinstance(report, StillWell):
            self._take_well(report)
            return
        # A loss that is over before the next decision is a loss all the same: it must not count as settled. So what
        # grew stale before this report is noticed before the report mends it ...
        if self._is_armed_and_whole and report.at_s > max(self._now, self._known.stale_from_s):
            self._interrupted = not self._known.enough(self._known.judged(report.at_s)[0])
        if isinstance(report, LunSeen) and self._fatal is None and self._known.is_news(report):
            self._fatal = self._fatal_by(report)
        self._known.take(report)
        # ... and what the report loses is noticed before the next one mends it.
        if self._is_armed_and_whole and _may_lose(report):
            self._interrupted = not self._known.enough(self._known.judged(self._now)[0])

    def _take_well(self, again: StillWell) -> None:
        """As if each of them had come by itself. Together, where nothing can have grown stale before the last one."""
        if not again.paths and not again.luns:
            self._known.take(again)
            return
        oldest_s, newest_s = again.span_s
        stale_from_s = min(self._known.stale_from_s, oldest_s + self._settings.timing.path_stale_s)
        if not self._is_armed_and_whole or newest_s <= max(self._now, stale_from_s):
            self._known.take(again)
            return
        for one in again.parts():
            if self._is_armed_and_whole and one.span_s[0] > max(self._now, self._known.stale_from_s):
                self._interrupted = not self._known.enough(self._known.judged(one.span_s[0])[0])
            self._known.take(one)
        self._known.take(StillWell((), (), again.registered))

    @property
    def _is_armed_and_whole(self) -> bool:
        return self._armed and not self._interrupted

    def _fatal_by(self, seen: LunSeen) -> Obstacle | None:
        """The loss in a reading that has no grace."""
        name = self._known.name(seen.lun)
        if self._known.is_joining(seen.lun):
            return None
        match seen.registration:
            case RegistrationState.PREEMPTED:
                return Obstacle(Cause.PREEMPTED, f"{name}: our key was preempted: another node fenced this one")
            case RegistrationState.SHUT_OUT:
                return Obstacle(
                    Cause.SHUT_OUT,
                    f"{name}: the target lost all registrations and another node has registered since: "
                    "it may have fenced this one",
                )
            case RegistrationState.TARGET_FORGOT:
                if self._armed and self._settings.on_target_reset is TargetReset.SELF_FENCE:
                    return Obstacle(Cause.TARGET_FORGOT, f"{name}: the target lost all registrations")
        return None

    # --- maintenance ----------------------------------------------------------------------------------------------

    def pause(self, until_s: float) -> None:
        """Starts a pause: until then no loss of paths or registrations resets this node. A preemption does: the other
        node may have taken over the storage."""
        self._paused_until_s = until_s

    def resume(self) -> None:
        """Ends a pause now. The grace begins anew."""
        self._paused_until_s = None
        self._forget_losses()

    def _forget_losses(self) -> None:
        self._lost_since_s = self._met_since_s = None
        self._interrupted = False
        self._grace_s = self._settings.timing.grace_s

    # --- what to do -----------------------------------------------------------------------------------------------

    def decide(self, now: float) -> Decision:
        """What to do at now. Once it says SELF_FENCE it never says anything else."""
        self._now = now = max(now, self._now)
        if self._end is not None:
            return self._end
        if self._paused_until_s is not None and now >= self._paused_until_s:
            self.resume()
        if self._fatal is not None:
            return self._fence(self._fatal.cause, self._fatal.text)
        obstacles, worries = self._known.judged(now)
        met = self._known.enough(obstacles)
        if not any(each is not None and each.cause is Cause.OBSERVERS_SILENT for each in obstacles):
            self._silent_since_s = None
        elif self._silent_since_s is None:
            self._silent_since_s = now
        if not self._armed:
            if not (met and self._known.is_complete()):
                return Decision(PolicyState.STARTING, _bounded(tuple(each.text for each in obstacles if each)))
            self._armed = True
            self._known.serve()
        reasons = _bounded(tuple(each.text for each in obstacles if each) + worries)
        if self._paused_until_s is not None:
            self._forget_losses()
            return Decision(PolicyState.PAUSED, (f"paused for {self._paused_until_s - now:.0f} s more", *reasons))
        remaining_s = self._grace(now, met)
        if remaining_s == 0.0 and not met:
            causes = [each for each in obstacles if each]
            return self._fence(causes[0].cause, "; ".join(_bounded(tuple(each.text for each in causes))))
        if remaining_s is not None and met:
            reasons = (*reasons, "reachable again, not yet for long enough")
        state = PolicyState.DEGRADED if reasons else PolicyState.KEEPALIVE
        return Decision(state, reasons, remaining_s)

    def _fence(self, cause: Cause, text: str) -> Decision:
        self._end = Decision(PolicyState.SELF_FENCE, (text,), None, cause)
        return self._end

    def _grace(self, now: float, met: bool) -> float | None:
        """What is left of the grace, None when it does not run. Runs from the first loss until all is settled."""
        timing = self._settings.timing
        if not met or self._interrupted:
            self._lost_since_s = now if self._lost_since_s is None else self._lost_since_s
            self._met_since_s = None
        if met:
            self._met_since_s = now if self._met_since_s is None else self._met_since_s
            if now - self._met_since_s >= timing.settle_s:
                self._lost_since_s = None
                self._grace_s = timing.grace_s
        self._interrupted = False
        if self._lost_since_s is None:
            return None
        return max(0.0, self._grace_s - (now - self._lost_since_s))


REASONS_MOST, REASON_CHARS = 48, 400
"""The reasons of one decision, cut so that they fit into a message."""


def _bounded(reasons: tuple[str, ...]) -> tuple[str, ...]:
    told = tuple(text if len(text) <= REASON_CHARS else f"{text[:REASON_CHARS]}..." for text in reasons[:REASONS_MOST])
    more = len(reasons) - len(told)
    return (*told, f"and {more} more") if more > 0 else told


def _may_lose(report: Report) -> bool:
    match report:
        case PathSeen(ok=ok):
            return not ok
        case LunSeen(registration=registration):
            return registration not in (RegistrationState.REGISTERED, RegistrationState.UNPROTECTED)
        case _:
            return isinstance(report, PathGone | LunsListed)
