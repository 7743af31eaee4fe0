# SPDX-License-Identifier: Apache-2.0
"""The storage worker hands on to the fence race what the run told it."""

import time
from pathlib import Path
from typing import cast

import pytest

from fencer.agent import storage_worker
from fencer.agent.orders import Seen, StorageOrder
from fencer.agent.request import StorageRequest
from fencer.cluster.contact import Contact
from fencer.errors import StorageError
from fencer.model import ArbitrationMode, Deadline, OtherKeys, ReservationKey
from fencer.observations import Arbitrated, ArbitrationResult
from fencer.storage.arbitration import SLOT_MOST_S, Contest
from fencer.storage.fenced_record import FencedRecord, write_record
from fencer.storage.goal import StorageGoal
from fencer.storage.procedure import Opened
from fencer.storage.settings import StorageSettings
from fencer.worker import Channel


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


RECORD = FencedRecord((ReservationKey(2),), "lun")


class _Channel:
    def __init__(self, order: StorageOrder) -> None:
        self.order, self.sent = order, list[object]()

    def receive(self) -> object:
        return self.order

    def send(self, message: object) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("arbitration", ArbitrationMode)
@pytest.mark.parametrize("goal", [StorageGoal.FENCE, StorageGoal.STATUS])
def test_where_no_lun_can_be_opened_a_fence_that_would_be_refused_is_refused(
    goal: StorageGoal, arbitration: ArbitrationMode, recorded: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under arbitration=preferred power would be used, by a node that was fenced and has not met its peer since."""

    def no_lun(*_: object, **__: object) -> Opened:
        raise StorageError("x: not found")

    monkeypatch.setattr(storage_worker, "open_luns", no_lun)
    monkeypatch.setattr(storage_worker, "_asking", lambda _deadline: lambda: Contact.NEVER)
    monkeypatch.setattr("fencer.storage.settings.persistent_directory", lambda _run: str(tmp_path))
    if recorded:
        write_record(str(tmp_path), RECORD)
    settings = StorageSettings(("x",), None, ReservationKey(1), others=OtherKeys((ReservationKey(2),)))
    request = StorageRequest(settings, ReservationKey(2), arbitration)
    channel = _Channel(StorageOrder(goal, request, 0.0, time.monotonic(), True, True, Deadline.after(5)))
    if recorded and goal is StorageGoal.FENCE and arbitration is not ArbitrationMode.OFF:
        storage_worker.storage_job(cast("Channel", channel))
        ((end,),) = [message.what for message in channel.sent if isinstance(message, Seen)]
        assert isinstance(end, Arbitrated)
        assert end.result is ArbitrationResult.REFUSED
        assert end.reason.startswith("x: not found")
    else:
        with pytest.raises(StorageError, match="x: not found"):
            storage_worker.storage_job(cast("Channel", channel))
        assert channel.sent == []
