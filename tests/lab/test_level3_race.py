# SPDX-License-Identifier: Apache-2.0
"""Both nodes fence each other with real power: `make race-real` plays ten times."""

import random

import pytest

from . import level3_oracle, level3_race
from . import user_cluster as rig
from .level3 import NODES, Cluster

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


def test_one_survivor_and_the_other_is_off(cluster: Cluster) -> None:
    assert [fault for each in level3_race.races(cluster, 1, random.Random()) for fault in each.faults] == []


def test_no_record_lands_after_a_success(cluster: Cluster) -> None:
    for node in NODES:
        if not cluster.is_powered(node):
            rig.revive(cluster, node)
    assert [fault for each in level3_oracle.trials(cluster, 1, random.Random()) for fault in each.faults] == []
