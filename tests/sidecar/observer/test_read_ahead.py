# SPDX-License-Identifier: Apache-2.0
"""What is read ahead proves that a path is well, and nothing else."""

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from fencer.sidecar.observer.read_ahead import AsyncReads, ReadAhead
from fencer.sidecar.observer.rounds import AHEAD_S
from fencer.sidecar.reports import PathSeen
from tests.sidecar.observer.path_rig import TIMING, Rig
from tests.storage.nodes import registered


class FakeReads:
    """Ends what it began when it is told to."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []
        self.results: list[tuple[int, int]] = []
        self.refuses = False
        self.answers = True

    def begin(self, reads: Sequence[tuple[int, int]]) -> int:
        if self.refuses:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.begun += reads
        if self.answers:
            self.results += [(number, 4096) for number, _ in reads]
        return len(reads)

    def ended(self, _least: int, timeout_s: float) -> list[tuple[int, int]]:
        results, self.results = self.results, []
        if not results:
            self.clock.now += timeout_s  # type: ignore[attr-defined]
        return results


class Ahead(Rig):
    """Both paths are well and registered, and due for a probe."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path, registered("a", "a2", "b"))
        self.lun.unfenced = True
        self.reads = FakeReads()
        self.reads.clock = self.clock  # type: ignore[attr-defined]
        for number, probe in enumerate(self.probes.values()):
            probe.descriptor = 1000 + number
        self.ahead = ReadAhead(self.reads, TIMING.probe_interval_s, lambda: list(self.paths.values()), self.clock)
        self.turns(3.0)
        self.clock.now += 1.0
        for probe in self.probes.values():
            probe.reads = 0

    def answers(self) -> dict[str, bool]:
        return {one.path: one.ok for one in self.take() if isinstance(one, PathSeen)}


@pytest.fixture
def rig(tmp_path: Path) -> Ahead:
    return Ahead(tmp_path)


def test_a_path_that_answers_is_well_and_its_turn_does_not_read_again(rig: Ahead) -> None:
    began_s = rig.clock.now
    rig.ahead.round()
    assert [descriptor for _, descriptor in rig.reads.begun] == [1000, 1001]
    (first, second) = rig.take()
    assert first == PathSeen(rig.target.wwid, "a", began_s, True, "", 0.0)
    assert isinstance(second, PathSeen) and second.path == "a2"
    rig.clock.now += AHEAD_S
    for path in rig.paths.values():
        path.turn()
    assert [probe.reads for probe in rig.probes.values()] == [0, 0]


@pytest.mark.parametrize("how", ["refused", "hangs", "fails", "empty", "no descriptor", "was slow"])
def test_where_it_proves_nothing_the_turn_reads_itself(rig: Ahead, how: str) -> None:
    rig.reads.answers = False
    match how:
        case "refused":
            rig.reads.refuses = True
        case "fails" | "empty":
            rig.reads.results = [(1, -errno.EIO if how == "fails" else 0), (2, -errno.EAGAIN)]
        case "no descriptor":
            for probe in rig.probes.values():
                probe.descriptor = None
        case "was slow":
            rig.probes["a"].takes_s = rig.probes["a2"].takes_s = 0.2
            rig.turns(1.0)
            rig.clock.now += 1.0
            for probe in rig.probes.values():
                probe.reads = 0
    rig.take()
    rig.ahead.round()
    assert rig.take() == []
    assert bool(rig.reads.begun) == (how in ("hangs", "fails", "empty"))
    rig.clock.now += AHEAD_S
    for path in rig.paths.values():
        path.turn()
    assert [probe.reads for probe in rig.probes.values()] == [1, 1]
    assert rig.answers() == {"a": True, "a2": True}


def test_a_path_is_asked_again_only_when_it_has_answered(rig: Ahead) -> None:
    rig.reads.answers = False
    rig.ahead.round()
    rig.turns(3.0)
    rig.clock.now += 1.0
    rig.ahead.round()
    assert len(rig.reads.begun) == 2
    rig.reads.results = [(1, 4096), (2, 4096)]
    rig.ahead.round()  # takes what has ended meanwhile
    rig.ahead.round()
    assert len(rig.reads.begun) == 4


@pytest.mark.parametrize("what", ["lost", "lost and back", "dropped", "left behind", "gone"])
def test_an_answer_counts_only_for_what_it_was_asked_of(rig: Ahead, what: str) -> None:
    path, probe = rig.paths["a"], rig.probes["a"]
    rig.paths = {"a": path}
    rig.reads.answers = False
    rig.ahead.round()
    if what.startswith("lost"):
        probe.reason = "EIO: Input/output error"
        path.turn()
        if what == "lost and back":
            probe.reason = ""
            rig.clock.now += 1.0
            path.turn()
    elif what == "dropped":  # its registrations could not be read: what it holds is given up
        path._turns.drop()
    elif what == "left behind":
        path._turns.busy = (rig.clock.now, 2.0, False)
        path.tell_overdue(rig.clock.now + 1.0)
    else:
        path.end(rig.clock.now)
    rig.take()
    rig.reads.results = [(1, 4096)]
    rig.ahead.round()
    assert rig.take() == []


def test_few_paths_are_left_to_their_turns(rig: Ahead) -> None:
    ended = threading.Event()
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 1

    ended.wait = wait  # type: ignore[method-assign, assignment]
    rig.ahead.run(ended)
    rig.paths |= {str(number): rig.paths["a"] for number in range(4)}
    rig.ahead.run(ended)
    assert waits[0] > 10 and waits[-1] <= TIMING.probe_interval_s


def test_it_goes_on_until_all_has_ended(rig: Ahead) -> None:
    ended = threading.Event()
    ended.set()
    rig.ahead.run(ended)
    assert rig.reads.begun == []


# --- the kernel's --------------------------------------------------------------------------------------------------


@pytest.fixture
def reads() -> AsyncReads:
    try:
        return AsyncReads(flags=0)
    except OSError as error:
        pytest.skip(f"no asynchronous reads: {error}")


def test_the_kernel_reads_all_and_tells_which(reads: AsyncReads, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(8192))
    (tmp_path / "empty").touch()
    disk, empty = (os.open(tmp_path / name, os.O_RDONLY) for name in ("disk", "empty"))
    try:
        assert reads.begin([(7, disk), (8, empty), (9, disk)]) == 3
        ended: list[tuple[int, int]] = []
        while len(ended) < 3:
            ended += reads.ended(3 - len(ended), 5.0)
        assert sorted(ended) == [(7, 4096), (8, 0), (9, 4096)]
        assert reads.ended(1, 0.01) == []
    finally:
        os.close(disk)
        os.close(empty)


def test_what_cannot_be_begun_is_said(reads: AsyncReads, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    disk = os.open(tmp_path / "disk", os.O_RDONLY)
    try:
        assert reads.begin([(1, disk), (2, 1 << 20)]) == 1
        with pytest.raises(OSError, match="Bad file descriptor"):
            reads.begin([(3, 1 << 20)])
    finally:
        os.close(disk)
