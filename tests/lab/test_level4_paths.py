# SPDX-License-Identifier: Apache-2.0
"""The cluster of docs/ha-lvm.md on a multipath map."""

from collections.abc import Iterator

import pytest

from . import failovers, two_paths
from .conftest import require_level3
from .level3 import Cluster

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Set up once: each play ends with the service running and both nodes whole."""
    require_level3()
    with two_paths.started() as started:
        yield started


@pytest.mark.parametrize("kind", two_paths.PLAYS)
def test_one_node_has_the_volume_and_every_record(cluster: Cluster, kind: str) -> None:
    seen = two_paths.PLAYS[kind](cluster)
    print(kind, failovers.times(cluster, seen))
    assert failovers.warnings(cluster.nodes[seen.survivor]) == []
