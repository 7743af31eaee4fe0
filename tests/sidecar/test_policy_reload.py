# SPDX-License-Identifier: Apache-2.0
"""The policy when new settings arrive: nothing that runs is stretched, nothing is forgotten."""

import pytest

from fencer.sidecar.lun_state import Cause
from fencer.sidecar.settings import PolicySettings, SidecarTiming
from fencer.state.snapshot import PolicyState, RegistrationState
from tests.sidecar.seen import GRACE_S, SETTLE_S, TICK_S, Bench, healthy, listed, lun_seen


def settings_of(**timing: float) -> PolicySettings:
    return PolicySettings(SidecarTiming(**timing))


@pytest.mark.parametrize("grace_s", [GRACE_S, GRACE_S + 50])
def test_new_settings_do_not_stretch_a_grace_that_runs(grace_s: float) -> None:
    bench = Bench({"L": ("sda",)})
    bench.see("sda", False)
    bench.go(6.0, paths=())
    bench.policy.reconfigure(settings_of(grace_s=grace_s), bench.now)
    bench.go(GRACE_S - 6.0, paths=())
    assert bench.decision.state is PolicyState.DEGRADED
    bench.go(TICK_S, paths=())
    assert bench.decision.state is PolicyState.SELF_FENCE


def test_new_settings_may_shorten_a_grace_that_runs() -> None:
    bench = Bench({"L": ("sda",)})
    bench.see("sda", False)
    bench.go(4.0, paths=())
    bench.policy.reconfigure(settings_of(grace_s=3.0), bench.now)
    assert bench.policy.decide(bench.now).state is PolicyState.SELF_FENCE


def test_a_longer_grace_is_given_once_all_has_settled() -> None:
    bench = Bench({"L": ("sda",)})
    bench.policy.reconfigure(settings_of(grace_s=50.0), bench.now)
    bench.go(SETTLE_S + 2 * TICK_S, paths=("sda",))
    bench.see("sda", False)
    assert bench.policy.decide(bench.now).grace_remaining_s == 50.0


def test_new_settings_start_no_grace_where_nothing_is_lost() -> None:
    bench = Bench()
    bench.policy.reconfigure(settings_of(grace_s=50.0), bench.now)
    assert bench.policy.decide(bench.now) == (PolicyState.KEEPALIVE, (), None, None)


def test_what_was_stale_stays_lost_though_more_is_allowed_now() -> None:
    bench = Bench()
    bench.go(SidecarTiming().registration_stale_s + TICK_S, paths=("sda",), read=False)
    bench.policy.reconfigure(settings_of(probe_deadline_s=60.0, answer_deadline_s=60.0), bench.now)
    decision = bench.policy.decide(bench.now)
    assert decision.reasons == ("L: registrations not read yet: no answer for 8.8 s",)
    bench.take(lun_seen("L", bench.now))
    decision = bench.policy.decide(bench.now)
    assert any("sdb: no answer for 8.8 s" in reason for reason in decision.reasons)


@pytest.mark.parametrize("armed", [True, False])
def test_new_settings_forget_no_preemption(armed: bool) -> None:
    bench = Bench(healthy_at_first=armed)
    bench.take(*healthy(bench.now, bench.luns), lun_seen("L", bench.now, RegistrationState.PREEMPTED))
    bench.policy.reconfigure(settings_of(grace_s=50.0), bench.now)
    bench.take(*healthy(bench.now, bench.luns))
    assert bench.policy.decide(bench.now).cause is Cause.PREEMPTED


def test_new_settings_arm_nothing() -> None:
    bench = Bench(healthy_at_first=False)
    bench.policy.reconfigure(settings_of(grace_s=50.0), bench.now)
    assert bench.policy.decide(100_000.0).state is PolicyState.STARTING


def test_new_settings_end_no_pause_and_drop_no_lun() -> None:
    bench = Bench({"x": ("sdx",), "y": ("sdy",)})
    bench.policy.pause(bench.now + 60)
    bench.policy.reconfigure(settings_of(grace_s=50.0), bench.now)
    bench.take(listed(bench.now, {"x": ("sdx",)}))
    assert bench.policy.decide(bench.now).state is PolicyState.PAUSED
    bench.policy.resume()
    decision = bench.policy.decide(bench.now)
    assert decision.reasons == ("y: no path left (none is there)",)
    assert decision.grace_remaining_s == 50.0
