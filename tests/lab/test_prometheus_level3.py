# SPDX-License-Identifier: Apache-2.0
"""A failover as Prometheus tells it, over its HTTP API: the path loss, the self-fence, the fence, and the alerts."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.alerts.server import Api
from tests.rig import require_program

from . import failover
from .failover import A, B, Story
from .level3 import Cluster

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(1800)]

STALLS = "HalvmWatchdogFedLate|HalvmExporterDown"
"""These say that an emulated CPU stalled for seconds: true, and not of this story."""


class Told(NamedTuple):
    """What Prometheus knows, and when what happened."""

    api: Api
    story: Story

    def during(self, expression: str) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        moments = self.story.moments
        return self.api.history(expression, moments.began, moments.ended, 1)

    def firing(self, alert: str, **labels: str) -> list[float]:
        """The times at which it fired."""
        matchers = "".join(f', {label}="{value}"' for label, value in labels.items())
        series = self.during(f'ALERTS{{alertstate="firing", alertname="{alert}"{matchers}}}')
        return sorted({at for _, points in series for at, _ in points})


@pytest.fixture(scope="module")
def told(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    require_program("prometheus", "prometheus")
    with failover.watched(cluster, tmp_path_factory.mktemp("prometheus")) as api:
        yield Told(api, failover.play(cluster, api))


def test_both_nodes_were_scraped_and_all_was_well_before(told: Told) -> None:
    moments = told.story.moments
    assert told.api.query('sum(up{job="fence-halvm"})', moments.cut)[0].value == 2
    assert told.api.query("min(halvm_lun_registrations)", moments.cut)[0].value == 1
    assert told.api.query("min(halvm_watchdog_armed)", moments.cut)[0].value == 1
    assert told.api.query("min(halvm_bmc_reachable)", moments.cut)[0].value == 1
    assert told.api.query(f'ALERTS{{alertstate="firing", alertname!~"{STALLS}"}}', moments.cut) == []


def test_the_path_loss_is_seen_on_the_victim_alone(told: Told) -> None:
    ((labels, points),) = told.during("halvm_lun_paths_usable == 0")
    assert labels["instance"] == A
    assert told.story.moments.cut < points[0][0] < told.story.moments.silent
    grace = told.during(f'halvm_sidecar_grace_remaining_seconds{{instance="{A}"}}')
    assert min(value for _, points in grace for _, value in points) < 15


def test_the_self_fence_is_seen(told: Told) -> None:
    ((labels, _),) = told.during('halvm_sidecar_state{state="self-fence"} == 1')
    assert labels["instance"] == A
    (sample,) = told.api.query("halvm_sidecar_last_self_fence_timestamp_seconds")
    assert sample.labels["instance"] == A
    assert told.story.moments.cut < sample.value < told.story.moments.silent
    events = told.api.query('halvm_events_total{kind="self-fence"}')
    assert [(each.labels["instance"], each.value) for each in events] == [(A, 1)]


def test_the_fence_and_its_proof_are_seen(told: Told) -> None:
    (fence,) = told.api.query("halvm_fences_total")
    wanted = {"instance": B, "target": A, "action": "reboot", "outcome": "success", "proof": "power+storage"}
    assert wanted.items() <= fence.labels.items()
    assert fence.value == 1
    (when,) = told.api.query("halvm_last_fence_success_timestamp_seconds")
    assert told.story.moments.silent - failover.SCRAPE_S < when.value < told.story.moments.fenced + 1


def test_the_victims_key_was_gone_and_is_back(told: Told) -> None:
    moments = told.story.moments
    victim = f'halvm_lun_registrations{{instance="{B}", node="{A}"}}'
    assert told.api.query(victim, moments.cut)[0].value == 1
    assert 0 in {value for _, points in told.during(victim) for _, value in points}
    assert told.api.query(victim, moments.ended)[0].value == 1


@pytest.mark.parametrize(
    ("alert", "labels"),
    [
        ("HalvmNoPath", {"instance": A}),
        ("HalvmSelfFenceImminent", {"instance": A}),
        ("HalvmExporterDown", {"instance": A}),
        ("HalvmNodeFenced", {"target": A}),
        ("HalvmFencedNodeNotBack", {"node": A}),
    ],
)
def test_the_right_alerts_fire_and_resolve(told: Told, alert: str, labels: dict[str, str]) -> None:
    times = told.firing(alert, **labels)
    if alert in STALLS:
        times = [at for at in times if at > told.story.moments.silent]
    assert times
    assert told.story.moments.cut < times[0]
    assert times[-1] < told.story.moments.ended - 1
    if alert not in STALLS:
        assert told.firing(alert) == times  # of nobody else


def test_the_self_fence_alert_fires_and_is_there_when_the_node_is_back(told: Told) -> None:
    times = told.firing("HalvmNodeFencedItself", instance=A)
    assert times
    assert times[0] > told.story.moments.cut  # the journal may tell it while the watchdog runs out
    assert times[-1] > told.story.moments.back


@pytest.mark.parametrize(
    "alert",
    [
        "HalvmFenceFailed",
        "HalvmFencedByStorageOnly",
        "HalvmNoReservation",
        "HalvmTargetForgot",
        "HalvmNodePreempted",
        "HalvmMonitorFailing",
        "HalvmWatchdogToothless",
        "HalvmUnknownKey",
        "HalvmNothingScraped",
    ],
)
def test_no_alert_fires_that_is_not_of_this_story(told: Told, alert: str) -> None:
    assert told.firing(alert) == []
