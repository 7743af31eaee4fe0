# SPDX-License-Identifier: Apache-2.0
"""A command that hangs holds up the thread that it runs in, and no other."""

import contextlib
import sys
import threading
import time

import pytest

from fencer import shortage
from fencer.errors import StillUnderWay, TransportError
from fencer.storage import thread_start
from fencer.storage.bounded_transport import TARGET_S, BoundedTransport, SpareThreads
from fencer.storage.transport import ScsiReply, ScsiStatus

LONG_S = 30.0


class Inner:
    """A transport that answers with what it was sent, once it is let go."""

    name = "/dev/sdb"

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.sent: list[tuple[bytes, float]] = []
        self.threads: set[int] = set()
        self.closed = threading.Event()

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        self.sent.append((cdb, timeout_s))
        self.threads.add(threading.get_ident())
        self.go.acquire()
        if cdb == b"bad":
            raise TransportError("/dev/sdb: no SCSI status: DID_NO_CONNECT")
        return ScsiReply(ScsiStatus.GOOD, None, cdb)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def bounded(inner: Inner) -> BoundedTransport:
    return BoundedTransport(inner, SpareThreads())


def test_an_answer_and_an_error_come_through_from_one_thread(inner: Inner, bounded: BoundedTransport) -> None:
    for _ in range(3):
        inner.go.release()
    assert bounded.execute(b"1", timeout_s=LONG_S).data == b"1"
    with pytest.raises(TransportError, match=r"^/dev/sdb: no SCSI status: DID_NO_CONNECT$"):
        bounded.execute(b"bad", timeout_s=LONG_S)
    assert bounded.execute(b"2", timeout_s=LONG_S).data == b"2"
    assert len(inner.threads) == 1
    assert threading.get_ident() not in inner.threads


def test_a_hung_command_is_left_behind_and_its_path_refused_until_it_ends(
    inner: Inner, bounded: BoundedTransport
) -> None:
    with pytest.raises(StillUnderWay, match=r"^/dev/sdb: no answer within 0\.1 s$"):
        bounded.execute(b"1", timeout_s=0.1)
    began = time.monotonic()
    with pytest.raises(StillUnderWay, match=r"^/dev/sdb: an earlier command hangs$"):
        bounded.execute(b"2", timeout_s=LONG_S)
    assert time.monotonic() - began < LONG_S / 2
    assert [cdb for cdb, _ in inner.sent] == [b"1"], "nothing is sent behind a command that hangs"


def test_the_late_answer_of_a_hung_command_is_nobody_elses(inner: Inner, bounded: BoundedTransport) -> None:
    with pytest.raises(StillUnderWay):
        bounded.execute(b"1", timeout_s=0.05)
    inner.go.release()
    inner.go.release()
    until = time.monotonic() + LONG_S
    answer = b""
    while not answer and time.monotonic() < until:
        with contextlib.suppress(StillUnderWay):  # its thread has not been let run yet
            answer = bounded.execute(b"2", timeout_s=LONG_S).data
    assert answer == b"2"


def test_turning_to_another_path_early_does_not_make_the_kernel_abort_the_command(
    inner: Inner, bounded: BoundedTransport
) -> None:
    inner.go.release()
    bounded.execute(b"1", timeout_s=1.0)
    assert inner.sent == [(b"1", TARGET_S)]


def test_where_no_thread_can_be_started_the_path_is_not_taken_for_one_that_hangs(
    inner: Inner, bounded: BoundedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_task_is_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    inner.go.release()
    with monkeypatch.context() as patch:
        patch.setattr(thread_start, "start_new_thread", no_task_is_left)
        patch.setattr(shortage, "PATIENCE_S", 0.0)
        with pytest.raises(RuntimeError):
            bounded.execute(b"1", timeout_s=LONG_S)
    assert bounded.execute(b"2", timeout_s=LONG_S).data == b"2"


@pytest.mark.parametrize("used", [False, True])
def test_closing(inner: Inner, bounded: BoundedTransport, used: bool) -> None:
    if used:
        inner.go.release()
        bounded.execute(b"1", timeout_s=LONG_S)
    bounded.close()
    assert inner.closed.wait(LONG_S)


def test_closing_waits_for_no_hung_command(inner: Inner, bounded: BoundedTransport) -> None:
    with pytest.raises(StillUnderWay):
        bounded.execute(b"1", timeout_s=0.05)
    bounded.close()
    assert not inner.closed.is_set(), "its descriptor is in use"
    inner.go.release()
    assert inner.closed.wait(LONG_S)


def test_a_job_of_several_commands_runs_as_a_whole_in_one_thread(inner: Inner, bounded: BoundedTransport) -> None:
    for _ in range(2):
        inner.go.release()

    def job() -> list[bytes]:
        return [bounded.execute(cdb, timeout_s=LONG_S).data for cdb in (b"1", b"2")]

    assert bounded.bounded(job, LONG_S) == [b"1", b"2"]
    assert len(inner.threads) == 1
    assert threading.get_ident() not in inner.threads


def test_a_job_can_be_run_in_the_calling_thread(inner: Inner, bounded: BoundedTransport) -> None:
    inner.go.release()
    assert bounded.here(lambda: bounded.execute(b"1", timeout_s=LONG_S)).data == b"1"
    assert inner.threads == {threading.get_ident()}


def test_a_job_that_hangs_refuses_the_next_one(bounded: BoundedTransport) -> None:
    never = threading.Event()
    with pytest.raises(StillUnderWay, match="no answer within"):
        bounded.bounded(never.wait, 0.05)
    with pytest.raises(StillUnderWay, match="an earlier command hangs"):
        bounded.bounded(never.wait, LONG_S)
    with pytest.raises(StillUnderWay, match="an earlier command hangs"):
        bounded.here(never.wait)
    never.set()


# --- the threads ------------------------------------------------------------------------------------------------------


def test_paths_that_answer_share_one_thread() -> None:
    threads, inners = SpareThreads(), (Inner(), Inner())
    for _ in range(3):
        for inner in inners:
            inner.go.release()
            BoundedTransport(inner, threads).execute(b"1", timeout_s=LONG_S)
    assert len(inners[0].threads | inners[1].threads) == 1


def test_behind_a_path_that_hangs_another_one_gets_another_thread() -> None:
    threads, stuck, well = SpareThreads(), Inner(), Inner()
    with pytest.raises(StillUnderWay):
        BoundedTransport(stuck, threads).execute(b"1", timeout_s=0.05)
    well.go.release()
    assert BoundedTransport(well, threads).execute(b"2", timeout_s=LONG_S).data == b"2"
    stuck.go.release()


def test_an_end_can_be_waited_for_again() -> None:
    go = threading.Event()
    end = SpareThreads().begin("lun", lambda: go.wait(LONG_S))
    with pytest.raises(StillUnderWay, match=r"^lun: no answer within 0\.1 s$"):
        end(0.1)
    go.set()
    assert end(LONG_S)


def test_closing_ends_the_threads_and_one_that_hangs_when_its_job_ends() -> None:
    threads, go, found = SpareThreads(), threading.Event(), list[threading.Thread]()

    def job() -> None:
        found.append(threading.current_thread())
        go.wait(LONG_S)

    go.set()
    threads.begin("lun", job)(LONG_S)
    go.clear()
    hung = [threads.begin("lun", job) for _ in range(2)]
    threads.close()
    go.set()
    for end in hung:
        end(LONG_S)
    until = time.monotonic() + LONG_S
    while set(sys._current_frames()) & {each.ident for each in found} and time.monotonic() < until:
        time.sleep(0.01)
    assert not set(sys._current_frames()) & {each.ident for each in found}
