# SPDX-License-Identifier: Apache-2.0
"""A cluster of three nodes, set up by section 11 of docs/ha-lvm.md, in trouble."""

from collections.abc import Iterator

import pytest

from . import failovers, level4, three_nodes
from .conftest import require_level3
from .fence_plays import check_content
from .level3 import THREE_NODES, Cluster
from .user_cluster import keys

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]
A, B, C = THREE_NODES


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """The running cluster, for one test."""
    require_level3()
    with failovers.restored(THREE_NODES) as restored:
        yield restored


def test_each_of_three_is_unfenced_before_the_service_starts(cluster: Cluster) -> None:
    assert all(keys(guest) == [1, 2, 3] for guest in cluster.nodes.values())
    now = level4.status(cluster.nodes[A])
    assert now.quorate
    assert now.started == {"lvm": A, "FS": A, f"fence-{A}": B, f"fence-{B}": A, f"fence-{C}": A}
    assert level4.active(cluster) == A
    assert all(level4.unfenced_first(guest) for guest in cluster.nodes.values())
    assert three_nodes.fences(cluster, THREE_NODES) == []
    check_content(cluster)


@pytest.mark.parametrize("kind", three_nodes.PLAYS)
def test_one_node_of_three_has_the_volume_and_every_record(cluster: Cluster, kind: str) -> None:
    seen = three_nodes.PLAYS[kind](cluster)
    print(kind, seen.victim, seen.survivor, failovers.times(cluster, seen))
    for node in failovers.others(cluster, seen.victim):
        assert failovers.warnings(cluster.nodes[node]) == []
