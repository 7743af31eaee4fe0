# SPDX-License-Identifier: Apache-2.0
"""The permission to take power away: how old it may be, and when another one is asked for."""

import math
import socket
import time

import pytest

from fencer.agent.orders import LOOK_GOOD_S, Go, GoAgain
from fencer.agent.power_worker import Permission, _Told
from fencer.worker import Channel, loads


class Pair:
    """A permission, and the parent's end of its channel."""

    def __init__(self, gated: bool = True) -> None:
        self.parent, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel = Channel(child)  # type: ignore[arg-type]
        self.may_go = Permission(self.channel, gated)

    def say(self, message: object) -> None:
        Channel(self.parent).send(message)  # type: ignore[arg-type]

    def asked(self) -> list[object]:
        heard: list[object] = []
        self.parent.setblocking(False)
        try:
            while True:
                heard.append(loads(self.parent.recv(1000)))
        except BlockingIOError:
            return heard
        finally:
            self.parent.setblocking(True)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_the_first_go_is_waited_for_and_not_asked_for(pair: Pair) -> None:
    assert not pair.may_go(0.01)
    pair.say(Go(time.monotonic()))
    assert pair.may_go(math.inf)
    assert pair.may_go(0.0)
    assert pair.asked() == []


def test_one_that_has_grown_old_is_asked_for_once(pair: Pair) -> None:
    pair.say(Go(time.monotonic() - LOOK_GOOD_S + 0.3))
    assert pair.may_go(math.inf)
    time.sleep(0.35)
    assert not pair.may_go(0.01)
    assert not pair.may_go(0.01)
    assert pair.asked() == [GoAgain()]
    pair.say(Go(time.monotonic()))
    assert pair.may_go(1.0)
    assert pair.asked() == []


def test_one_that_comes_too_late_lets_nothing_go(pair: Pair) -> None:
    """This process, or the machine, was stopped."""
    pair.say(Go(time.monotonic() - LOOK_GOOD_S - 0.1))
    assert not pair.may_go(0.01)
    assert pair.asked() == [GoAgain()]


def test_where_no_race_was_won_it_does_not_grow_old(pair: Pair) -> None:
    pair.say(Go(None))
    assert pair.may_go(math.inf)
    assert pair.may_go(0.0)
    assert pair.asked() == []


def test_without_a_gate_nothing_is_asked() -> None:
    pair = Pair(gated=False)
    assert pair.may_go(math.inf)
    assert pair.may_go(0.0)
    assert pair.asked() == []


def test_the_end_of_the_parent_ends_it(pair: Pair) -> None:
    pair.parent.close()
    with pytest.raises(_Told):
        pair.may_go(math.inf)
