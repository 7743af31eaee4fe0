# SPDX-License-Identifier: Apache-2.0
"""What the observing process sends at once, and what waits for company."""

import threading

import pytest

from fencer.model import ReservationKey, ReservationType
from fencer.sidecar.batching import MOST, QUICK_S, ReportBatcher
from fencer.sidecar.reports import Alive, LunSeen, PathGone, PathRegistered, PathSeen, Registered, Report, StillWell
from fencer.state.snapshot import RegistrationState
from tests.sidecar.seen import Expander

A, B = ReservationKey(0xA), ReservationKey(0xB)
TYPE = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY


def path_seen(at_s: float = 1.0, *, ok: bool = True, took_s: float = 0.001, path: str = "sda") -> PathSeen:
    return PathSeen("lun", path, at_s, ok, "" if ok else "EIO", took_s)


def lun_seen(
    at_s: float = 1.0, registration: RegistrationState = RegistrationState.REGISTERED, generation: int = 7
) -> LunSeen:
    return LunSeen("lun", at_s, registration, generation, (A, B), A, TYPE)


class Sent:
    """An batcher that has seen the path and the LUN well once."""

    def __init__(self) -> None:
        self.messages: list[list[Report]] = []
        self.batcher = ReportBatcher(self.messages.append)
        self.batcher.put(path_seen())
        self.batcher.put(lun_seen())
        self.messages.clear()


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.mark.parametrize(
    ("again", "told"),
    [
        (path_seen(2.0), StillWell((("lun", "sda", 2.0, 0.001),))),
        (lun_seen(2.0), StillWell((), (("lun", 2.0, 7),))),
        (Alive(2.0), Alive(2.0)),
        (PathRegistered("lun", "sda", 2.0), StillWell((), (), (("lun", "sda"),))),
    ],
)
def test_what_is_as_it_was_waits(sent: Sent, again: Report, told: Report) -> None:
    sent.batcher.put(again)
    assert sent.messages == []
    sent.batcher.flush()
    assert sent.messages == [[told]]


def test_all_that_is_as_it_was_is_one_report(sent: Sent) -> None:
    sent.batcher.put(Alive(2.0))
    sent.batcher.put(path_seen(2.0))
    sent.batcher.put(lun_seen(2.0))
    sent.batcher.put(path_seen(3.0))
    sent.batcher.flush()
    paths = (("lun", "sda", 2.0, 0.001), ("lun", "sda", 3.0, 0.001))
    assert sent.messages == [[StillWell(paths, (("lun", 2.0, 7),)), Alive(2.0)]]


def test_what_waits_is_told_before_what_undoes_it(sent: Sent) -> None:
    sent.batcher.put(path_seen(2.0))
    sent.batcher.put(path_seen(3.0, ok=False))
    assert sent.messages == [[StillWell((("lun", "sda", 2.0, 0.001),)), path_seen(3.0, ok=False)]]


def test_a_reading_is_sent_whole_now_and_then(sent: Sent) -> None:
    """A publisher that was behind has missed the one that the others repeat."""
    for at_s in range(2, 70, 2):
        sent.batcher.put(lun_seen(float(at_s)))
    sent.batcher.flush()
    whole = [one.at_s for message in sent.messages for one in message if isinstance(one, LunSeen)]
    assert whole == [32.0, 62.0]


@pytest.mark.parametrize(
    "news",
    [
        path_seen(2.0, ok=False),
        path_seen(2.0, took_s=QUICK_S + 0.01),
        path_seen(2.0, path="sdb"),
        lun_seen(2.0, RegistrationState.PREEMPTED),
        lun_seen(2.0, generation=8),
        lun_seen(2.0)._replace(keys=(A,)),
        lun_seen(2.0)._replace(type=None),
        PathGone("lun", "sda", 2.0),
        Registered("lun", "", 2.0, "at start"),
    ],
)
def test_news_goes_at_once_behind_what_waits(sent: Sent, news: Report) -> None:
    sent.batcher.put(Alive(1.5))
    sent.batcher.put(news)
    assert sent.messages == [[Alive(1.5), news]]


def test_what_is_bad_is_told_each_time(sent: Sent) -> None:
    for at_s in (2.0, 3.0):
        sent.batcher.put(path_seen(at_s, ok=False))
        sent.batcher.put(lun_seen(at_s, RegistrationState.CONFLICT))
    assert len(sent.messages) == 4


def test_a_path_that_is_back_is_news_once(sent: Sent) -> None:
    sent.batcher.put(path_seen(2.0, ok=False))
    sent.batcher.put(path_seen(3.0))
    sent.batcher.put(path_seen(4.0))
    assert [message[-1].at_s for message in sent.messages] == [2.0, 3.0]


def test_nothing_is_no_message(sent: Sent) -> None:
    sent.batcher.flush()
    assert sent.messages == []


def test_a_message_has_an_end(sent: Sent) -> None:
    for number in range(2 * MOST):
        sent.batcher.put(Alive(float(number)))
    assert [len(message) for message in sent.messages] == [MOST, MOST]


def test_threads_lose_nothing_and_keep_their_order() -> None:
    messages: list[list[Report]] = []
    batcher = ReportBatcher(messages.append)

    def tell(path: str) -> None:
        for number in range(500):
            batcher.put(path_seen(float(number), path=path))
            if number % 7 == 0:
                batcher.flush()

    threads = [threading.Thread(target=tell, args=(path,)) for path in ("sda", "sdb", "sdc", "sdd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.flush()
    expander = Expander()
    seen = [one for message in messages for one in expander.expand(message) if isinstance(one, PathSeen)]
    for path in ("sda", "sdb", "sdc", "sdd"):
        assert [one.at_s for one in seen if one.path == path] == [float(number) for number in range(500)]
