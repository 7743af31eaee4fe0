# SPDX-License-Identifier: Apache-2.0
"""The supervisor: a small process that starts the other processes, and starts them again when they end.

The feeder never forks once it feeds.

A fork of the feeder would share all its memory copy on write and make its next writes wait for pages; an exec would
wait for the very disk that may be gone. The supervisor has loaded what its children need, so that a new observer needs
no disk. It ends with the feeder, and its children with it (fencer.worker.Lifeline).
"""

import time
from _socket import socket  # as in fencer.worker
from collections.abc import Callable

from fencer.readable import readable
from fencer.sidecar.children import (
    FIRST_PAUSE_S,
    OBSERVER,
    PUBLISHER,
    PUBLISHER_OOM_SCORE,
    STEADY_S,
    Child,
    Jobs,
    ReportsLater,
    list_luns,
    reaped,
    set_oom_score,
    unregister,
)
from fencer.sidecar.lun_list import Agreement, LunList, agree, missing_reasons
from fencer.sidecar.messages import (
    Began,
    Begin,
    BeginRefused,
    BlockChanged,
    ChildEnded,
    Config,
    ConfigRefused,
    Configured,
    Generations,
    ListChecked,
    LunsFound,
    Observe,
    Observing,
    ReadConfig,
    ReplaceObserver,
    StartReporting,
    Unregister,
    Unregistered,
)
from fencer.worker import Channel, Crashed, Job, Worker

REAP_S = 1.0

LIST_S, LIST_LEAST_S, LIST_AGAIN_S = 60.0, 15.0, 5.0
"""How often the LUNs are listed; the shortest time between two lists when devices change; and after one that failed
while no LUN is known."""

LISTER_S = 20.0
"""Timeout of one list."""

STAGING_S = 15.0
"""Timeout for a new observer to begin, beside the old one."""


class _Staged:
    """A new observer that begins beside the old one. by_reload: the feeder waits for the answer."""

    def __init__(self, worker: Worker, serial: int, begin: Begin, luns: LunList, by_reload: bool) -> None:
        self.worker = worker
        self.serial = serial
        self.begin = begin
        self.luns = luns
        self.by_reload = by_reload
        self.until_s = time.monotonic() + STAGING_S
        self.reason = ""


class Supervisor:
    """Runs in its own process. feeder: the channel to it; observer_end, publisher_end: the children's ends to it.

    It keeps the list of the LUNs. LVM is asked by a child of its own, so that a disk that hangs, whichever, delays
    neither an observer nor its successor.
    """

    def __init__(self, feeder: Channel, ends: dict[str, socket], jobs: Jobs) -> None:
        self._feeder = feeder
        self._ends = ends
        self._jobs = jobs
        self._begin: Begin | None = None
        self._luns: LunList | None = None
        self._is_provisional = False  # as a predecessor published them: the first list replaces them
        self._serial = self._latest_serial = 0  # of the set in force, and of the latest that was to follow it
        self._generations: tuple[tuple[str, int], ...] = ()
        self._children = {name: Child(name) for name in (PUBLISHER, OBSERVER)}
        self._staged: _Staged | None = None
        self._lister: Worker | None = None
        self._list_at_s: float | None = None
        self._listed_at_s = 0.0
        self._errands: list[Worker] = []
        self._ended: list[int] = []
        self._replaced = 0  # process id of the observer that was replaced last

    def run(self) -> None:
        """Supervises until the feeder is gone."""
        while self._step():
            pass

    def _step(self) -> bool:
        watched: list[Channel | Worker] = [self._feeder, *self._workers()]
        for one in readable(watched, self._wait_s()):
            if one is self._feeder:
                order = self._feeder.receive()
                if order is None:
                    return False
                self._obey(order)
            elif isinstance(one, Worker) and one in self._workers():
                self._hear(one)
        self._start_due()
        self._ended = [pid for pid in self._ended if not reaped(pid)]
        return True

    def _close(self, worker: Worker) -> None:
        worker.close()
        self._ended.append(worker.pid)

    def _workers(self) -> tuple[Worker, ...]:
        running = [child.worker for child in self._children.values()] + [self._lister]
        running.append(self._staged.worker if self._staged is not None else None)
        return (*(worker for worker in running if worker is not None), *self._errands)

    def _wait_s(self) -> float | None:
        times = [child.start_at_s for child in self._children.values() if child.start_at_s is not None]
        times += [time.monotonic() + REAP_S] if self._ended else []
        times += [self._list_at_s] if self._list_at_s is not None else []
        times += [self._staged.until_s] if self._staged is not None else []
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _obey(self, order: object) -> None:
        match order:
            case ReadConfig(path):
                self._errand(lambda channel: self._jobs.configure(path, channel), ConfigRefused)
            case Begin():
                self._take(order)
            case Generations(of_luns):
                self._generations = of_luns
            case ReplaceObserver():
                observer = self._children[OBSERVER]
                # One that cannot be killed hangs in the kernel, and its successor would hang there, too.
                if observer.worker is not None and self._replaced not in self._ended:
                    self._replaced = observer.worker.pid
                    self._end_child(observer, "it was stopped or hung, and is replaced")
            case Unregister():
                observer = self._children[OBSERVER]
                observer.start_at_s = self._list_at_s = None  # it would register again
                self._drop_staged("this sidecar is stopping")
                if observer.worker is not None:
                    self._close(observer.worker)
                    observer.worker = None
                self._errand(lambda channel: unregister(self._jobs, order, channel), Unregistered)

    def _take(self, begin: Begin) -> None:
        """At the start, or at a reload: a new observer has to begin well before the old one ends."""
        if self._begin is None:
            self._begin, self._generations = begin, begin.generations
            self._luns, self._is_provisional = begin.luns, begin.luns is not None
            now = time.monotonic()
            self._children[PUBLISHER].start_at_s = self._list_at_s = now
            if self._is_provisional:
                self._children[OBSERVER].start_at_s = now
        elif _observes_alike(self._begin.config, begin.config) or self._luns is None:
            self._begin = begin
            self._feeder.send(Began(begin.config))
        else:
            self._stage(begin, self._luns, by_reload=True)

    def _errand(self, job: Job, refusal: Callable[[str], ConfigRefused | Unregistered]) -> None:
        try:
            self._errands.append(Worker.spawn(job, self._workers()))
        except OSError as error:
            self._feeder.send(refusal(_no_process(error)))

    def _hear(self, worker: Worker) -> None:
        message = worker.receive()
        if isinstance(message, BlockChanged):
            self._list_soon()
        elif worker is self._lister:
            self._hear_lister(worker, message)
        elif self._staged is not None and worker is self._staged.worker:
            self._hear_staged(self._staged, message)
        elif worker in self._errands:
            self._hear_errand(worker, message)
        else:
            self._hear_child(next(each for each in self._children.values() if each.worker is worker), message)

    def _hear_errand(self, worker: Worker, message: object) -> None:
        match message:
            case Configured() | ConfigRefused() | Unregistered():
                self._feeder.send(message)
            case Crashed(reason):
                # The reader of the answer finds out which of the two it was.
                self._feeder.send(ConfigRefused(reason))
                self._feeder.send(Unregistered(reason))
            case None:
                self._close(worker)
                self._errands.remove(worker)

    def _hear_child(self, child: Child, message: object) -> None:
        if isinstance(message, Crashed):
            child.reason = message.reason
            if message.misuse:
                self._feeder.send(ChildEnded(child.name, message.reason, misuse=True))
        elif message is None:
            self._end_child(child, child.reason or "it was killed")

    def _end_child(self, child: Child, reason: str) -> None:
        """Kills the child if it still runs, and schedules its next start."""
        if child.worker is None:
            return
        self._close(child.worker)
        child.worker = None
        self._feeder.send(ChildEnded(child.name, reason, misuse=False))
        child.reason = ""
        if time.monotonic() - child.started_s > STEADY_S:
            child.pause_s = FIRST_PAUSE_S
        child.start_later()

    # --- the list of the LUNs ---------------------------------------------------------------------------------------

    def _list_soon(self) -> None:
        """Also in a storm of events there is LIST_LEAST_S between two lists."""
        if self._list_at_s is not None and self._lister is None:
            self._list_at_s = min(self._list_at_s, max(time.monotonic(), self._listed_at_s + LIST_LEAST_S))

    def _list(self, begin: Begin) -> None:
        """Starts the lister.

        _list_at_s is then the time by which its answer has to be there.
        """
        self._listed_at_s = now = time.monotonic()
        self._list_at_s = now + LISTER_S
        try:
            self._lister = Worker.spawn(lambda channel: list_luns(self._jobs, begin.config, channel), self._workers())
        except OSError as error:
            self._cannot_list(_no_process(error))

    def _hear_lister(self, worker: Worker, message: object) -> None:
        match message:
            case LunsFound(found):
                self._end_lister(worker)
                self._compare(found)
            case Crashed(reason):
                self._end_lister(worker)
                self._cannot_list(reason)
            case None:
                self._end_lister(worker)
                self._cannot_list("the process that lists them was killed")

    def _end_lister(self, worker: Worker) -> None:
        self._close(worker)
        self._lister = None
        self._list_at_s = time.monotonic() + LIST_S

    def _cannot_list(self, reason: str) -> None:
        """A list that failed: the LUNs stay as they were."""
        self._list_at_s = time.monotonic() + (LIST_AGAIN_S if self._luns is None else LIST_LEAST_S)
        self._feeder.send(ListChecked((f"LUNs: they cannot be listed: {reason[:_REASON_CHARS]}",)))

    def _compare(self, found: LunList) -> None:
        if self._luns is None:
            self._luns = found
            self._children[OBSERVER].start_at_s = time.monotonic()
            self._feeder.send(ListChecked(missing_reasons(found)))
            self._list_no_more_of_devices(found)
            return
        first = Agreement(found, missing_reasons(found))
        watched, reasons = first if self._is_provisional else agree(self._luns, found)
        if {lun.wwid for lun in watched.luns} == {lun.wwid for lun in self._luns.luns}:
            self._luns, self._is_provisional = watched, False
            self._list_no_more_of_devices(found)
        elif self._begin is not None and (self._staged is None or not self._staged.by_reload):
            changed = "they are not those of the run before" if self._is_provisional else "the volume group has changed"
            reasons = (f"LUNs: {changed}: the new list is being taken up", *reasons)
            self._stage(self._begin, watched, by_reload=False)
            self._list_at_s = time.monotonic() + LIST_LEAST_S
        self._feeder.send(ListChecked(reasons))

    def _list_no_more_of_devices(self, found: LunList) -> None:
        """Stops further lists for the setting devices: only a restart changes its LUNs."""
        if not found.group:
            self._list_at_s = None

    # --- a new observer beside the old one --------------------------------------------------------------------------

    def _stage(self, begin: Begin, luns: LunList, *, by_reload: bool) -> None:
        self._drop_staged("another reload came meanwhile")
        self._latest_serial += 1
        serial = self._latest_serial
        try:
            worker = Worker.spawn(self._observing(begin, luns, serial, waits=True), self._workers())
        except OSError as error:
            self._refuse(by_reload, _no_process(error))
        else:
            self._staged = _Staged(worker, serial, begin, luns, by_reload)

    def _hear_staged(self, staged: _Staged, message: object) -> None:
        match message:
            case Crashed(reason):
                staged.reason = reason
            case None:
                self._drop_staged(f"the new observer: {staged.reason or 'it was killed'}")
            case Observing():
                observer, self._staged = self._children[OBSERVER], None
                if observer.worker is not None:
                    self._close(observer.worker)
                observer.worker, observer.start_at_s, observer.started_s = staged.worker, None, time.monotonic()
                observer.pause_s, observer.reason = FIRST_PAUSE_S, ""
                self._begin, self._luns, self._serial = staged.begin, staged.luns, staged.serial
                self._is_provisional = self._is_provisional and staged.by_reload
                staged.worker.send(StartReporting())
                if staged.by_reload:
                    self._feeder.send(Began(staged.begin.config))
                else:
                    self._list_soon()  # what is still to be said about them

    def _drop_staged(self, reason: str) -> None:
        staged, self._staged = self._staged, None
        if staged is not None:
            self._close(staged.worker)
            self._refuse(staged.by_reload, reason)

    def _refuse(self, by_reload: bool, reason: str) -> None:
        """Reports a refusal: the old observer goes on. The next list is compared again."""
        reason = reason[:_REASON_CHARS]
        self._feeder.send(BeginRefused(reason) if by_reload else ListChecked((f"LUNs: the new list: {reason}",)))

    # --- starting ---------------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        """Starts the children that are due. A failure is tried again: the feeder ends when this process ends."""
        now = time.monotonic()
        if self._staged is not None and now >= self._staged.until_s:
            self._drop_staged(f"the new observer has not begun within {STAGING_S:g} s")
        if self._list_at_s is not None and now >= self._list_at_s:
            if self._lister is not None:
                self._end_lister(self._lister)
                self._cannot_list(f"no answer within {LISTER_S:g} s")
            elif self._begin is not None:
                self._list(self._begin)
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
        begin, luns = self._begin, self._luns
        if begin is None:
            raise RuntimeError("nothing to begin with")
        if name == OBSERVER:
            if luns is None:
                raise RuntimeError("nothing to observe")
            return self._observing(begin, luns, self._serial, waits=False)

        def work(_supervisor: Channel) -> None:
            self._keep_end(PUBLISHER)
            set_oom_score(PUBLISHER_OOM_SCORE)
            self._jobs.write(begin._replace(luns=luns), Channel(self._ends[PUBLISHER]))

        return work

    def _observing(self, begin: Begin, luns: LunList, serial: int, *, waits: bool) -> Job:
        """The job of an observer.

        waits: the observer begins beside another one, and reports only once it has taken that one's place.
        """
        order = Observe(begin.config.observer, luns, self._generations, serial)

        def work(supervisor: Channel) -> None:
            self._keep_end(OBSERVER)
            own_end = self._ends[OBSERVER]
            channel = ReportsLater(own_end, supervisor) if waits else Channel(own_end)
            self._jobs.observe(order, channel, lambda: supervisor.send(BlockChanged()))

        return work

    def _keep_end(self, name: str) -> None:
        for other, end in self._ends.items():
            if other != name:
                end.close()


_REASON_CHARS = 1000


def _observes_alike(old: Config, new: Config) -> bool:
    """Whether the observer that runs need not be replaced: it knows neither the grace nor how long to settle."""

    def seen_by_observers(config: Config) -> tuple[object, ...]:
        observer = config.observer
        return observer._replace(timing=observer.timing._replace(grace_s=0.0, settle_s=0.0))

    return seen_by_observers(old) == seen_by_observers(new)


def _no_process(error: OSError) -> str:
    return f"no process could be started for it: {error.strerror}"
