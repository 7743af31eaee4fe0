# SPDX-License-Identifier: Apache-2.0
"""StillWell is short for what it stands for, and between reports nothing changes before Policy.stale_from_s."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from fencer.sidecar.batching import ReportBatcher
from fencer.sidecar.policy import Policy
from fencer.sidecar.reports import Alive, LunSeen, PathSeen, Report, StillWell
from fencer.sidecar.settings import PolicySettings, Requirement, SidecarTiming
from fencer.state.snapshot import PolicyState, RegistrationState
from tests.sidecar.seen import healthy, lun_seen

LUNS: dict[str, tuple[str, ...]] = {"L": ("sda", "sdb"), "M": ("sdc",)}
PATHS = [(lun, path) for lun, paths in LUNS.items() for path in paths]
TIMING = SidecarTiming(grace_s=6.0)
STEADY = (PolicyState.KEEPALIVE, PolicyState.DEGRADED)

reports = st.one_of(
    st.tuples(st.just("path"), st.sampled_from(PATHS), st.booleans() | st.just(True)),
    st.tuples(st.just("lun"), st.sampled_from(sorted(LUNS)), st.just(True)),
    st.tuples(st.just("alive"), st.none(), st.just(True)),
)
rounds = st.lists(
    st.tuples(st.sampled_from((0.25, 0.5, 1.0, 1.25, 3.0, 3.75, 9.0)), st.lists(reports, max_size=8), st.booleans()),
    max_size=14,
)


def report(kind: str, what: object, ok: bool, at_s: float) -> Report:
    if kind == "alive":
        return Alive(at_s)
    if kind == "lun":
        return lun_seen(str(what), at_s)
    lun, path = what  # type: ignore[misc]
    return PathSeen(lun, path, at_s, ok, "" if ok else "EIO", 0.001)


@given(rounds, st.sampled_from(list(Requirement)))
def test_a_batch_decides_as_its_reports_do(
    played: list[tuple[float, list[tuple[str, object, bool]], bool]], require: Requirement
) -> None:
    one_by_one, batched = (Policy(PolicySettings(TIMING, require), 100.0) for _ in range(2))
    batcher = ReportBatcher(lambda batch: [batched.take(each) for each in batch] and None)
    now = 100.0
    for each in healthy(now, LUNS):
        one_by_one.take(each)
        batcher.put(each)
    batcher.flush()
    assert one_by_one.decide(now) == batched.decide(now)
    for step_s, seen, decides in played:
        began_s, now = now, now + step_s
        # Paths and LUNs come before Alive in a batch, so that is how they come one by one.
        for number, (kind, what, ok) in enumerate(
            sorted(seen, key=lambda each: (each[0] == "alive", each[0] == "lun"))
        ):
            told = report(kind, what, ok, began_s + step_s * (number + 1) / 10)
            one_by_one.take(told)
            batcher.put(told)
        batcher.flush()
        if decides:
            assert one_by_one.decide(now) == batched.decide(now)


@given(rounds, st.sampled_from(list(Requirement)))
def test_nothing_changes_by_time_alone_before_it_grows_stale(
    played: list[tuple[float, list[tuple[str, object, bool]], bool]], require: Requirement
) -> None:
    policy, now = Policy(PolicySettings(TIMING, require), 100.0), 100.0
    for each in healthy(now, LUNS):
        policy.take(each)
    for step_s, seen, _ in played:
        now += step_s
        for kind, what, ok in seen:
            policy.take(report(kind, what, ok, now))
        decision = policy.decide(now)
        if decision.state in STEADY and decision.grace_remaining_s is None and policy.stale_from_s > now:
            later = copy.deepcopy(policy).decide(policy.stale_from_s - 0.001)
            assert (later.state, later.grace_remaining_s) == (decision.state, None)


def test_a_repeated_reading_of_another_generation_does_not_count() -> None:
    """The reading that it repeats was missed."""
    policy, now = Policy(PolicySettings(TIMING), 100.0), 100.0
    for each in healthy(now, LUNS):
        policy.take(each)
    generation = lun_seen("L", now).generation
    for _ in range(12):
        now += 1.0
        paths = tuple((lun, path, now, 0.001) for lun, path in PATHS)
        policy.take(Alive(now))
        policy.take(StillWell(paths, (("L", now, generation + 1), ("M", now, generation))))
        decision = policy.decide(now)
    assert decision.grace_remaining_s is not None
    assert "L: registrations not read" in decision.reasons[0]
    policy.take(LunSeen("L", now, RegistrationState.REGISTERED, generation + 1, (), None, None))
    policy.take(StillWell((), (("L", now + 1, generation + 1),)))
    assert "registrations not read" not in "".join(policy.decide(now + 1).reasons)


def served() -> Policy:
    policy = Policy(PolicySettings(TIMING), 100.0)
    for each in healthy(100.0, LUNS):
        policy.take(each)
    assert policy.decide(100.0).state is PolicyState.KEEPALIVE
    return policy


def test_a_batch_that_mends_what_grew_stale_is_a_loss_all_the_same() -> None:
    policy, stale_s = served(), 100.0 + TIMING.path_stale_s
    policy.take(Alive(stale_s - 0.1))
    policy.take(StillWell(tuple((lun, path, stale_s + 0.1, 0.001) for lun, path in PATHS)))
    assert policy.decide(stale_s + 0.2).grace_remaining_s is not None


def test_what_was_well_by_the_old_settings_is_judged_by_the_new_ones() -> None:
    policy, quicker = served(), TIMING._replace(probe_interval_s=0.5, probe_deadline_s=0.5)
    policy.reconfigure(PolicySettings(quicker), 100.5)
    assert policy.decide(100.0 + quicker.path_stale_s + 0.1).grace_remaining_s is not None
