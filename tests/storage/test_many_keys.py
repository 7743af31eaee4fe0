# SPDX-License-Identifier: Apache-2.0
"""A target that lists as many keys as it can, or names of any length: what is said of it fits into one message."""

from _pickle import dumps

import pytest

from fencer.model import ArbitrationMode, OtherKeys, ReservationKey
from fencer.observations import LunFailed, LunIsolated, Observation
from fencer.storage import procedure
from fencer.storage.isolation import isolate
from fencer.storage.look import NAMES_MOST, Look, some_of
from fencer.storage.pr import Registration, Reservation
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past
from fencer.storage.settings import StorageSettings
from fencer.worker import MESSAGE_BYTES
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import WERO, A, B, C, contest, deadline, lun, registered

STRANGERS = range(1000, 1000 + 8189)
THREE = OtherKeys((A, B, C))


@pytest.fixture
def target() -> FakeTarget:
    """Node a's key and so many that nobody knows as READ KEYS can list: 8,190 in 65,535 bytes."""
    target = registered("a")
    for key in STRANGERS:
        target.registrations[target._session(f"s{key}")] = key
    return target


@pytest.mark.parametrize("others", [THREE, None])
def test_a_fence_says_which_in_one_message(target: FakeTarget, others: OtherKeys | None) -> None:
    seen: list[Observation] = []
    opened = Opened((lun(target, "a"),))
    procedure.fence(
        opened, contest(others=others), ArbitrationMode.REQUIRED, "x", lambda *what: seen.extend(what), deadline()
    )
    (failed,) = (what for what in seen if isinstance(what, LunFailed))
    assert f"{ReservationKey(STRANGERS[0])}, " in failed.reason
    assert f" and {len(STRANGERS) - NAMES_MOST} more are, of no node that is known here" in failed.reason
    assert len(dumps(seen)) < MESSAGE_BYTES / 16


def test_a_monitor_says_which_in_one_message(target: FakeTarget) -> None:
    seen: list[Observation] = []
    settings = StorageSettings(("x",), None, A, others=THREE)
    past = Past(History.REGISTERED, 1, A)
    opened = Opened((lun(target, "a"),))
    procedure.monitor(opened, settings, lambda _: past, lambda *what: seen.extend(what), deadline(), needed=True)
    (failed,) = (what for what in seen if isinstance(what, LunFailed))
    assert f" and {len(STRANGERS) - NAMES_MOST} more belong to no known node" in failed.reason
    assert len(dumps(seen)) < MESSAGE_BYTES / 16


def test_paths_that_differ_are_named_in_one_message() -> None:
    looks = [Look(n, frozenset(map(ReservationKey, STRANGERS)), Reservation(n, A, WERO)) for n in range(2)]
    assert all(len(str(look)) < 1000 for look in looks)
    assert str(looks[0]).startswith(f"generation 0, keys {ReservationKey(STRANGERS[0])}, ")


def test_ports_of_any_length_are_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = lun(registered("a", "b"), "a")
    left = tuple(
        Registration(C, False, False, None, 1, b"", f"{number}{'é' * 60_000}") for number in range(2 * NAMES_MOST)
    )
    monkeypatch.setattr(type(unit), "registered_on", lambda *_: left)
    end = isolate(unit, contest(others=THREE), deadline())
    assert isinstance(end, LunFailed)
    assert f"registered under {C}, too, on " in end.reason
    assert len(dumps(end)) < MESSAGE_BYTES / 8


@pytest.mark.parametrize("number", [190, 254, 255, 256, 600])
def test_a_list_that_the_target_has_cut_is_read_again_with_room_for_all(number: int) -> None:
    """The victim's key is the last one. LIO says of the keys that fit that they are all."""
    target = FakeTarget(cuts_lists=True)
    for position in range(number - 2):
        target.registrations[target._session(f"c{position}")] = int(C)
    registered("a", "b", target=target)
    unit = lun(target, "a")
    assert unit.look(deadline()).keys == {A, B, C}
    status = unit.nexuses[0].read_full_status(deadline())
    assert status is not None and len(status.registrations) == number
    end = isolate(unit, contest(), deadline())
    assert isinstance(end, LunIsolated)
    assert not end.already
    assert B not in target.keys


def test_few_are_named_as_they_are() -> None:
    assert some_of(()) == ""
    assert some_of((A, B)) == f"{A}, {B}"
    assert " more" not in some_of([A] * NAMES_MOST)
    assert some_of([A] * (NAMES_MOST + 1)).endswith(f"{A} and 1 more")
