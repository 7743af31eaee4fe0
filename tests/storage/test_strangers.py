"""Keys of no known node: the absence of the target's key proves nothing while one of them may be the target's."""

import pytest

from fencer.model import ArbitrationMode
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    LunFailed,
    LunIsolated,
    LunState,
    Noted,
    Observation,
    StorageDone,
)
from fencer.request import OtherKeys, StorageSettings
from fencer.storage import procedure
from fencer.storage.isolation import isolate
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past
from fencer.storage.reservations import guard_key
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B, C, contest, deadline, lun, registered

NAMED = OtherKeys((A, B))


def settings_for(mode: ArbitrationMode, others: OtherKeys | None) -> StorageSettings:
    return StorageSettings(("x",), None, A, B, arbitration=mode, others=others)


def fence(target: FakeTarget, mode: ArbitrationMode, others: OtherKeys | None = NAMED) -> list[Observation]:
    seen: list[Observation] = []
    opened = Opened((lun(target, "a"),))
    procedure.fence(opened, settings_for(mode, others), A, B, 0.0, lambda *what: seen.extend(what), deadline())
    return seen


@pytest.mark.parametrize(
    ("names", "others", "isolated"),
    [
        (("a", "c"), NAMED, False),
        (("a", "c"), OtherKeys((A, B, C)), True),
        (("a", "c"), None, True),  # no file says which nodes there are
        (("a", "b", "c"), NAMED, True),  # its key was there, and we took it
        (("a", "c"), OtherKeys((), 1), True),  # by hand, three nodes: the third one's
        (("a", "c", "d"), OtherKeys((), 1), False),
        (("a",), NAMED, True),
    ],
)
@pytest.mark.parametrize("unopposed", [False, True])
def test_a_lun_is_not_isolated_by_the_absence_of_that_key(
    names: tuple[str, ...], others: OtherKeys | None, isolated: bool, unopposed: bool
) -> None:
    target = registered(*names)
    end = isolate(lun(target, "a"), contest(others=others), deadline(), unopposed=unopposed)
    assert isinstance(end, LunIsolated if isolated else LunFailed)
    if isinstance(end, LunFailed):
        assert str(C) in end.reason


def test_the_guard_key_of_a_known_node_is_no_stranger_s() -> None:
    target = registered("a")
    target.registrations[target._session("a2")] = int(guard_key(A))
    assert isinstance(isolate(lun(target, "a"), contest(others=NAMED), deadline()), LunIsolated)


@pytest.mark.parametrize("mode", list(ArbitrationMode))
def test_a_fence_proves_nothing_then(mode: ArbitrationMode) -> None:
    seen = fence(registered("a", "c"), mode)
    assert not any(isinstance(what, LunIsolated) for what in seen)
    arbitrated = [what.result for what in seen if isinstance(what, Arbitrated)]
    assert arbitrated == ([] if mode is ArbitrationMode.OFF else [ArbitrationResult.WON])


def test_nor_does_status() -> None:
    seen: list[Observation] = []
    opened = Opened((lun(registered("a", "c"), "a"),))
    settings = settings_for(ArbitrationMode.REQUIRED, NAMED)
    procedure.status(opened, settings, B, lambda *what: seen.extend(what), deadline())
    assert [type(what) for what in seen] == [LunFailed, StorageDone]


@pytest.mark.parametrize(
    ("names", "others", "failed", "noted"),
    [
        (("a", "b"), NAMED, False, False),
        (("a", "c"), NAMED, True, False),
        (("a", "b", "c"), NAMED, False, True),
        (("a",), NAMED, False, False),
        (("a", "c"), OtherKeys((), 1), False, False),
        (("a", "c"), None, False, False),
    ],
)
def test_monitor_tells_beforehand(names: tuple[str, ...], others: OtherKeys | None, failed: bool, noted: bool) -> None:
    target = registered(*names)
    seen: list[Observation] = []
    settings = settings_for(ArbitrationMode.REQUIRED, others)
    past = Past(History.REGISTERED, 1, A)
    opened = Opened((lun(target, "a"),))
    procedure.monitor(opened, settings, A, lambda _wwid: past, lambda *what: seen.extend(what), deadline())
    assert any(isinstance(what, LunFailed) for what in seen) is failed
    assert any(isinstance(what, LunState) for what in seen) is not failed
    assert any(isinstance(what, Noted) and str(C) in what.text for what in seen) is noted
    assert target.log == []


def test_monitor_only_notes_it_where_power_proves() -> None:
    seen: list[Observation] = []
    settings = settings_for(ArbitrationMode.REQUIRED, NAMED)
    past = Past(History.REGISTERED, 1, A)
    opened = Opened((lun(registered("a", "c"), "a"),))
    procedure.monitor(opened, settings, A, lambda _: past, lambda *what: seen.extend(what), deadline(), needed=False)
    assert not any(isinstance(what, LunFailed) for what in seen)
    assert any(isinstance(what, Noted) and str(C) in what.text for what in seen)
