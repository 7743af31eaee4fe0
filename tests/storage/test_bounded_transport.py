"""A command that hangs holds up its path's thread, and nobody else."""

import contextlib
import threading
import time

import pytest

from fencer.errors import StillUnderWay, TransportError
from fencer.storage.bounded_transport import TARGET_S, BoundedTransport
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
    return BoundedTransport(inner)


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


def test_a_job_of_several_commands_runs_as_a_whole_in_the_paths_thread(inner: Inner, bounded: BoundedTransport) -> None:
    for _ in range(2):
        inner.go.release()

    def job() -> list[bytes]:
        return [bounded.execute(cdb, timeout_s=LONG_S).data for cdb in (b"1", b"2")]

    assert bounded.begin(job)(LONG_S) == [b"1", b"2"]
    assert len(inner.threads) == 1


def test_two_paths_are_asked_at_once() -> None:
    inners = Inner(), Inner()
    ends = [BoundedTransport(one).begin(lambda one=one: one.execute(b"1", timeout_s=LONG_S)) for one in inners]
    until = time.monotonic() + LONG_S
    while not all(one.sent for one in inners) and time.monotonic() < until:
        time.sleep(0.01)
    for one in inners:
        one.go.release()
    assert [end(LONG_S).data for end in ends] == [b"1", b"1"]


def test_a_job_that_hangs_refuses_the_next_one(bounded: BoundedTransport) -> None:
    never = threading.Event()
    with pytest.raises(StillUnderWay, match="no answer within"):
        bounded.begin(never.wait)(0.05)
    with pytest.raises(StillUnderWay, match="an earlier command hangs"):
        bounded.begin(never.wait)
    never.set()
