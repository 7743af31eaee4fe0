# SPDX-License-Identifier: Apache-2.0
"""No record of a victim lands after a success: `make oracle` tries it more often."""

import random

import pytest

from .level2 import Level2Guest
from .oracle_faults import Fault
from .oracle_trials import open_paths, trial
from .rows import further

pytestmark = [pytest.mark.lab(multipath=True), pytest.mark.timeout(400)]

_LONG = (Fault.FIRST_PATH, Fault.LAST_PATH, Fault.ALL_PATHS, Fault.SILENT_ARRAY, Fault.LEAVING_ARRAY, Fault.TRANSITION)
_SHORT = [fault for fault in Fault if fault not in _LONG]


@pytest.fixture(scope="module")
def wide_guest(guest: Level2Guest) -> Level2Guest:
    """The guest, node A with all paths of a trial."""
    open_paths(guest)
    return guest


@pytest.mark.parametrize("fault", [*_SHORT, *further(Fault.KILLED, *_LONG)])
def test_nothing_of_the_victim_lands_after_a_success(wide_guest: Level2Guest, fault: Fault) -> None:
    seen = trial(wide_guest, fault, random.Random())
    assert seen.faults == [], seen
