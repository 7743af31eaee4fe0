# SPDX-License-Identifier: Apache-2.0
"""What the supervisor does with one order, without a process: whole sidecars are in test_daemon*.py."""

from collections.abc import Iterator
from socket import AF_UNIX, SOCK_SEQPACKET, socketpair
from typing import cast

import pytest

from fencer.sidecar.children import OBSERVER, Child, Jobs
from fencer.sidecar.messages import ReplaceObserver
from fencer.sidecar.supervisor import Supervisor
from fencer.worker import Channel, Worker


class FakeWorker:
    """A process that ends when it is told to, or not."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    ours, feeder = socketpair(AF_UNIX, SOCK_SEQPACKET)
    with ours, feeder:
        yield Supervisor(Channel(ours), {}, cast(Jobs, None))


def observed_by(supervisor: Supervisor, worker: FakeWorker) -> Child:
    child = supervisor._children[OBSERVER]
    child.worker, child.start_at_s = cast(Worker, worker), None
    return child


def test_a_silent_observer_is_replaced_while_another_child_is_not_reaped_yet(supervisor: Supervisor) -> None:
    """A lister ends every minute. Twice it put the replacement off, and the grace was over."""
    lister, observer = FakeWorker(998), FakeWorker(999)
    child = observed_by(supervisor, observer)
    supervisor._close(cast(Worker, lister))
    supervisor._obey(ReplaceObserver())
    assert observer.is_closed
    assert child.worker is None
    assert child.start_at_s is not None


def test_the_successor_of_an_observer_that_cannot_be_killed_is_left_alone(supervisor: Supervisor) -> None:
    """Killed as well, it would hang where the first one hangs."""
    observed_by(supervisor, FakeWorker(998))
    supervisor._obey(ReplaceObserver())
    successor = FakeWorker(999)
    observed_by(supervisor, successor)
    supervisor._obey(ReplaceObserver())
    assert not successor.is_closed
    supervisor._ended.remove(998)  # the kernel let it go
    supervisor._obey(ReplaceObserver())
    assert successor.is_closed
