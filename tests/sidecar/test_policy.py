# SPDX-License-Identifier: Apache-2.0
"""The rules one by one. That they hold in every order is test_policy_states' business."""

import pytest

from fencer.sidecar.lun_state import Cause
from fencer.sidecar.reports import Alive, LunSilent, PathGone
from fencer.sidecar.settings import Requirement, SidecarTiming, TargetReset
from fencer.state.snapshot import PolicyState, RegistrationState
from tests.sidecar.seen import GRACE_S, SETTLE_S, TICK_S, Bench, healthy, listed, lun_seen


def test_it_starts_unarmed_until_all_has_been_looked_at() -> None:
    bench = Bench(healthy_at_first=False)
    assert bench.policy.decide(100.0).state is PolicyState.STARTING
    *first, last = healthy(100.0, bench.luns)
    bench.take(*first)
    assert bench.policy.decide(100.1).state is PolicyState.STARTING
    bench.take(last)
    assert bench.policy.decide(100.2) == (PolicyState.KEEPALIVE, (), None, None)


def test_starting_never_ends_in_a_self_fence_by_itself() -> None:
    bench = Bench(healthy_at_first=False)
    assert bench.policy.decide(100_000.0).state is PolicyState.STARTING


def test_a_watchdog_left_running_has_one_grace_for_the_first_look() -> None:
    bench = Bench(healthy_at_first=False, resumed=True)
    assert bench.policy.decide(100.0).state is PolicyState.DEGRADED
    assert bench.policy.decide(100.0 + GRACE_S - 0.1).state is PolicyState.DEGRADED
    assert bench.policy.decide(100.0 + GRACE_S).state is PolicyState.SELF_FENCE


def test_one_of_two_paths_lost_is_degraded_and_no_grace_runs() -> None:
    bench = Bench()
    bench.see("sda", False)
    bench.go(100, paths=("sdb",))
    assert bench.decision == (PolicyState.DEGRADED, ("L: sda: EIO: Input/output error",), None, None)


@pytest.mark.parametrize("how", ["bad answers", "silence", "removal", "dropped from the list"])
def test_the_last_path_lost_ends_in_a_self_fence_after_the_grace(how: str) -> None:
    bench = Bench()
    lost_s = bench.now
    if how == "bad answers":
        bench.see("sda", False)
        bench.see("sdb", False)
    elif how == "removal":
        bench.take(PathGone("L", "sda", bench.now), PathGone("L", "sdb", bench.now))
    elif how == "dropped from the list":
        bench.take(listed(bench.now, {}))
    while bench.decision.state is not PolicyState.SELF_FENCE:
        bench.go(TICK_S, paths=())
        assert bench.now - lost_s < 60
    assert bench.decision.cause is Cause.PATHS_LOST
    noticed_s = SidecarTiming().path_stale_s if how == "silence" else 0.0
    assert GRACE_S + noticed_s <= bench.now - lost_s <= GRACE_S + noticed_s + 2 * TICK_S


def test_the_grace_that_is_left_is_told() -> None:
    bench = Bench()
    bench.see("sda", False)
    bench.see("sdb", False)
    bench.decision = bench.policy.decide(bench.now)
    bench.go(4.0, paths=())
    assert bench.decision.state is PolicyState.DEGRADED
    assert bench.decision.grace_remaining_s == pytest.approx(GRACE_S - 4.0)


def test_a_path_that_comes_back_counts_when_it_is_registered() -> None:
    bench = Bench({"L": ("sda",)})
    bench.see("sda", False)
    bench.go(SETTLE_S + 1, paths=("sda",))
    assert bench.decision.reasons == ("L: no path left (sda: not registered yet)",)
    bench.register("sda")
    bench.go(SETTLE_S + TICK_S, paths=("sda",))
    assert bench.decision.state is PolicyState.KEEPALIVE


def test_a_name_at_another_address_is_another_path() -> None:
    """Replaced while nobody observed: no PathGone was sent."""
    bench = Bench({"L": ("sda",)})
    bench.take(listed(bench.now, bench.luns, first=True, address="1:0:0:0"))
    assert bench.policy.decide(bench.now).reasons == ("L: no path left (sda: not probed yet)",)
    bench.go(GRACE_S + TICK_S, paths=("sda",))
    assert bench.decision.state is PolicyState.SELF_FENCE


def test_a_new_observer_has_time_to_say_that_a_path_is_registered() -> None:
    bench = Bench({"L": ("sda",)})
    bench.take(listed(bench.now, bench.luns, first=True))
    bench.go(SidecarTiming().registration_stale_s, paths=("sda",))
    assert bench.decision == (PolicyState.KEEPALIVE, (), None, None)
    bench.register("sda")
    bench.go(100, paths=("sda",))
    assert bench.decision == (PolicyState.KEEPALIVE, (), None, None)


def test_a_path_that_the_new_observer_does_not_register_stops_counting() -> None:
    bench = Bench({"L": ("sda",)})
    bench.take(listed(bench.now, bench.luns, first=True))
    bench.go(SidecarTiming().registration_stale_s + TICK_S, paths=("sda",))
    assert bench.decision.reasons == ("L: no path left (sda: not registered yet)",)
    bench.go(GRACE_S, paths=("sda",))
    assert bench.decision.state is PolicyState.SELF_FENCE


def test_observers_that_end_again_and_again_win_no_time() -> None:
    bench = Bench({"L": ("sda",)})
    for _ in range(int(SidecarTiming().registration_stale_s) + 1):
        bench.take(listed(bench.now, bench.luns, first=True))
        bench.go(1.0, paths=("sda",))
    assert bench.decision.reasons == ("L: no path left (sda: not registered yet)",)


def test_what_the_same_observer_lists_again_stays_registered() -> None:
    bench = Bench()
    for _ in range(10):
        bench.take(listed(bench.now, bench.luns))
        bench.go(2.0)
        assert bench.decision == (PolicyState.KEEPALIVE, (), None, None)


def test_a_flap_is_forgiven_only_after_it_has_settled() -> None:
    bench = Bench({"L": ("sda",)})
    bench.see("sda", False)
    bench.go(5.0, paths=())
    bench.see("sda", True)
    bench.register("sda")
    bench.go(SETTLE_S - TICK_S, paths=("sda",))
    assert bench.decision.state is PolicyState.DEGRADED
    assert bench.decision.grace_remaining_s is not None
    bench.go(2 * TICK_S, paths=("sda",))
    assert bench.decision == (PolicyState.KEEPALIVE, (), None, None)


def test_flapping_does_not_stretch_the_grace() -> None:
    bench = Bench({"L": ("sda",)})
    began_s = bench.now
    while bench.decision.state is not PolicyState.SELF_FENCE:
        bench.see("sda", False)
        bench.go(1.0, paths=())
        if bench.decision.state is not PolicyState.SELF_FENCE:
            bench.see("sda", True)
            bench.register("sda")
            bench.go(SETTLE_S - 1, paths=("sda",))
        assert bench.now - began_s < 2 * GRACE_S
    assert bench.now - began_s >= GRACE_S


def test_a_loss_between_two_decisions_is_seen() -> None:
    bench = Bench({"L": ("sda",)})
    bench.see("sda", False)
    bench.see("sda", True)
    bench.register("sda")
    decision = bench.policy.decide(bench.now + 0.1)
    assert decision.state is PolicyState.DEGRADED
    assert decision.grace_remaining_s is not None


def test_met_again_at_the_end_of_the_grace_is_no_self_fence() -> None:
    bench = Bench({"L": ("sda",)})
    bench.see("sda", False)
    bench.go(GRACE_S - TICK_S, paths=())
    bench.see("sda", True)
    bench.register("sda")
    bench.go(1.0, paths=("sda",))
    assert bench.decision.state is PolicyState.DEGRADED
    bench.see("sda", False)
    assert bench.policy.decide(bench.now).state is PolicyState.SELF_FENCE


@pytest.mark.parametrize("registration", [RegistrationState.PREEMPTED, RegistrationState.SHUT_OUT])
@pytest.mark.parametrize("armed", [True, False])
def test_a_preemption_has_no_grace_and_is_final(registration: RegistrationState, armed: bool) -> None:
    bench = Bench(healthy_at_first=armed)
    if not armed:
        bench.take(Alive(bench.now), listed(bench.now, bench.luns))
    bench.take(lun_seen("L", bench.now, registration))
    decision = bench.policy.decide(bench.now)
    assert decision.state is PolicyState.SELF_FENCE
    assert decision.cause == Cause(registration.value)
    bench.go(100)
    assert bench.decision == decision


def test_a_silent_lun_is_never_a_preemption_but_a_loss() -> None:
    bench = Bench()
    silent_s = bench.now
    while bench.decision.state is not PolicyState.SELF_FENCE:
        bench.take(LunSilent("L", bench.now, "sda: READ KEYS: timed out"))
        bench.go(TICK_S, read=False)
        assert bench.now - silent_s < 60
    assert bench.decision.cause is Cause.UNREADABLE
    assert "READ KEYS: timed out" in bench.decision.reasons[0]
    assert bench.now - silent_s >= SidecarTiming().registration_stale_s + GRACE_S


def test_silent_observers_are_a_loss() -> None:
    bench = Bench()
    assert bench.policy.decide(100.0 + SidecarTiming().path_stale_s).state is PolicyState.KEEPALIVE
    lost = bench.policy.decide(100.1 + SidecarTiming().path_stale_s)
    assert "the observing process has been silent" in lost.reasons[0]
    end = bench.policy.decide(100.1 + SidecarTiming().path_stale_s + GRACE_S)
    assert (end.state, end.cause) == (PolicyState.SELF_FENCE, Cause.OBSERVERS_SILENT)


def test_silent_observers_are_to_be_replaced_before_they_are_a_loss() -> None:
    bench = Bench()
    silent_s = 100.1 + SidecarTiming().path_stale_s
    bench.policy.decide(silent_s)
    assert not bench.policy.needs_new_observer()
    bench.policy.decide(silent_s + GRACE_S / 4)
    assert bench.policy.needs_new_observer()
    assert not bench.policy.needs_new_observer()  # asked for once
    bench.policy.explain_silence("it was stopped")  # another one has been started, and has as long to be heard
    bench.policy.decide(silent_s + GRACE_S / 4 + 0.1)
    bench.policy.decide(silent_s + GRACE_S / 2)
    assert not bench.policy.needs_new_observer()
    bench.policy.decide(silent_s + GRACE_S / 2 + 0.2)
    assert bench.policy.needs_new_observer()


def test_after_a_stall_of_the_daemon_the_grace_begins_now() -> None:
    bench = Bench()
    woken_s = bench.now + 3600
    assert bench.policy.decide(woken_s).state is PolicyState.DEGRADED
    bench.now = woken_s + 1
    bench.take(*healthy(bench.now, bench.luns))
    bench.go(SETTLE_S + TICK_S)
    assert bench.decision.state is PolicyState.KEEPALIVE


def test_the_clock_does_not_go_back() -> None:
    bench = Bench({"L": ("sda",)})
    bench.see("sda", False)
    bench.policy.decide(bench.now + 5)
    assert bench.policy.decide(bench.now - 50).grace_remaining_s == pytest.approx(GRACE_S)
    assert bench.policy.decide(bench.now + 5 + GRACE_S).state is PolicyState.SELF_FENCE


def test_unprotected_is_degraded_and_fences_no_node() -> None:
    bench = Bench()
    for _ in range(400):
        bench.take(lun_seen("L", bench.now, RegistrationState.UNPROTECTED))
        bench.go(TICK_S, read=False)
    assert bench.decision.state is PolicyState.DEGRADED
    assert "no node holds a reservation" in bench.decision.reasons[0]


def test_a_target_that_forgot_is_given_the_grace_to_be_registered_again() -> None:
    bench = Bench()
    bench.take(lun_seen("L", bench.now, RegistrationState.TARGET_FORGOT))
    assert bench.policy.decide(bench.now).state is PolicyState.DEGRADED
    bench.go(SETTLE_S + TICK_S)
    assert bench.decision.state is PolicyState.KEEPALIVE


def test_a_target_that_forgot_fences_at_once_where_that_is_the_policy() -> None:
    bench = Bench(on_target_reset=TargetReset.SELF_FENCE)
    bench.take(lun_seen("L", bench.now, RegistrationState.TARGET_FORGOT))
    decision = bench.policy.decide(bench.now)
    assert (decision.state, decision.cause) == (PolicyState.SELF_FENCE, Cause.TARGET_FORGOT)


@pytest.mark.parametrize(
    ("require", "lost", "survives"),
    [
        (Requirement.ALL, 0, True),
        (Requirement.ALL, 1, False),
        (Requirement.ANY, 2, True),
        (Requirement.ANY, 3, False),
        (Requirement.MAJORITY, 1, True),
        (Requirement.MAJORITY, 2, False),
    ],
)
def test_how_many_luns_must_be_reachable(require: Requirement, lost: int, survives: bool) -> None:
    luns = {name: (f"sd{name}",) for name in ("x", "y", "z")}
    bench = Bench(luns, require=require)
    for name in list(luns)[:lost]:
        bench.see(f"sd{name}", False, lun=name)
    for _ in range(200):
        bench.now += TICK_S
        bench.take(Alive(bench.now), *(lun_seen(name, bench.now) for name in luns))
        for name in list(luns)[lost:]:
            bench.see(f"sd{name}", True, lun=name)
        bench.decision = bench.policy.decide(bench.now)
    assert (bench.decision.state is not PolicyState.SELF_FENCE) is survives
    assert (bench.decision.state is PolicyState.KEEPALIVE) is (lost == 0)


def test_half_is_no_majority() -> None:
    bench = Bench({"x": ("sdx",), "y": ("sdy",)}, require=Requirement.MAJORITY)
    bench.see("sdx", False, lun="x")
    assert bench.policy.decide(bench.now).grace_remaining_s is not None


def test_a_lun_that_vanished_from_the_list_is_still_required() -> None:
    bench = Bench({"x": ("sdx",), "y": ("sdy",)})
    bench.take(listed(bench.now, {"x": ("sdx",)}))
    assert bench.policy.decide(bench.now).reasons == ("y: no path left (none is there)",)


def test_only_the_first_list_of_an_observer_says_which_luns_there_are() -> None:
    """The one that is replaced may still send a list after the first one of its successor."""
    bench = Bench({"x": ("sdx",), "y": ("sdy",)})
    bench.take(listed(bench.now, {"x": ("sdx",)}, first=True))
    bench.take(listed(bench.now, {"x": ("sdx",), "y": ("sdy",)}))
    assert bench.policy.decide(bench.now) == (PolicyState.KEEPALIVE, (), None, None)
    bench.take(listed(bench.now, {"x": ("sdx",), "z": ("sdz",)}, first=True))
    bench.take(listed(bench.now, {"x": ("sdx",)}))
    decision = bench.policy.decide(bench.now)
    assert decision.reasons == ("new, and not required before it is well: z: no path left (none is there)",)
    assert decision.grace_remaining_s is None


@pytest.mark.parametrize("first", [True, False])
def test_a_list_of_a_replaced_observer_brings_no_lun_back(first: bool) -> None:
    """first: the one that is replaced was itself started again just before."""
    both: dict[str, tuple[str, ...]] = {"x": ("sdx",), "y": ("sdy",)}
    bench = Bench(both)
    bench.take(listed(bench.now, both, first=True, serial=1))
    bench.take(listed(bench.now, {"x": ("sdx",)}, first=True, serial=2))
    bench.take(listed(bench.now, both, first=first, serial=1))
    bench.take(listed(bench.now, {"x": ("sdx",)}, serial=2))
    bench.register("sdx", lun="x")
    bench.go(bench.timing.grace_s + 5, paths=("sdx",), lun="x")
    assert bench.decision.state is PolicyState.KEEPALIVE
    assert bench.policy.joining == ()


def test_a_list_of_a_replaced_observer_drops_no_lun_and_moves_no_path() -> None:
    bench = Bench({"x": ("sdx",)})
    bench.take(listed(bench.now, {"x": ("sdx",)}, first=True, serial=2))
    bench.register("sdx", lun="x")
    bench.take(listed(bench.now, {"w": ("sdx",)}, first=True, serial=1))
    bench.take(listed(bench.now, {"x": ("sdx",)}, serial=1, address="9:9:9:9"))
    assert bench.policy.decide(bench.now) == (PolicyState.KEEPALIVE, (), None, None)


def test_a_list_in_parts_is_not_mixed_with_one_of_a_replaced_observer() -> None:
    bench = Bench({"x": ("sdx",), "y": ("sdy",)})
    bench.take(listed(bench.now, {"y": ("sdy",)}, first=True, serial=1)._replace(more=True))
    bench.take(listed(bench.now, {"x": ("sdx",)}, first=True, serial=2))
    bench.take(listed(bench.now, {"y": ("sdy",)}, first=True, serial=1))
    bench.see("sdy", False, lun="y")
    assert bench.policy.decide(bench.now).reasons == ()


def test_reports_of_unknown_luns_change_nothing() -> None:
    bench = Bench()
    bench.take(
        lun_seen("M", bench.now, RegistrationState.PREEMPTED), LunSilent("M", bench.now, "x"), PathGone("M", "s", 0.0)
    )
    bench.see("sda", True, lun="M")
    assert bench.policy.decide(bench.now).state is PolicyState.KEEPALIVE


def test_an_old_reading_does_not_replace_a_newer_one() -> None:
    bench = Bench()
    bench.take(lun_seen("L", bench.now - 1, RegistrationState.NEVER))
    assert bench.policy.decide(bench.now).state is PolicyState.KEEPALIVE
