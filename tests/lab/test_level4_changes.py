# SPDX-License-Identifier: Apache-2.0
"""The cluster of docs/ha-lvm.md: what proves a fence, who asks for it, and changes while its service runs."""

from collections.abc import Iterator

import pytest

from . import changes, failovers, fence_plays
from .conftest import require_level3
from .level3 import Cluster

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]
PLAYS = {**fence_plays.PLAYS, **changes.PLAYS}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """The running cluster, for one test."""
    require_level3()
    with failovers.restored() as restored:
        yield restored


@pytest.mark.parametrize("kind", PLAYS)
def test_one_node_has_the_volume_and_every_record(cluster: Cluster, kind: str) -> None:
    seen = PLAYS[kind](cluster)
    print(kind, failovers.times(cluster, seen))
    assert failovers.warnings(cluster.nodes[seen.survivor]) == []
