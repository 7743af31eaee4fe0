# SPDX-License-Identifier: Apache-2.0
"""The cluster of docs/ha-lvm.md, set up by that page's commands, in each trouble."""

from collections.abc import Iterator

import pytest

from . import failovers, level4, plays
from .conftest import require_level3
from .guest import Guest
from .level3 import NODES, Cluster
from .user_cluster import keys

A = NODES[0]
pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(2400)]
IN_CI = ("power down", "network cut", "storage cut", "dead BMC")
KINDS = [kind if kind in IN_CI else pytest.param(kind, marks=pytest.mark.long) for kind in plays.PLAYS]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """The running cluster, for one test."""
    require_level3()
    with failovers.restored() as restored:
        yield restored


def test_each_node_is_unfenced_before_the_service_starts(cluster: Cluster) -> None:
    assert keys(cluster.nodes[A]) == [1, 2]
    now = level4.status(cluster.nodes[A])
    assert now.quorate
    assert set(now.started) == level4.all_resources(cluster)
    assert now.started["lvm"] == now.started["FS"] == level4.active(cluster)
    assert all(level4.unfenced_first(guest) for guest in cluster.nodes.values())
    for name in {now.started[f"fence-{node}"] for node in NODES}:  # one node may have both devices
        _see_a_monitor(cluster.nodes[name])
    assert [failovers.warnings(guest) for guest in cluster.nodes.values()] == [[], []]


def _see_a_monitor(node: Guest) -> None:
    def successes() -> int:
        return sum(event["outcome"] == "success" for event in level4.history(node, "monitor"))

    before = successes()
    level4.wait_until("a recurring monitor that succeeds", lambda: successes() > before, 180)


@pytest.mark.parametrize("kind", KINDS)
def test_one_node_has_the_volume_and_every_record(cluster: Cluster, kind: str) -> None:
    seen = plays.PLAYS[kind](cluster)
    print(kind, failovers.times(cluster, seen))
    assert failovers.warnings(cluster.nodes[seen.survivor]) == []
