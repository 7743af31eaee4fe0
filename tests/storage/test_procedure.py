# SPDX-License-Identifier: Apache-2.0
"""Many LUNs: one arbitrates, all are isolated, one that fails is named and spoils the proof."""

import threading
import time
from collections.abc import Callable

import pytest

from fencer.model import ArbitrationMode, Deadline, ReservationKey
from fencer.observations import (
    Arbitrated,
    ArbitrationResult,
    LunFailed,
    LunIsolated,
    LunRegistered,
    LunState,
    Noted,
    Observation,
    StorageDone,
)
from fencer.storage import procedure
from fencer.storage.arbitration import Contest, RaceResult
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import guard_key
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past, Terms
from fencer.storage.settings import StorageSettings
from fencer.storage.transport import ScsiReply
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import WERO, A, B, Clock, deadline, lun, registered


def targets(count: int = 3) -> list[FakeTarget]:
    return [registered("a", "b", target=FakeTarget(wwid=f"naa.6001405{n:025x}")) for n in range(count)]


SETTINGS = StorageSettings(("x",), None, A)
CONTEST = Contest.on(SETTINGS, A, B, slot_s=0.0, repair=True)


def telling(seen: list[Observation]) -> procedure.Emit:
    def emit(*what: Observation) -> None:
        seen.extend(what)

    return emit


def fence(opened: Opened, mode: ArbitrationMode = ArbitrationMode.REQUIRED) -> list[Observation]:
    seen: list[Observation] = []
    procedure.fence(opened, CONTEST, mode, "x", telling(seen), deadline())
    return seen


@pytest.mark.parametrize("re_register", [False, True])
def test_a_lun_whose_turn_comes_too_late_is_named_and_nothing_is_sent(re_register: bool) -> None:
    shared, seen = targets(2), list[Observation]()
    before = [len(target.log) for target in shared]
    opened = Opened(tuple(lun(target, "a") for target in shared))
    never = Past(History.NEVER)
    terms = Terms.on(SETTINGS, A, re_register=re_register)
    procedure.register_all(opened, terms, lambda _: never, telling(seen), Deadline.after(0))
    failed = [what for what in seen if isinstance(what, LunFailed)]
    assert {what.lun for what in failed} == {each.name for each in opened.luns}
    assert all("the deadline passed before it was its turn" in what.reason for what in failed)
    assert [len(target.log) for target in shared] == before


def test_the_smallest_wwid_arbitrates_whatever_the_order() -> None:
    shared = targets()
    for order in (shared, shared[::-1]):
        assert Opened(tuple(lun(t, "a") for t in order)).in_order[0].wwid == shared[0].wwid


def test_the_smallest_wwid_arbitrates_also_where_names_sort_otherwise() -> None:
    """Names are what this node's operator wrote: another node may have others for the same LUNs."""
    shared = targets(2)
    nexuses = [[Nexus(target.nexus("a"), sleep=lambda _: None)] for target in shared]
    luns = tuple(LogicalUnit(t.wwid, name, n) for t, name, n in zip(shared, ("zz", "aa"), nexuses, strict=True))
    for order in (luns, luns[::-1]):
        assert [each.name for each in Opened(order).in_order] == ["zz", "aa"]
    seen = fence(Opened(luns))
    assert isinstance(seen[0], Arbitrated)
    assert seen[0].lun == "zz"


def test_all_are_isolated() -> None:
    shared = targets()
    seen = fence(Opened(tuple(lun(t, "a") for t in shared)))
    assert isinstance(seen[0], Arbitrated)
    assert seen[-1] == StorageDone(3)
    assert sum(isinstance(what, LunIsolated) for what in seen) == 3
    assert all(t.keys == [A] for t in shared)


def test_one_of_many_fails_and_the_rest_stays_isolated() -> None:
    shared = targets()
    shared[1].silent.add("a")
    seen = fence(Opened(tuple(lun(t, "a") for t in shared)))
    assert [type(what) for what in seen].count(LunFailed) == 1
    assert [t.keys == [A] for t in shared] == [True, False, True]


def test_a_lost_race_leaves_every_other_lun_alone() -> None:
    shared = targets()
    shared[0]._unregister([shared[0]._session("a")], attention=None)
    seen = fence(Opened(tuple(lun(t, "a") for t in shared)))
    assert [what.result for what in seen if isinstance(what, Arbitrated)] == [ArbitrationResult.LOST]
    assert len(seen) == 1
    assert all(t.log == [] for t in shared)


@pytest.mark.parametrize("mode", [ArbitrationMode.REQUIRED, ArbitrationMode.PREFERRED])
def test_an_unknown_lun_cannot_be_left_out_of_the_arbitration(mode: ArbitrationMode) -> None:
    shared = targets(2)
    opened = Opened(tuple(lun(t, "a") for t in shared), (LunFailed("y", "y: no WWID"),))
    seen = fence(opened, mode)
    assert isinstance(seen[0], Arbitrated)
    assert seen[0].result is ArbitrationResult.UNREACHABLE
    if mode is ArbitrationMode.REQUIRED:
        assert all(t.log == [] for t in shared)
    else:
        assert seen[-1] == StorageDone(3)
        assert LunFailed("y", "y: no WWID") in seen


def test_no_lun_at_all_is_unreachable() -> None:
    seen = fence(Opened(()))
    assert [what.result for what in seen if isinstance(what, Arbitrated)] == [ArbitrationResult.UNREACHABLE]


def test_unfencing_refused_on_one_lun_registers_on_none() -> None:
    shared = targets()
    for target in shared:
        target._unregister([target._session("a")], attention=None)
    seen: list[Observation] = []

    def past_of(wwid: str) -> Past:
        return Past(History.REGISTERED, 1, A) if wwid == shared[1].wwid else Past(History.NEVER)

    opened = Opened(tuple(lun(t, "a") for t in shared))
    procedure.register_all(opened, Terms.on(SETTINGS, A), past_of, telling(seen), deadline())
    assert not any(isinstance(what, LunRegistered) for what in seen)
    assert all(t.log == [] for t in shared)


@pytest.mark.parametrize(
    ("names", "holder", "state"),
    [
        (("a", "b"), "a", (True, True)),
        (("a",), "a", (False, True)),
        (("a",), None, (False, False)),
        ((), None, (False, False)),
    ],
)
def test_status_writes_nothing(names: tuple[str, ...], holder: str | None, state: tuple[bool, bool]) -> None:
    target = registered(*names, holder=holder)
    seen: list[Observation] = []
    procedure.status(Opened((lun(target, "b"),)), CONTEST, telling(seen), deadline())
    assert seen == [LunState(lun(target).name, *state), StorageDone(1)]
    assert target.log == []


def test_a_guard_key_is_a_registration_to_status() -> None:
    target = registered("a", "b")
    target.registrations[target._session("b")] = int(guard_key(B))
    seen: list[Observation] = []
    procedure.status(Opened((lun(target, "a"),)), CONTEST, telling(seen), deadline())
    assert seen == [LunState(lun(target).name, True, True), StorageDone(1)]


@pytest.mark.parametrize(
    ("target", "own", "past", "good", "noted"),
    [
        (registered("a", "b"), A, Past(History.REGISTERED, 1, A), True, False),
        (registered("b"), A, Past(History.NEVER), True, True),
        (registered("b"), A, Past(History.REGISTERED, 1, A), False, False),
        (registered("b"), A, Past(History.UNKNOWN), False, False),
        (registered("a", "b", holder=None), A, Past(History.REGISTERED, 1, A), False, False),
        (registered("a", target=FakeTarget(preempt_and_abort=False)), A, Past(History.REGISTERED, 1, A), True, True),
        (registered("a", target=FakeTarget(aptpl=False)), A, Past(History.REGISTERED, 1, A), True, True),
    ],
)
def test_monitor_says_whether_a_fence_would_work_and_writes_nothing(
    target: FakeTarget, own: ReservationKey, past: Past, good: bool, noted: bool
) -> None:
    seen: list[Observation] = []
    opened = Opened((lun(target, "a"),))
    procedure.monitor(opened, SETTINGS._replace(own_key=own), lambda _wwid: past, telling(seen), deadline())
    assert any(isinstance(what, LunState) for what in seen) is good
    assert any(isinstance(what, LunFailed) for what in seen) is not good
    assert any(isinstance(what, Noted) for what in seen) is noted
    assert target.log == []
    assert WERO is SETTINGS.reservation_type


# --- no arbiter -------------------------------------------------------------------------------------------------------

UNNAMED = (LunFailed("other", "other: no answer"),)


@pytest.mark.parametrize("mode", [ArbitrationMode.REQUIRED, ArbitrationMode.PREFERRED])
@pytest.mark.parametrize(
    ("ours", "silent", "result", "shown"),
    [
        ("aa", "", ArbitrationResult.UNREACHABLE, True),
        ("a-", "", ArbitrationResult.LOST, False),
        ("-a", "", ArbitrationResult.LOST, False),
        ("aa", "x", ArbitrationResult.UNREACHABLE, True),
        ("aa", "xx", ArbitrationResult.UNREACHABLE, False),
        ("", "", ArbitrationResult.UNREACHABLE, False),
    ],
)
def test_without_an_arbiter_the_other_luns_show_whether_this_node_is_registered(
    ours: str, silent: str, result: ArbitrationResult, shown: bool, mode: ArbitrationMode
) -> None:
    """ours: on which LUNs this node's key is."""
    shared = [
        registered(*(["a"] if key == "a" else []), "b", target=FakeTarget(wwid=f"naa.6001405{number:025x}"))
        for number, key in enumerate(ours)
    ]
    for target, _ in zip(shared, silent, strict=False):
        target.silent.add("a")
    clock = Clock()
    seen: list[Observation] = []
    opened = Opened(tuple(lun(t, "a", clock=clock) for t in shared), UNNAMED)
    procedure.fence(opened, CONTEST, mode, "x", telling(seen), deadline(clock))
    end = seen[0]
    assert isinstance(end, Arbitrated)
    assert (end.result, end.registered) == (result, shown)
    if result is ArbitrationResult.LOST:
        assert all(t.log == [] for t in shared)
        assert "is not registered on lun-" in end.reason


# --- asked again -----------------------------------------------------------------------------------------------------


class Asker:
    """Asks what the test tells it to ask, and keeps the answers. Nothing more is asked after the last one."""

    def __init__(self, *before: Callable[[], None]) -> None:
        """before: what happens before each question."""
        self.answers: list[RaceResult | None] = []
        self._before = list(before)

    def __call__(self) -> procedure.Answer | None:
        if not self._before:
            return None
        self._before.pop(0)()
        return self.answers.append

    @property
    def results(self) -> list[ArbitrationResult | None]:
        return [end.result if end is not None else None for end in self.answers]


def asked_fence(
    opened: Opened, asker: Asker, seen: list[Observation], mode: ArbitrationMode = ArbitrationMode.REQUIRED
) -> None:
    procedure.fence(opened, CONTEST, mode, "x", telling(seen), deadline(), asked=asker)


def nothing() -> None:
    pass


@pytest.mark.parametrize("count", [1, 3])
def test_who_is_asked_again_looks_again_and_writes_nothing(count: int) -> None:
    shared = targets(count)
    seen: list[Observation] = []
    written: list[int] = []

    def all_over() -> None:
        until = time.monotonic() + 20
        while StorageDone(count) not in seen:
            assert time.monotonic() < until
            time.sleep(0.001)
        written.append(len(shared[0].log))

    def target_is_back() -> None:
        written.append(len(shared[0].log))
        shared[0].registrations[shared[0]._session("b")] = int(B)

    def we_are_fenced() -> None:
        written.append(len(shared[0].log))
        shared[0]._unregister([shared[0]._session("a")], attention=None)

    def silence() -> None:
        written.append(len(shared[0].log))
        shared[0].silent.add("a")

    asker = Asker(all_over, nothing, target_is_back, we_are_fenced, silence)
    asked_fence(Opened(tuple(lun(t, "a") for t in shared)), asker, seen)
    won, lost, unreachable = ArbitrationResult.WON, ArbitrationResult.LOST, ArbitrationResult.UNREACHABLE
    assert asker.results == [won, won, None, lost, unreachable]
    assert len({*written, len(shared[0].log)}) == 1


def test_a_read_that_conflicts_when_it_is_asked_again_is_lost() -> None:
    shared = targets(1)

    def we_are_fenced() -> None:
        shared[0].reads_need_registration = True
        shared[0]._unregister([shared[0]._session("a")], attention=None)

    asker = Asker(we_are_fenced)
    asked_fence(Opened((lun(shared[0], "a"),)), asker, [])
    assert asker.results == [ArbitrationResult.LOST]


@pytest.mark.parametrize("back_on", ["b1", "b2"])
def test_the_arbiter_is_looked_at_over_every_path(back_on: str) -> None:
    """Two gateways, each with its own state: the target is back at one of them."""
    gateways = {name: registered("a") for name in ("1", "2")}
    nexuses = [Nexus(gateway.nexus("a"), sleep=lambda _: None) for gateway in gateways.values()]
    unit = LogicalUnit(gateways["1"].wwid, "lun", nexuses)

    def target_is_back() -> None:
        gateway = gateways[back_on[1]]
        gateway.registrations[gateway._session("b")] = int(B)

    asker = Asker(nothing, target_is_back)
    asked_fence(Opened((unit,)), asker, [])
    assert asker.results[0] is ArbitrationResult.WON
    assert asker.results[1] is not ArbitrationResult.WON


def test_the_arbiter_is_looked_at_while_another_lun_hangs() -> None:
    shared = targets(2)
    hangs, may_end = threading.Event(), threading.Event()
    serve = shared[1].execute

    def hang(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        hangs.set()
        assert may_end.wait(30)
        return serve(initiator, cdb, data_out, length)

    shared[1].execute = hang  # type: ignore[method-assign]
    seen: list[Observation] = []
    asker = Asker(lambda: None if hangs.wait(30) else pytest.fail("it was never asked"))
    asked_fence(Opened(tuple(lun(t, "a") for t in shared)), asker, seen)
    assert asker.results == [ArbitrationResult.WON]
    assert not any(isinstance(what, StorageDone) for what in seen)
    may_end.set()


@pytest.mark.parametrize("mode", [ArbitrationMode.OFF, ArbitrationMode.PREFERRED, ArbitrationMode.REQUIRED])
def test_no_question_is_asked_where_no_race_was_won(mode: ArbitrationMode) -> None:
    shared = targets(1)
    if mode is not ArbitrationMode.OFF:
        shared[0].silent.add("a")
    asker = Asker(nothing)
    asked_fence(Opened((lun(shared[0], "a"),)), asker, [], mode)
    assert asker.answers == []


@pytest.mark.parametrize("asked", [False, True])
def test_where_arbitration_is_only_preferred_a_silent_arbiter_leaves_power_half_of_the_time(asked: bool) -> None:
    clock = Clock()
    target = registered("a", "b")
    asker = Asker(lambda: target.silent.add("a"))
    told: list[float] = []
    if not asked:
        target.silent.add("a")

    def emit(*what: Observation) -> None:
        told.extend(clock.now for each in what if isinstance(each, Arbitrated))

    opened = Opened((lun(target, "a", clock=clock),))
    procedure.fence(opened, CONTEST, ArbitrationMode.PREFERRED, "x", emit, deadline(clock, 30.0), asked=asker)
    if asked:
        assert asker.results == [ArbitrationResult.UNREACHABLE]
        assert 14 < clock.now < 16
    else:
        assert 14 < told[0] < 16
