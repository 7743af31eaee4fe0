# SPDX-License-Identifier: Apache-2.0
"""Monitor, many times: what a worker said last must be heard although it never read what the parent granted it.

`make monitors` runs 1,000 of them; what runs with the other tests is a smaller number.
"""

import os

import pytest

from fencer.agent.orders import PowerOrder
from fencer.model import Action, PowerState
from fencer.observations import ChassisObserved, LunsIdentified, LunState, PowerDone, SessionOpened, StorageDone
from fencer.worker import Channel
from tests.rig.plays import play, storage_says

MONITORS = int(os.environ.get("FENCE_HALVM_MONITORS", "80"))


def looking_power(channel: Channel) -> None:
    """What power_job does for monitor: it is not gated, so it reads nothing but its order."""
    assert isinstance(channel.receive(), PowerOrder)
    channel.send(SessionOpened())
    channel.send(ChassisObserved(PowerState.ON))
    channel.send(PowerDone())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_monitor_loses_a_workers_last_message() -> None:
    storage = storage_says(LunsIdentified(("lun",)), LunState("lun", registered=True, protected=True), StorageDone(1))
    failed = {}
    for number in range(MONITORS):
        played = play(looking_power, storage, action=Action.MONITOR, deadline_s=20.0)
        if not played.verdict.success or played.verdict.reasons:
            failed[number] = played.verdict
    assert not failed
