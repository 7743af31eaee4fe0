"""A small process that starts the others and starts them again: the feeder itself never forks once it feeds.

A fork of the feeder would share all its memory copy on write and make its next writes wait for pages; an exec would
wait for the very disk that may be gone. The attendant has loaded what its children need, so that a new observer needs
no disk. It ends with the feeder, and its children with it (fencer.worker.Lifeline).
"""

import contextlib
import gc
import os
import select
import time
from _socket import AF_UNIX, SO_SNDBUF, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair  # as in fencer.worker
from collections.abc import Callable

from fencer.errors import FenceError
from fencer.light_typing import NamedTuple
from fencer.watchdog.messages import (
    Begin,
    ChildEnded,
    Config,
    ConfigRefused,
    Configured,
    ReadConfig,
    Unregister,
    Unregistered,
)
from fencer.worker import Channel, Crashed, Job, Worker

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
STEADY_S = 30.0
"""A child that has run for so long is started again without a pause, whatever was before."""

OBSERVER, SCRIBE = "observer", "scribe"

BUFFER_BYTES = 1 << 20

REAP_S = 1.0


class Jobs(NamedTuple):
    """What the children do. Each runs in a process of its own.

    configure: reads the file and sends Configured. observe: sends sightings on its second channel. write: reads
    messages from that. unregister: takes the key off, or raises.
    """

    configure: Callable[[str, Channel], None]
    observe: Callable[[Config, Channel], None]
    write: Callable[[Begin, Channel], None]
    unregister: Callable[[Unregister], None]


class _Child:
    """One of the two that always run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.worker: Worker | None = None
        self.started_s = 0.0
        self.start_at_s: float | None = None
        self.pause_s = FIRST_PAUSE_S
        self.reason = ""

    def start_later(self) -> None:
        """After a pause that doubles each time."""
        self.start_at_s = time.monotonic() + self.pause_s
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)


class Attendant:
    """Runs in its own process. feeder: the channel to it; observer_end, scribe_end: the children's ends to it."""

    def __init__(self, feeder: Channel, ends: dict[str, socket], jobs: Jobs) -> None:
        self._feeder = feeder
        self._ends = ends
        self._jobs = jobs
        self._begin: Begin | None = None
        self._children = {name: _Child(name) for name in (SCRIBE, OBSERVER)}
        self._errands: list[Worker] = []
        self._ended: list[int] = []

    def run(self) -> None:
        """Until the feeder is gone."""
        while self._step():
            pass

    def _step(self) -> bool:
        watched: list[Channel | Worker] = [self._feeder, *self._workers()]
        ready, _, _ = select.select(watched, [], [], self._wait_s())
        for one in ready:
            if one is self._feeder:
                order = self._feeder.receive()
                if order is None:
                    return False
                self._obey(order)
            elif isinstance(one, Worker):
                self._hear(one)
        self._start_due()
        self._ended = [pid for pid in self._ended if not _reaped(pid)]
        return True

    def _close(self, worker: Worker) -> None:
        worker.close()
        self._ended.append(worker.pid)

    def _workers(self) -> tuple[Worker, ...]:
        running = tuple(child.worker for child in self._children.values() if child.worker is not None)
        return (*running, *self._errands)

    def _wait_s(self) -> float | None:
        times = [child.start_at_s for child in self._children.values() if child.start_at_s is not None]
        times += [time.monotonic() + REAP_S] if self._ended else []
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _obey(self, order: object) -> None:
        match order:
            case ReadConfig(path):
                self._errand(lambda channel: self._jobs.configure(path, channel), ConfigRefused)
            case Begin():
                self._begin = order
                for child in self._children.values():
                    if child.name == OBSERVER and child.worker is not None:
                        self._close(child.worker)
                        child.worker = None
                    if child.worker is None:
                        child.start_at_s = time.monotonic()
            case Unregister():
                observer = self._children[OBSERVER]
                observer.start_at_s = None  # it would register again
                if observer.worker is not None:
                    self._close(observer.worker)
                    observer.worker = None
                self._errand(lambda channel: _unregister(self._jobs, order, channel), Unregistered)

    def _errand(self, job: Job, refusal: Callable[[str], ConfigRefused | Unregistered]) -> None:
        try:
            self._errands.append(Worker.spawn(job, self._workers()))
        except OSError as error:
            self._feeder.send(refusal(_no_process(error)))

    def _hear(self, worker: Worker) -> None:
        message = worker.receive()
        if worker in self._errands:
            match message:
                case Configured() | ConfigRefused() | Unregistered():
                    self._feeder.send(message)
                case Crashed(reason):
                    # Whoever asked finds out which of the two it was.
                    self._feeder.send(ConfigRefused(reason))
                    self._feeder.send(Unregistered(reason))
                case None:
                    self._close(worker)
                    self._errands.remove(worker)
            return
        child = next(each for each in self._children.values() if each.worker is worker)
        if isinstance(message, Crashed):
            child.reason = message.reason
            if message.misuse:
                self._feeder.send(ChildEnded(child.name, message.reason, misuse=True))
        elif message is None:
            self._close(worker)
            child.worker = None
            self._feeder.send(ChildEnded(child.name, child.reason or "it was killed", misuse=False))
            child.reason = ""
            if time.monotonic() - child.started_s > STEADY_S:
                child.pause_s = FIRST_PAUSE_S
            child.start_later()

    def _start_due(self) -> None:
        """What cannot be started now is started later: were this process to end, so would the feeder."""
        now = time.monotonic()
        for child in self._children.values():
            if child.start_at_s is not None and child.start_at_s <= now:
                try:
                    child.worker = Worker.spawn(self._job(child.name), self._workers())
                except OSError as error:
                    self._feeder.send(ChildEnded(child.name, _no_process(error), misuse=False))
                    child.start_later()
                else:
                    child.start_at_s, child.started_s = None, now

    def _job(self, name: str) -> Job:
        begin = self._begin
        if begin is None:
            raise RuntimeError("nothing to begin with")
        end = self._ends[name]

        def work(_attendant: Channel) -> None:
            for other in self._ends.values():
                if other is not end:
                    other.close()
            if name == OBSERVER:
                self._jobs.observe(begin.config, Channel(end))
            else:
                set_oom_score(SCRIBE_OOM_SCORE)
                self._jobs.write(begin, Channel(end))

        return work


def _no_process(error: OSError) -> str:
    return f"no process could be started for it: {error.strerror}"


def _reaped(pid: int) -> bool:
    """One in state D is left to the kernel; looked at again at the next turn."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


SCRIBE_OOM_SCORE = -500
"""The scribe may go when memory does: nothing but publishing depends on it."""


def set_oom_score(score: int) -> None:
    """Best effort: without the privilege it stays as it is."""
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(score).encode())
        finally:
            os.close(descriptor)


def _unregister(jobs: Jobs, order: Unregister, channel: Channel) -> None:
    try:
        jobs.unregister(order)
    except FenceError as error:
        channel.send(Unregistered(str(error)))
    else:
        channel.send(Unregistered(""))


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
