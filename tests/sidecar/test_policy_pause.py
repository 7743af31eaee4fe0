# SPDX-License-Identifier: Apache-2.0
"""The policy in a pause by an operator, in a pause of the whole machine, and in a take-over of the array."""

from pathlib import Path

import pytest

from fencer.sidecar import policy
from fencer.sidecar.policy import Policy
from fencer.sidecar.settings import PolicySettings, SidecarTiming
from fencer.state.snapshot import PolicyState, RegistrationState
from tests.sidecar.seen import GRACE_S, TICK_S, TIMING, Bench, lun_seen


def test_a_pause_suspends_losses_and_ends_by_itself_with_a_whole_grace() -> None:
    bench = Bench({"L": ("sda",)})
    bench.policy.pause(bench.now + 60)
    bench.see("sda", False)
    bench.go(60 - TICK_S, paths=())
    assert bench.decision.state is PolicyState.PAUSED
    bench.go(GRACE_S, paths=())
    assert bench.decision.state is PolicyState.DEGRADED
    bench.go(TICK_S, paths=())
    assert bench.decision.state is PolicyState.SELF_FENCE


def test_resume_ends_a_pause() -> None:
    bench = Bench()
    bench.policy.pause(bench.now + 60)
    assert bench.policy.decide(bench.now).state is PolicyState.PAUSED
    bench.policy.resume()
    assert bench.policy.decide(bench.now).state is PolicyState.KEEPALIVE


def test_a_preemption_in_a_pause_fences() -> None:
    bench = Bench()
    bench.policy.pause(bench.now + 60)
    bench.take(lun_seen("L", bench.now, RegistrationState.PREEMPTED))
    assert bench.policy.decide(bench.now).state is PolicyState.SELF_FENCE


@pytest.mark.parametrize("seen", [True, False])
def test_the_end_of_a_pause_begins_a_whole_grace_however_short_it_was(seen: bool) -> None:
    """A loss from before counts no more, also where no decision fell into the pause."""
    bench = Bench({"L": ("sda",)})
    bench.see("sda", False)
    bench.go(GRACE_S / 2, paths=())
    assert bench.decision.state is PolicyState.DEGRADED
    bench.policy.pause(bench.now + TICK_S)
    if seen:
        assert bench.policy.decide(bench.now).state is PolicyState.PAUSED
    bench.go(TICK_S, paths=())
    assert bench.decision.grace_remaining_s == GRACE_S


def test_a_pause_arms_nothing() -> None:
    policy = Policy(PolicySettings(), 0.0)
    policy.pause(60.0)
    assert policy.decide(1.0).state is PolicyState.STARTING


@pytest.mark.parametrize("away_s", [5.0, 15.0, 30.0, 60.0])
def test_the_default_grace_outlasts_a_take_over(away_s: float):
    """No path answers meanwhile; afterwards a probe is due first, then the paths are registered again."""
    timing = SidecarTiming()
    bench = Bench(timing=timing)
    end_s = bench.now + away_s
    while bench.now < end_s:
        for path in ("sda", "sdb"):
            bench.see(path, False)
        bench.go(1.0, paths=(), read=False)
    bench.go(timing.probe_interval_s + timing.probe_deadline_s, paths=(), read=False)
    for path in ("sda", "sdb"):
        bench.see(path, True)
        bench.register(path)
    bench.go(timing.settle_s + 1)
    assert bench.decision.state is PolicyState.KEEPALIVE


@pytest.mark.parametrize("paused_s", [30.0, 3600.0, 86400.0 * 30])
def test_a_pause_of_the_whole_machine_is_no_loss(paused_s: float):
    """A VM is stopped and goes on: everything is as old as the pause at the first decision after it."""
    bench = Bench()
    bench.now += paused_s
    stale = bench.policy.decide(bench.now)
    assert stale.state is PolicyState.DEGRADED and stale.grace_remaining_s == TIMING.grace_s
    for path in ("sda", "sdb"):
        bench.see(path, True)
        bench.register(path)
    bench.go(TIMING.settle_s + 1)
    assert bench.decision.state is PolicyState.KEEPALIVE


def test_no_decision_rests_on_the_wall_clock():
    """It may be set at any time. Where it is read at all, it is for people: records, log lines, metrics."""
    deciding = (
        "policy", "lun_state", "settings", "keepalive", "batching", "observer/observing", "observer/path_watch",
        "observer/lun_watch", "observer/registrar",
    )  # fmt: skip
    for name in deciding:
        text = (Path(policy.__file__).parent / f"{name}.py").read_text()
        assert "time.time(" not in text and "datetime" not in text, name
