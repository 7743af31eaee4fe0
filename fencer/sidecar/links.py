"""The feeder's sockets to the other processes, and the start of the process that starts these."""

import gc
import os
from _socket import AF_UNIX, SO_SNDBUF, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair  # as in fencer.worker
from collections.abc import Callable

from fencer.sidecar.children import OBSERVER, SCRIBE, Jobs
from fencer.sidecar.supervisor import Attendant
from fencer.worker import Channel, Worker

BUFFER_BYTES = 1 << 20


class Links:
    """The feeder's ends: seqpacket sockets to the attendant, the observer and the scribe."""

    def __init__(self, attendant: Worker, observer: socket, scribe: socket) -> None:
        self.attendant = attendant
        self.observer = observer
        self.scribe = scribe


def start(make_jobs: Callable[[], Jobs]) -> Links:
    """Forks the attendant. Call it while this process is small.

    make_jobs runs in the attendant, and loads there all that the jobs need.
    """
    observer, observer_end = _pair()
    scribe, scribe_end = _pair()

    def attend(channel: Channel) -> None:
        observer.close()
        scribe.close()
        os.setsid()  # a Ctrl-C in the foreground is for the feeder
        jobs = make_jobs()
        gc.collect()
        gc.freeze()  # a child's collector leaves alone what it shares with us
        Attendant(channel, {OBSERVER: observer_end, SCRIBE: scribe_end}, jobs).run()

    worker = Worker.spawn(attend)
    observer_end.close()
    scribe_end.close()
    for sock in (observer, scribe):
        sock.setblocking(False)
    return Links(worker, observer, scribe)


def _pair() -> tuple[socket, socket]:
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    for sock in (ours, theirs):
        sock.setsockopt(SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES)
    return ours, theirs
