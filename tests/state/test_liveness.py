# SPDX-License-Identifier: Apache-2.0
"""When a sidecar counts as alive: one table for the agent, ``status`` and the exporter."""

import math

import pytest

from fencer.agent.self_fence_request import doubt
from fencer.state.liveness import FRESH_LEAST_S, FRESH_MOST_S, Liveness, fresh_for_s, liveness
from fencer.state.readings import SnapshotStatus, judge_snapshot
from fencer.state.snapshot import PolicyState
from tests.scenes import BOOT, NOW, snapshot

HERE = snapshot()._replace(interval_s=1.0)


def aged(age_s: float, **changes: object) -> dict[str, object]:
    return {"written_monotonic_s": NOW.monotonic_s - age_s, **changes}


TABLE = [
    (aged(0.0), Liveness.ALIVE, SnapshotStatus.FRESH),
    (aged(4.9), Liveness.ALIVE, SnapshotStatus.FRESH),
    (aged(5.0), Liveness.STALE, SnapshotStatus.STALE),
    (aged(6.0), Liveness.STALE, SnapshotStatus.STALE),
    (aged(59.0, interval_s=20.0), Liveness.ALIVE, SnapshotStatus.FRESH),
    (aged(60.0, interval_s=20.0), Liveness.STALE, SnapshotStatus.STALE),
    (aged(6.0, interval_s=-1e9), Liveness.STALE, SnapshotStatus.STALE),
    (aged(899.0, interval_s=1e9), Liveness.ALIVE, SnapshotStatus.FRESH),
    (aged(900.0, interval_s=1e9), Liveness.STALE, SnapshotStatus.STALE),
    (aged(-0.1), Liveness.FUTURE, SnapshotStatus.MALFORMED),
    (aged(-1e6), Liveness.FUTURE, SnapshotStatus.MALFORMED),
    (aged(math.nan), Liveness.NO_NUMBERS, SnapshotStatus.MALFORMED),
    (aged(math.inf), Liveness.NO_NUMBERS, SnapshotStatus.MALFORMED),
    (aged(1.0, interval_s=math.inf), Liveness.NO_NUMBERS, SnapshotStatus.MALFORMED),
    (aged(1.0, check_interval_s=math.nan), Liveness.NO_NUMBERS, SnapshotStatus.MALFORMED),
    (aged(1.0, written_unix_s=math.nan), Liveness.NO_NUMBERS, SnapshotStatus.MALFORMED),
    (aged(1.0, written_unix_s=0.0), Liveness.ALIVE, SnapshotStatus.FRESH),  # a wall clock that was set
    (aged(1.0, boot_id="another"), Liveness.OTHER_BOOT, SnapshotStatus.OTHER_BOOT),
    (aged(1.0, state=PolicyState.STOPPED), Liveness.STOPPED, SnapshotStatus.FRESH),
    (aged(6.0, state=PolicyState.STOPPED), Liveness.STALE, SnapshotStatus.STALE),
    *((aged(1.0, state=state), Liveness.ALIVE, SnapshotStatus.FRESH) for state in PolicyState if state != "stopped"),
]


@pytest.mark.parametrize(("changes", "found", "status"), TABLE)
def test_what_a_snapshot_says_of_its_sidecar(
    changes: dict[str, object], found: Liveness, status: SnapshotStatus
) -> None:
    seen = HERE._replace(**changes)  # type: ignore[arg-type]
    assert liveness(seen, BOOT, NOW.monotonic_s) is found
    assert judge_snapshot(seen, BOOT, NOW).status is status
    if found is not Liveness.ALIVE:
        assert (doubt(seen, seen.bound_s, BOOT, NOW.monotonic_s) or "").startswith("proof: ")


@pytest.mark.parametrize("written", ["", "another"])
def test_an_unknown_boot_proves_nothing(written: str) -> None:
    assert liveness(HERE._replace(boot_id=written), "", NOW.monotonic_s) is Liveness.OTHER_BOOT


def test_no_interval_widens_the_limits() -> None:
    assert {fresh_for_s(each) for each in (-1e9, 0.0, 1.0)} == {FRESH_LEAST_S}
    assert fresh_for_s(1e9) == FRESH_MOST_S
