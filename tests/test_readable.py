# SPDX-License-Identifier: Apache-2.0
"""Waiting for something to read."""

import fcntl
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fencer.readable import readable

PATIENCE_S = 60
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def high() -> Iterator[Pair]:
    """A pair whose first end has a descriptor that select(2) refuses."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], min(2000, limits[1])), limits[1]))
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 1024)) as raised:
        yield raised, theirs
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_descriptor_above_1023(high: Pair) -> None:
    assert readable([high[0]], 0) == []
    high[1].send(b"x")
    assert readable([high[0]], PATIENCE_S) == [high[0]]


def test_descriptors_and_what_has_one(pair: Pair) -> None:
    pair[1].send(b"x")
    assert readable([pair[0].fileno()], 0) == [pair[0].fileno()]
    assert readable([pair[0], pair[1]], 0) == [pair[0]]


def test_an_end_can_be_read(pair: Pair) -> None:
    pair[1].close()
    assert readable([pair[0]], PATIENCE_S) == [pair[0]]


def test_the_end_of_a_pipe_can_be_read() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    assert readable([read_end], PATIENCE_S) == [read_end]  # POLLHUP alone
    os.close(read_end)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, -0.0001, 0.01])
def test_it_waits_no_longer_than_it_may(pair: Pair, timeout_s: float) -> None:
    assert readable([pair[0]], timeout_s) == []
    assert readable([], timeout_s) == []


def test_it_does_not_return_early(pair: Pair) -> None:
    began = time.monotonic()
    assert readable([pair[0]], 0.0625) == []
    assert time.monotonic() - began >= 0.0625


def test_it_may_wait_for_ever(pair: Pair) -> None:
    sender = threading.Timer(0.05, pair[1].send, [b"x"])
    sender.start()
    assert readable([pair[0]], None) == [pair[0]]
    sender.join()


def test_the_order_is_that_of_the_sources(pair: Pair) -> None:
    pair[0].send(b"x")
    pair[1].send(b"x")
    assert readable(pair, 0) == list(pair)
    assert readable(pair[::-1], 0) == list(pair[::-1])
