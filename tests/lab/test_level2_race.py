# SPDX-License-Identifier: Apache-2.0
"""Both nodes fence each other, on a real LIO target: `make race-lab` plays a hundred times."""

import pytest

from . import race
from .level2 import NODES, Level2Guest

RACES = 3


@pytest.mark.timeout(900)  # whole agents, on an emulated CPU that other tests may be using
def test_one_survivor_and_a_loser_that_wrote_nothing(guest: Level2Guest) -> None:
    guest.forget_reservations()
    disks = {node: [guest.sd(node, lun) for lun in range(guest.luns)] for node in NODES}
    races = race.run_in(guest, disks, RACES)
    assert len(races) == RACES
    assert [fault for each in races for fault in race.faults(each)] == []
