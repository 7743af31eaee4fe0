# SPDX-License-Identifier: Apache-2.0
"""No record of a victim lands after a success: `make oracle` tries it more often."""

import random

import pytest

from .level2 import Level2Guest
from .oracle_trials import Fault, trial
from .rows import further

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("fault", [*Fault, *further(Fault.KILLED)])
def test_nothing_of_the_victim_lands_after_a_success(guest: Level2Guest, fault: Fault) -> None:
    seen = trial(guest, fault, random.Random())
    assert seen.faults == [], seen
