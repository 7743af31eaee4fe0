# SPDX-License-Identifier: Apache-2.0
"""Keys of no known node: the absence of the target's key proves nothing while one of them may be the target's."""

import pytest

from fencer.model import ArbitrationMode, OtherKeys, ReservationKey
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    LunFailed,
    LunIsolated,
    LunState,
    Observation,
    StorageDone,
)
from fencer.storage import procedure
from fencer.storage.arbitration import arbitrate
from fencer.storage.isolation import isolate
from fencer.storage.look import guard_key
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past
from fencer.storage.settings import StorageSettings
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B, C, contest, deadline, lun, registered

D = ReservationKey(0xD)
NAMED = OtherKeys((B, D))
"""Three nodes: ours, the target, and d."""
TWO = OtherKeys((B,))


def fence(target: FakeTarget, mode: ArbitrationMode, others: OtherKeys | None = NAMED) -> list[Observation]:
    seen: list[Observation] = []
    opened = Opened((lun(target, "a"),))
    procedure.fence(opened, contest(others=others), mode, "x", lambda *what: seen.extend(what), deadline())
    return seen


@pytest.mark.parametrize(
    ("names", "others", "isolated"),
    [
        (("a", "c"), NAMED, False),
        (("a", "c"), OtherKeys((B, C)), True),
        (("a", "c"), None, False),  # no file says which nodes there are
        (("a",), None, True),
        (("a", "b", "c"), None, True),
        (("a", "b", "c"), NAMED, True),  # its key was there, and we took it
        (("a", "c"), OtherKeys((), 1), False),  # typed, three nodes: the third one's, or the target's, typed wrongly
        (("a", "b", "c"), OtherKeys((), 1), True),
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


@pytest.mark.parametrize("names", [("a", "c"), ("a", "b", "c"), ("a", "c", "d")])
@pytest.mark.parametrize("others", [TWO, OtherKeys((A, B)), OtherKeys(())])
@pytest.mark.parametrize("unopposed", [False, True])
def test_of_two_nodes_every_other_key_is_taken(names: tuple[str, ...], others: OtherKeys, unopposed: bool) -> None:
    """The target may be registered by other files than ours, also on some of its paths only."""
    target = registered(*names)
    end = isolate(lun(target, "a"), contest(others=others), deadline(), unopposed=unopposed)
    assert end == LunIsolated(lun(target, "a").name, aborted=True, already=False)
    assert target.keys == [A]


@pytest.mark.parametrize("names", [("a", "c"), ("a", "b", "c"), ("a", "c", "d")])
def test_of_two_nodes_the_race_is_won_when_no_other_key_is_left(names: tuple[str, ...]) -> None:
    target = registered(*names)
    assert arbitrate(lun(target, "a"), contest(others=TWO), deadline()).result is ArbitrationResult.WON
    assert target.keys == [A]
    more = registered(*names)
    assert arbitrate(lun(more, "a"), contest(others=NAMED), deadline()).result is ArbitrationResult.WON
    assert C in more.keys


@pytest.mark.parametrize("first", ["a", "d"])
def test_of_two_nodes_that_expect_each_other_under_other_keys_one_wins(first: str) -> None:
    """Node a's files say a and b, node d's say c and d."""
    target = registered("a", "d")
    contests = {"a": contest(A, B, others=OtherKeys((B,))), "d": contest(D, C, others=OtherKeys((C,)))}
    ends = {}
    for name in (first, "d" if first == "a" else "a"):
        ends[name] = arbitrate(lun(target, name), contests[name], deadline()).result
    assert ends.pop(first) is ArbitrationResult.WON
    assert list(ends.values()) == [ArbitrationResult.LOST]
    assert target.keys == [int(first, 16)]


@pytest.mark.parametrize(("strangers", "doubted"), [((), False), (("c",), True), (("c", "d"), True)])
def test_where_keys_are_typed_each_stranger_is_a_doubt(strangers: tuple[str, ...], doubted: bool) -> None:
    """As many as there are nodes without a name are no proof: one of those may be absent, and the target there."""
    some = contest(others=OtherKeys((A, B), unnamed_most=1))
    look = lun(registered("a", *strangers), "a").look(deadline())
    assert (some.doubt(look) is not None) is doubted


@pytest.mark.parametrize(
    ("strangers", "says"), [(("c",), f"but {C} is, of no node"), (("c", "d"), f"but {C}, {D} are, of no node")]
)
def test_a_doubt_names_each_key_of_no_known_node(strangers: tuple[str, ...], says: str) -> None:
    doubt = contest(others=OtherKeys((A, B))).doubt(lun(registered("a", *strangers), "a").look(deadline()))
    assert doubt is not None
    assert says in doubt


def test_the_guard_key_of_a_known_node_is_no_stranger_s() -> None:
    target = registered("a")
    target.registrations[target._session("a2")] = int(guard_key(A))
    assert isinstance(isolate(lun(target, "a"), contest(others=NAMED), deadline()), LunIsolated)


@pytest.mark.parametrize("mode", list(ArbitrationMode))
@pytest.mark.parametrize("others", [NAMED, None])
def test_a_fence_proves_nothing_then(mode: ArbitrationMode, others: OtherKeys | None) -> None:
    seen = fence(registered("a", "c"), mode, others)
    assert not any(isinstance(what, LunIsolated) for what in seen)
    arbitrated = [what.result for what in seen if isinstance(what, Arbitrated)]
    assert arbitrated == ([] if mode is ArbitrationMode.OFF else [ArbitrationResult.WON])


@pytest.mark.parametrize("others", [NAMED, TWO, None])
def test_nor_does_status(others: OtherKeys | None) -> None:
    seen: list[Observation] = []
    opened = Opened((lun(registered("a", "c"), "a"),))
    procedure.status(opened, contest(others=others), lambda *what: seen.extend(what), deadline())
    assert [type(what) for what in seen] == [LunFailed, StorageDone]


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize(
    ("names", "others", "failed"),
    [
        (("a", "b"), NAMED, False),
        (("a", "b", "d"), NAMED, False),
        (("a", "c"), NAMED, True),
        (("a", "b", "c"), NAMED, True),
        (("a", "b", "c"), TWO, True),
        (("a",), NAMED, False),
        (("a", "c"), OtherKeys((), 1), False),
        (("a", "b", "c"), OtherKeys((), 1), True),
        (("a", "c"), OtherKeys((B,), 1), False),
        (("a", "c"), None, False),
    ],
)
def test_monitor_fails_beforehand_whatever_proves(
    names: tuple[str, ...], others: OtherKeys | None, failed: bool, needed: bool
) -> None:
    """A node that has other files than this one would be fenced, and fence, by keys that nobody has."""
    target = registered(*names)
    seen: list[Observation] = []
    settings = StorageSettings(("x",), None, A, others=others)
    past = Past(History.REGISTERED, 1, A)
    opened = Opened((lun(target, "a"),))
    procedure.monitor(opened, settings, lambda _: past, lambda *what: seen.extend(what), deadline(), needed=needed)
    failures = [what for what in seen if isinstance(what, LunFailed)]
    assert [str(C) in what.reason for what in failures] == ([True] if failed else [])
    assert any(isinstance(what, LunState) for what in seen) is not failed
    assert target.log == []
