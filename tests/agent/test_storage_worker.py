# SPDX-License-Identifier: Apache-2.0
"""The storage worker hands on to the fence race what the run told it."""

import time

import pytest

from fencer.agent import storage_worker
from fencer.agent.orders import StorageOrder
from fencer.agent.request import StorageRequest
from fencer.model import Deadline, ReservationKey
from fencer.storage.arbitration import SLOT_MOST_S, Contest
from fencer.storage.goal import StorageGoal
from fencer.storage.procedure import Opened
from fencer.storage.settings import StorageSettings


def contest_of(given_slot_s: float | None, called_ago_s: float, monkeypatch: pytest.MonkeyPatch) -> Contest:
    """The contest that is played where the call began so long ago."""
    played: list[Contest] = []
    monkeypatch.setattr(storage_worker.procedure, "fence", lambda _opened, contest, *_: played.append(contest))
    request = StorageRequest(StorageSettings(("lun",), None, ReservationKey(1)), ReservationKey(2))
    began_s = time.monotonic() - called_ago_s
    order = StorageOrder(StorageGoal.FENCE, request, given_slot_s, began_s, True, True, Deadline.after(5))
    storage_worker._pursue(order, Opened(()), lambda *_: None, lambda: None)
    return played[0]


def test_a_rank_is_chosen_by_how_long_the_call_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contest_of(None, 3600.0, monkeypatch).slot_s == SLOT_MOST_S
    assert contest_of(None, 0.0, monkeypatch).slot_s < SLOT_MOST_S


@pytest.mark.parametrize("given_s", [0.0, 0.7])
def test_a_rank_that_is_given_counts(given_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert contest_of(given_s, 3600.0, monkeypatch).slot_s == given_s
