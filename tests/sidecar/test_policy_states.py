# SPDX-License-Identifier: Apache-2.0
"""The promises of docs/decisions/0008, for whatever may happen in whatever order.

The machine keeps a model of the world beside the policy: when the last good probe of a path began, what was read, since
when the requirement has been met or unmet at every moment that anybody could see. It never looks inside the policy.
"""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fencer.sidecar.lun_state import Cause
from fencer.sidecar.policy import Decision, Policy
from fencer.sidecar.reports import (
    Alive,
    ListedLun,
    ListedPath,
    LunSilent,
    LunsListed,
    PathGone,
    PathRegistered,
    PathSeen,
)
from fencer.sidecar.settings import PolicySettings, Requirement, SidecarTiming, TargetReset, loss_bound_s
from fencer.state.snapshot import PolicyState, RegistrationState
from tests.sidecar.seen import healthy, listed, lun_seen

TIMING = SidecarTiming(1.0, 1.0, 1.0, 1.0, 5.0, 6.0, 2.0, 0.5)
LUNS = {"x": ("sda", "sdb"), "y": ("sdc",)}
PATHS = [(lun, path) for lun, paths in LUNS.items() for path in paths]
GOOD = (RegistrationState.REGISTERED, RegistrationState.UNPROTECTED)
FENCED = (RegistrationState.PREEMPTED, RegistrationState.SHUT_OUT)


def enough(require: Requirement, reachable: int, luns: int) -> bool:
    return {
        Requirement.ALL: reachable == luns,
        Requirement.ANY: reachable > 0,
        Requirement.MAJORITY: 2 * reachable > luns,
    }[require]


class PolicyMachine(RuleBasedStateMachine):
    """Time passes in steps of at most a decision's interval, and after each a decision is made."""

    @initialize(require=st.sampled_from(list(Requirement)), reset=st.sampled_from(list(TargetReset)))
    def begin(self, require: Requirement, reset: TargetReset) -> None:
        self.require, self.reset = require, reset
        self.now = 50.0
        self.policy = Policy(PolicySettings(TIMING, require, reset), self.now)
        self.good = dict.fromkeys(PATHS, self.now)
        self.registered = dict.fromkeys(PATHS, True)
        self.unconfirmed_since_s: dict[tuple[str, str], float] = {}
        self.read = dict.fromkeys(LUNS, (self.now, RegistrationState.REGISTERED))
        self.alive_s = self.now
        self.fenced = False
        self.forgot = False
        self.paused_until_s = 0.0
        self.paused = False
        """Until the first decision after its end: a pause forgives what was lost in it."""
        self.unmet_since_s: float | None = None
        """Unmet at every moment since."""
        self.flapping_since_s: float | None = None
        """Not once met for settle_s without a break since."""
        self.met_since_s: float | None = self.now
        for report in healthy(self.now, LUNS):
            self.policy.take(report)
        self.address = dict.fromkeys(PATHS, 0)
        self.listed = dict(self.address)
        """Where a path was when it was last listed; without those that only answered since they were gone."""
        self.ever: list[Decision] = []
        self.decide()

    # --- the model ------------------------------------------------------------------------------------------------

    def met(self) -> bool:
        if self.now - self.alive_s > TIMING.path_stale_s:
            return False
        reachable = 0
        for lun, paths in LUNS.items():
            fresh = [
                self.registered[lun, path]
                and self.now - self.unconfirmed_since_s.get((lun, path), self.now) <= TIMING.registration_stale_s
                and self.now - self.good[lun, path] <= TIMING.path_stale_s
                for path in paths
                if (lun, path) in self.good
            ]
            at_s, registration = self.read[lun]
            reachable += any(fresh) and self.now - at_s <= TIMING.registration_stale_s and registration in GOOD
        return enough(self.require, reachable, len(LUNS))

    def note(self) -> None:
        """What this moment adds to the history."""
        if self.paused:
            self.unmet_since_s = self.flapping_since_s = self.met_since_s = None
        elif self.met():
            self.unmet_since_s = None
            self.met_since_s = self.now if self.met_since_s is None else self.met_since_s
            if self.now - self.met_since_s >= TIMING.settle_s:
                self.flapping_since_s = None
        else:
            self.met_since_s = None
            self.unmet_since_s = self.now if self.unmet_since_s is None else self.unmet_since_s
            self.flapping_since_s = self.now if self.flapping_since_s is None else self.flapping_since_s

    def time_goes_on(self) -> None:
        """Until just before the next reports: what has grown stale by then was stale, whoever mends it now."""
        self.now += TIMING.decide_interval_s
        self.note()

    def decide(self) -> None:
        self.paused = self.paused and self.now < self.paused_until_s
        self.note()
        decision = self.policy.decide(self.now)
        before = self.ever[-1] if self.ever else None
        if before is not None and before.state is PolicyState.SELF_FENCE:
            assert decision == before
            return
        self.ever.append(decision)
        doomed = self.fenced or (self.forgot and self.reset is TargetReset.SELF_FENCE)
        if decision.state is PolicyState.SELF_FENCE:
            assert doomed or self.unmet_since_s is not None, "self-fence although the requirement is met"
            if not doomed:
                assert self.flapping_since_s is not None
                assert self.now - self.flapping_since_s >= TIMING.grace_s, "self-fence before the end of the grace"
                assert decision.cause not in (Cause.PREEMPTED, Cause.SHUT_OUT)
            return
        assert not doomed, "no self-fence after a preemption"
        if self.unmet_since_s is not None:
            assert decision.state is PolicyState.DEGRADED
            assert decision.grace_remaining_s is not None
            assert self.flapping_since_s is not None
            # The grace begins at the decision after the loss.
            latest_s = TIMING.grace_s + TIMING.decide_interval_s
            assert self.now - self.flapping_since_s < latest_s, "the grace was stretched"

    # --- what happens ---------------------------------------------------------------------------------------------

    @rule(path=st.sampled_from(PATHS), age_s=st.sampled_from((0.0, 0.4, 1.0)))
    def a_path_answers(self, path: tuple[str, str], age_s: float) -> None:
        at_s = self.now - age_s
        self.policy.take(PathSeen(*path, at_s, True))
        self.good[path] = max(at_s, self.good.get(path, -1e9))
        if path not in self.registered:
            self.registered[path] = False
        self.note()

    @rule(path=st.sampled_from(PATHS))
    def a_path_fails(self, path: tuple[str, str]) -> None:
        self.policy.take(PathSeen(*path, self.now, False, "EIO"))
        self.good[path] = -1e9
        self.registered[path] = False
        self.unconfirmed_since_s.pop(path, None)
        self.note()

    @rule(path=st.sampled_from(PATHS))
    def a_path_goes(self, path: tuple[str, str]) -> None:
        self.policy.take(PathGone(*path, self.now))
        self.listed.pop(path, None)
        self.good.pop(path, None)
        self.registered.pop(path, None)
        self.unconfirmed_since_s.pop(path, None)
        self.note()

    @rule(path=st.sampled_from(PATHS))
    def a_path_is_registered(self, path: tuple[str, str]) -> None:
        self.policy.take(PathRegistered(*path, self.now))
        if path in self.registered:
            self.registered[path] = True
            self.unconfirmed_since_s.pop(path, None)
        self.note()

    @rule(replaced=st.sampled_from([None, *PATHS]), first=st.booleans())
    def paths_are_listed(self, replaced: tuple[str, str] | None, first: bool) -> None:
        """first: by another observing process. Perhaps a path was replaced, and nobody was there to see it."""
        if replaced is not None:
            self.address[replaced] += 1
        self.policy.take(
            LunsListed(
                self.now,
                tuple(
                    ListedLun(lun, lun, tuple(ListedPath(path, f"{self.address[lun, path]}:0:0:0") for path in paths))
                    for lun, paths in LUNS.items()
                ),
                first,
            )
        )
        for path in PATHS:
            if self.listed.get(path) != self.address[path]:
                self.listed[path] = self.address[path]
                self.good.pop(path, None)
                self.registered[path] = False
                self.unconfirmed_since_s.pop(path, None)
            elif first and self.registered[path]:
                self.unconfirmed_since_s.setdefault(path, self.now)
        self.note()

    @rule(lun=st.sampled_from(sorted(LUNS)), registration=st.sampled_from(list(RegistrationState)))
    def registrations_are_read(self, lun: str, registration: RegistrationState) -> None:
        self.policy.take(lun_seen(lun, self.now, registration))
        self.read[lun] = (self.now, registration)
        self.fenced = self.fenced or registration in FENCED
        self.forgot = self.forgot or registration is RegistrationState.TARGET_FORGOT
        self.note()

    @rule(lun=st.sampled_from(sorted(LUNS)))
    def registrations_are_silent(self, lun: str) -> None:
        self.policy.take(LunSilent(lun, self.now, "timed out"))

    @rule()
    def the_observers_live(self) -> None:
        self.policy.take(Alive(self.now))
        self.alive_s = self.now

    @rule(steps=st.integers(1, 8))
    def all_is_well(self, steps: int) -> None:
        for _ in range(steps):
            self.paths_are_listed(None, first=False)
            self.time_goes_on()
            for report in healthy(self.now, LUNS):
                if not isinstance(report, LunsListed):
                    self.policy.take(report)
            self.good = dict.fromkeys(PATHS, self.now)
            self.registered = dict.fromkeys(PATHS, True)
            self.unconfirmed_since_s = {}
            self.read = dict.fromkeys(LUNS, (self.now, RegistrationState.REGISTERED))
            self.alive_s = self.now
            self.decide()

    @rule(steps=st.integers(1, 25), reads=st.booleans(), lost=st.sampled_from([None, *PATHS]))
    def paths_answer_but_nobody_registers(self, steps: int, reads: bool, lost: tuple[str, str] | None) -> None:
        """Perhaps a path failed once before; perhaps no registrations are read."""
        if lost is not None:
            self.a_path_fails(lost)
        for _ in range(steps):
            self.time_goes_on()
            self.the_observers_live()
            for path in PATHS:
                self.a_path_answers(path, 0.0)
            for lun in LUNS if reads else ():
                self.registrations_are_read(lun, RegistrationState.REGISTERED)
            self.decide()

    @rule(steps=st.integers(1, 30))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            self.now += TIMING.decide_interval_s
            self.decide()

    @rule(back_s=st.floats(0, 100))
    def the_clock_goes_back(self, back_s: float) -> None:
        decision = self.policy.decide(self.now - back_s)
        self.decide()
        assert decision == self.policy.decide(self.now)

    @precondition(lambda self: not self.fenced and not self.forgot)
    @rule(seconds=st.sampled_from((0.5, 5.0)))
    def maintenance(self, seconds: float) -> None:
        self.decide()
        self.policy.pause(self.now + seconds)
        self.paused_until_s, self.paused = self.now + seconds, True
        self.note()

    @rule()
    def a_reload(self) -> None:
        self.policy.reconfigure(PolicySettings(TIMING, self.require, self.reset), self.now)
        for path, at_s in self.good.items():
            if -1e9 < at_s < self.now - TIMING.path_stale_s:  # a path that had failed stays as it is
                self.good[path], self.registered[path] = -1e9, False
        for lun, (at_s, registration) in self.read.items():
            if self.now - at_s > TIMING.registration_stale_s:
                self.read[lun] = (-1e9, registration)
        self.met_since_s = None
        self.note()

    @invariant()
    def decided(self) -> None:
        self.decide()


PolicyMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestPolicyStates = pytest.mark.slow(PolicyMachine.TestCase)


def machine(require: Requirement = Requirement.ALL) -> PolicyMachine:
    """For a history that was found once."""
    one = PolicyMachine()
    one.begin(require, TargetReset.RE_REGISTER)
    one.decided()
    return one


def test_paths_that_grew_stale_between_two_decisions_have_not_settled() -> None:
    """They answer 0.5 s after they grew stale, and no decision came between. 2 s later the registrations are stale."""
    one = machine()
    one.time_passes(5)
    one.decided()
    for _ in range(2):
        one.paths_answer_but_nobody_registers(7, False, None)
        one.decided()
    assert one.ever[-1].state is PolicyState.SELF_FENCE


def test_a_reload_leaves_a_failed_path_as_it_is() -> None:
    one = machine()
    one.a_path_fails(("x", "sdb"))
    one.a_path_is_registered(("x", "sdb"))
    one.decided()
    one.a_reload()
    one.a_path_fails(("x", "sda"))
    one.decided()
    one.paths_answer_but_nobody_registers(5, False, None)
    one.decided()
    assert one.ever[-1].state is PolicyState.DEGRADED


# --- exhaustively, in a small world --------------------------------------------------------------------------------

SMALL = SidecarTiming(1.0, 0.25, 1.0, 0.25, 5.0, 3.0, 1.5, 0.5)


def test_every_history_of_one_path_over_11_half_seconds() -> None:
    """One LUN, one path that is up or down in each half second: the bound, no earlier end, and none for a
    path that was up."""
    luns = {"x": ("sda",)}
    ends = 0
    for history in itertools.product((True, False), repeat=11):
        policy = Policy(PolicySettings(SMALL), 0.0)
        for report in healthy(0.0, luns):
            policy.take(report)
        assert policy.decide(0.0).state is PolicyState.KEEPALIVE
        flapping: float | None = None
        up_since = 0.0
        fenced: float | None = None
        for step, up in enumerate(history, 1):
            now = step * 0.5
            policy.take(Alive(now))
            policy.take(lun_seen("x", now))
            policy.take(PathSeen("x", "sda", now, up, "" if up else "EIO"))
            if up:
                policy.take(PathRegistered("x", "sda", now))
                if step > 1 and not history[step - 2]:
                    up_since = now
                if now - up_since >= SMALL.settle_s:
                    flapping = None
            elif flapping is None:
                flapping = now
            decision = policy.decide(now)
            due = not up and flapping is not None and now - flapping >= SMALL.grace_s
            fenced = now if fenced is None and due else fenced
            assert (decision.state is PolicyState.SELF_FENCE) is (fenced is not None), (history[:step], decision)
        ends += fenced is not None
    assert 0 < ends < 2**11


@pytest.mark.parametrize("probe_offset_s", [0.0, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("hangs", [True, False])
@pytest.mark.parametrize("decide_offset_s", [0.0, 0.1, 0.24])
def test_the_published_bound_holds_from_the_moment_of_the_loss(
    probe_offset_s: float, hangs: bool, decide_offset_s: float
) -> None:
    """Probes begin once a second, wherever the loss falls between them; the observers may be gone with the paths."""
    timing, lost_s = SidecarTiming(grace_s=10.0), 30.0
    policy = Policy(PolicySettings(timing), 0.0)
    for report in healthy(0.0, LUNS):
        policy.take(report)
    now, next_probe_s = decide_offset_s, probe_offset_s
    while (decision := policy.decide(now)).state is not PolicyState.SELF_FENCE:
        now += timing.decide_interval_s
        if now >= next_probe_s:
            began_s, next_probe_s = next_probe_s, next_probe_s + timing.probe_interval_s
            if began_s <= lost_s:
                for report in healthy(began_s, LUNS):
                    policy.take(report)
            elif not hangs:
                policy.take(Alive(began_s))
                for lun, path in PATHS:
                    policy.take(PathSeen(lun, path, began_s, False, "EIO"))
        assert now < 100
    assert lost_s + timing.grace_s <= now <= lost_s + loss_bound_s(timing, 0.0)
    assert decision.cause in (Cause.PATHS_LOST, Cause.OBSERVERS_SILENT)


def test_an_empty_list_is_no_list() -> None:
    policy = Policy(PolicySettings(TIMING, Requirement.ALL), 0.0)
    policy.take(listed(0.0, {}))
    assert policy.decide(0.0).state is PolicyState.STARTING
