# SPDX-License-Identifier: Apache-2.0
"""The feeder's sockets to the other processes, and the start of the supervisor."""

import gc
import os
from _socket import AF_UNIX, SO_SNDBUF, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair  # as in fencer.worker
from collections.abc import Callable

from fencer.sidecar.children import OBSERVER, PUBLISHER, Jobs
from fencer.sidecar.supervisor import Supervisor
from fencer.worker import Channel, Worker

BUFFER_BYTES = 1 << 20


class Links:
    """The feeder's ends: seqpacket sockets to the supervisor, the observer and the publisher."""

    def __init__(self, supervisor: Worker, observer: socket, publisher: socket) -> None:
        self.supervisor = supervisor
        self.observer = observer
        self.publisher = publisher


def start(make_jobs: Callable[[], Jobs]) -> Links:
    """Forks the supervisor. Call it while this process is small.

    make_jobs runs in the supervisor, and loads there all that the jobs need.
    """
    observer, observer_end = _pair()
    publisher, publisher_end = _pair()

    def attend(channel: Channel) -> None:
        observer.close()
        publisher.close()
        os.setsid()  # a Ctrl-C in the foreground is for the feeder
        jobs = make_jobs()
        gc.collect()
        gc.freeze()  # a child's collector leaves alone what it shares with us
        Supervisor(channel, {OBSERVER: observer_end, PUBLISHER: publisher_end}, jobs).run()

    worker = Worker.spawn(attend)
    observer_end.close()
    publisher_end.close()
    for sock in (observer, publisher):
        sock.setblocking(False)
    return Links(worker, observer, publisher)


def _pair() -> tuple[socket, socket]:
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    for sock in (ours, theirs):
        sock.setsockopt(SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES)
    return ours, theirs
