# SPDX-License-Identifier: Apache-2.0
"""The rounds over a LUN's paths: how they are spaced, when the last one comes, and what is said when none answers."""

import sys
import time
from _thread import get_ident

import pytest

from fencer.errors import CommandFailed, NotRegistered, PathsDiffer, StorageError, StorageRefused, TransportError
from fencer.model import Deadline
from fencer.storage.initiator_ports import ports_of
from fencer.storage.logical_unit import DIFFER_PAUSE_S, LAST_ROUND_S, LOOK_S, ONE_THREAD_S, LogicalUnit, RoundPause
from fencer.storage.look import Look
from fencer.storage.nexus import PASSING_S, PATH_S, Nexus
from fencer.storage.transport import ScsiReply
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import GONE, FaultyPath, faulty, never, unit
from tests.storage.nodes import A, B, Clock, deadline, lun, registered, unbound


class Slept(Clock):
    """A clock that notes each sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        super().sleep(seconds)


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_rounds_come_ever_slower_up_to_a_bound() -> None:
    clock = Slept()
    pause, end = RoundPause(unit(registered("a").nexus("a"), clock=clock)), deadline(clock)
    assert all(pause.take(end) for _ in range(7))
    assert clock.sleeps == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 0.8, 0.8])


def test_the_last_round_comes_shortly_before_the_deadline() -> None:
    clock = Clock()
    paths = [faulty(registered("a1"), "a1", clock), faulty(registered("a2"), "a2", clock)]
    with pytest.raises(TransportError):
        unit(*paths, clock=clock).look(deadline(clock, seconds=10))
    for path in paths:
        assert path.sent[-1][0] == pytest.approx(10 - LAST_ROUND_S, abs=0.02)
    assert clock.now <= 10


@pytest.mark.parametrize("left_s", [0.0, LAST_ROUND_S / 2])
def test_after_the_last_round_nothing_is_waited_for(left_s: float) -> None:
    clock = Slept()
    pause = RoundPause(unit(registered("a").nexus("a"), clock=clock))
    assert not pause.take(deadline(clock, seconds=left_s))
    assert clock.sleeps == []


def test_paths_that_differ_are_read_again_ever_later() -> None:
    clock = Slept()
    gateways = unit(registered("a", "b").nexus("a"), registered("a", "b", "c").nexus("a"), clock=clock)
    with pytest.raises(PathsDiffer):
        gateways.look_everywhere(deadline(clock))
    assert clock.sleeps == pytest.approx([DIFFER_PAUSE_S * number for number in (1, 2, 3, 4)])


def test_a_look_has_the_time_that_a_path_may_take() -> None:
    """And beside one path that is silent the others have nearly all of it."""
    assert LOOK_S == PATH_S + PASSING_S
    assert ONE_THREAD_S <= LOOK_S / 10


# --- one path, or none ------------------------------------------------------------------------------------------------


def test_the_only_path_is_not_asked_for_what_was_just_seen() -> None:
    clock = Clock()
    path = faulty(registered("a", "b"), "a", clock, GONE, never)
    only = unit(path, clock=clock)
    looks = only.look_everywhere(deadline(clock))
    assert isinstance(looks.look, Look)
    assert (looks.look.keys, looks.paths, looks.failures) == ({A, B}, 1, ())
    asked = len(path.sent)
    assert asked
    assert only.look_everywhere(deadline(clock), looks.look) == looks
    assert len(path.sent) == asked


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_lun_without_paths_says_so_at_once(everywhere: bool) -> None:
    clock = Clock()
    none = unit(clock=clock)
    with pytest.raises(StorageRefused, match=r"^lun: no path to it could be found$") as raised:
        (none.look_everywhere if everywhere else none.look)(deadline(clock))
    assert raised.value.remedy == StorageRefused("").remedy
    none.pause(5.0, deadline(clock))
    assert clock.now < 1


def test_a_lun_is_neither_active_nor_private_unless_that_is_said() -> None:
    one = LogicalUnit("naa.1", "lun", ())
    assert (one.active_here, one.private) == (False, False)


# --- when none answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TransportError, StorageRefused, NotRegistered])
def test_the_remedy_of_a_path_is_that_of_its_lun(kind: type[StorageError]) -> None:
    clock = Clock()
    path = faulty(registered("a"), "a", clock, kind("/dev/sdb: bad", "mend it"))
    with pytest.raises(kind, match=r"^/dev/sdb: bad$") as raised:
        unit(path, clock=clock).look(deadline(clock, seconds=2))
    assert raised.value.remedy == "mend it"


def test_paths_that_answer_only_one_look_do_not_differ() -> None:
    """No path answers when all are read, and one of them directly afterwards."""
    clock, target = Clock(), registered("a1", "a2")

    def each_third(path: FaultyPath, _cdb: bytes) -> bool:
        return len(path.sent) % 3 == 1  # a look takes the two others

    lun = unit(faulty(target, "a1", clock, GONE, each_third), faulty(target, "a2", clock), clock=clock)
    with pytest.raises(TransportError, match=r"DID_NO_CONNECT; .*DID_NO_CONNECT$"):
        lun.look_everywhere(deadline(clock))


# --- one moment -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", [1, 5000, (1 << 32) - 1])
def test_a_reading_is_of_one_generation_whatever_it_is(generation: int) -> None:
    """Also where it begins anew between the two readings, or is no small number."""
    clock, target = Clock(), registered("a", "b")
    target.generation = generation

    def once(path: FaultyPath, _cdb: bytes) -> bool:
        if len(path.sent) == 2:
            registered("c", holder=None, target=target)
            target.generation %= 1 << 32
        return False

    path = faulty(target, "a", clock, GONE, once)
    look = unit(path, clock=clock).look(deadline(clock))
    assert (look.generation, len(look.keys)) == (target.generation, 3)
    assert len(path.sent) == 4


# --- whose ports are registered ---------------------------------------------------------------------------------------


def test_where_no_port_is_asked_about_nothing_is_read() -> None:
    clock = Clock()
    path = faulty(registered("a"), "a", clock, GONE, never)
    assert unit(path, clock=clock).registered_on(frozenset(), deadline(clock)) == ()
    assert path.sent == []


def test_a_target_that_no_longer_tells_ports_is_no_proof() -> None:
    target, end = registered("a", "b"), deadline()
    nexus = Nexus(target.nexus("a"), sleep=lambda _: None)
    status = nexus.read_full_status(end)
    assert status is not None
    ports = ports_of(status, (B,), A)
    assert [each.key for each in lun(target, "a").registered_on(ports, end)] == [B]
    silent = registered("a", "b", target=FakeTarget(full_status=False))
    with pytest.raises(StorageError, match="READ FULL STATUS: not supported any more"):
        lun(silent, "a").registered_on(ports, end)
    gone = LogicalUnit(
        "naa.1", "lun", [Nexus(FaultyPath(target.nexus("a"), Clock(), CommandFailed("a: odd")))], bound=unbound
    )
    with pytest.raises(StorageError, match=r"^a: odd$"):
        gone.registered_on(ports, end)


# --- its end ----------------------------------------------------------------------------------------------------------


class Closing:
    """A path that says whether it was closed, and which threads sent its commands."""

    name = "path"

    def __init__(self, inner: FakeTarget) -> None:
        self.nexus, self.closed, self.threads = inner.nexus("a"), False, set[int]()

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        self.threads.add(get_ident())
        return self.nexus.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=timeout_s)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("count", [1, 2])
def test_a_lun_that_is_closed_leaves_neither_a_path_nor_a_thread(count: int) -> None:
    paths = [Closing(registered("a")) for _ in range(count)]
    one = LogicalUnit("naa.1", "lun", [Nexus(path) for path in paths])
    one.look_everywhere(Deadline.after(30))
    spare = set[int]().union(*(path.threads for path in paths)) - {get_ident()}
    assert bool(spare) is (count > 1)
    one.close()
    assert all(path.closed for path in paths)
    until = time.monotonic() + 30
    while spare & sys._current_frames().keys() and time.monotonic() < until:
        time.sleep(0.01)
    assert not spare & sys._current_frames().keys()
