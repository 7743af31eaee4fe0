# SPDX-License-Identifier: Apache-2.0
"""An expendable child: whatever it does, its parent goes on, and it does not outlive its parent."""

import errno
import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socketpair

import pytest

from fencer.errors import TransportError
from fencer.worker import Channel, Crashed, Worker, Workers


@contextmanager
def child(job: Callable[[Channel], None]) -> Iterator[Worker]:
    worker = Worker.spawn(job)
    try:
        yield worker
    finally:
        worker.close()


def gone_within(pid: int, seconds: float = 60.0) -> bool:
    """A zombie is gone: only its parent's table knows it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.005)
    return False


def deaf(*_arguments: object) -> None:
    """Ignores what can be ignored, and never looks at its channel."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


def test_messages_pass_both_ways() -> None:
    with child(lambda channel: channel.send(("heard", channel.receive()))) as worker:
        worker.send({"a": 1})
        assert worker.receive() == ("heard", {"a": 1})
        assert worker.receive() is None


def test_a_childs_exception_is_told() -> None:
    def fails(_channel: Channel) -> None:
        raise ZeroDivisionError("surprise")

    with child(fails) as worker:
        assert worker.receive() == Crashed("unexpected ZeroDivisionError: surprise: please report this")


def test_an_error_of_ours_is_told_in_its_own_words() -> None:
    def fails(_channel: Channel) -> None:
        raise TransportError("/dev/sdb: no answer")

    with child(fails) as worker:
        assert worker.receive() == Crashed("/dev/sdb: no answer")


@pytest.mark.parametrize("garbage", [b"\x80\x04garbage", b"cos\nnosuchthing\n.", b"x" * 60_000, pickle.dumps([1])[:-1]])
def test_garbage_from_a_child_is_a_crash(garbage: bytes) -> None:
    def says_it(channel: Channel) -> None:
        channel._sock.send(garbage)

    with child(says_it) as worker:
        assert isinstance(worker.receive(), Crashed)


def test_a_message_that_is_too_long_ends_the_child_without_a_word() -> None:
    with child(lambda channel: channel.send(b"x" * 1_000_000)) as worker:
        assert not isinstance(worker.receive(), bytes)


def test_a_killed_child_reads_as_ended() -> None:
    with child(deaf) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.receive() is None


@pytest.mark.parametrize("said", [0, 1, 5])
def test_the_last_message_of_a_child_is_read_although_it_never_read_its_orders(said: int) -> None:
    """Linux reports ECONNRESET before what is queued when the other end closes with something unread."""

    def speaks_only(channel: Channel) -> None:
        os.read(go_read, 1)
        for number in range(said):
            channel.send(number)

    go_read, go_write = os.pipe()
    with child(speaks_only) as worker:
        worker.send("never read")
        os.write(go_write, b".")
        assert gone_within(worker.pid)
        assert [worker.receive() for _ in range(said + 1)] == [*range(said), None]
    os.close(go_read)
    os.close(go_write)


def test_what_a_parent_said_last_is_heard_by_its_child() -> None:
    """The same at the other end: the parent closes with a report unread."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    channel = Channel(theirs)
    channel.send("a report that nobody reads")
    ours.send(pickle.dumps("an order"))
    ours.close()
    assert [channel.receive(), channel.receive()] == ["an order", None]
    theirs.close()


@pytest.mark.parametrize("failures", [1, 5])
def test_a_fork_that_fails_for_a_moment_is_tried_again(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    really, left = os.fork, [failures]

    def fork() -> int:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return really()

    monkeypatch.setattr(os, "fork", fork)
    workers = Workers(lambda channel: channel.send("here"), deaf)
    try:
        assert workers.need_power().receive() == "here"
    finally:
        workers.drop()


def test_sending_to_a_child_that_is_gone_is_no_error() -> None:
    with child(lambda _channel: None) as worker:
        assert worker.receive() is None
        worker.send("anybody there?")


def test_a_fork_that_fails_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    before = list(Path("/proc/self/fd").iterdir())
    with pytest.raises(BlockingIOError):
        Worker.spawn(deaf)
    assert list(Path("/proc/self/fd").iterdir()) == before


def test_sending_to_a_child_that_does_not_read_does_not_block() -> None:
    with child(deaf) as worker:
        for _ in range(2000):
            worker.send("x" * 1000)


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    with child(deaf) as worker:
        time.sleep(0.05)
        began = time.monotonic()
        worker.end_within(0.1)
        assert time.monotonic() - began < 30
    assert gone_within(worker.pid)


def test_a_stopped_child_is_killed_too() -> None:
    with child(deaf) as worker:
        os.kill(worker.pid, signal.SIGSTOP)
        worker.end_within(0.1)
    assert gone_within(worker.pid)


def test_closing_twice_is_no_error() -> None:
    workers = Workers(deaf, deaf)
    workers.need_power()
    workers.drop()
    workers.drop()


def test_a_child_has_none_of_the_callers_streams() -> None:
    def look(channel: Channel) -> None:
        channel.send([str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in (0, 1, 2)])

    with child(look) as worker:
        assert worker.receive() == ["/dev/null"] * 3


def test_a_childs_end_is_noticed_while_its_sibling_lives() -> None:
    workers = Workers(deaf, lambda _channel: None)
    try:
        storage = workers.need_storage()
        workers.need_power()
        assert storage.receive() is None
    finally:
        workers.drop()


@pytest.mark.parametrize("stopped", [False, True])
def test_children_end_with_their_parent(stopped: bool) -> None:
    """However it ends, and however deaf they are, both of them."""
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        with suppress(BaseException):
            workers = Workers(deaf, deaf)
            pids = [workers.need_storage().pid, workers.need_power().pid]
            time.sleep(0.1)  # let them arm
            if stopped:
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
            os.write(writer, pickle.dumps(pids))
            time.sleep(60)
        os._exit(1)
    os.close(writer)
    pids = pickle.loads(os.read(reader, 4096))
    os.close(reader)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    try:
        if stopped:  # a stopped process dies when it goes on: SIGIO waits for it
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        for pid in pids:
            assert gone_within(pid), "outlived its parent"
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_workers_descriptors_are_given_back() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    workers = Workers(deaf, deaf)
    for _ in range(20):
        workers.need_storage()
        workers.need_power()
        workers.drop()
    del workers
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_worker_can_be_waited_for_with_select() -> None:
    with child(lambda channel: channel.send("now")) as worker:
        assert select.select([worker], [], [], 5)[0] == [worker]
