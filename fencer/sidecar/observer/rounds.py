# SPDX-License-Identifier: Apache-2.0
"""Runs the turns of all paths in as few threads as never wait for one that hangs: one, as long as all are quick.

A turn may hang for as long as the kernel likes. So a thread whose turn takes long is left with it, and another one goes
on with the turns that are due; it ends when it is back and not needed. All paths at once may hang: the number of new
threads doubles each time, so that 64 hanging ones delay the others by 0.4 s. What is due together is done in one go,
which is one wake-up of one thread for all paths, and one message.

A turn may also take long because the processor is slow or busy. More threads would then make each turn take longer
still. So a thread that could go on if it had the processor does not count as hanging (fencer.sidecar.observer.
thread_states).
"""

import itertools
import threading
from collections.abc import Callable
from heapq import heappop, heappush

from fencer._typing import Final
from fencer.sidecar.observer.thread_states import waits_for_processor

Turn = Callable[[], float | None]
"""Does what is due, and returns when to come again; None: never. It does not raise."""

LATE_S = 0.05
"""A thread counts as hanging when its turn takes longer, unless it waits for the processor."""

HANGS_S = 1.0
"""It counts as hanging in any case when its turn takes longer."""

BEHIND_S, SIDE_BY_SIDE = 0.25, 8
"""When turns that do not hang are so late, another thread is started beside, up to so many."""


AHEAD_S = 0.1
"""How long before its turn a path that is well is probed with all others (fencer.sidecar.observer.read_ahead)."""


def start_thread(job: Callable[[], None], name: str) -> None:
    """Starts a daemon thread, which does not keep the process from ending."""
    threading.Thread(target=job, name=name, daemon=True).start()


def next_on_grid(now: float, interval_s: float) -> float:
    """The next multiple of interval_s after now. So what has the same interval is due together, whenever it began."""
    at_s = (now // interval_s + 1) * interval_s
    return at_s if at_s > now else at_s + interval_s


class Rounds:
    """add() and the turns are called by any thread, relieve() and check_at_s() by the one that watches over the others.

    settled: called by a thread that has no more to do for now, and settle_s after its first turn at the latest.
    wake: has the watching thread come earlier than check_at_s() had said.
    """

    def __init__(
        self,
        settled: Callable[[], None],
        settle_s: float,
        wake: Callable[[], None],
        clock: Callable[[], float],
        start: Callable[[Callable[[], None], str], None] = start_thread,
        starved: Callable[[int], bool] = waits_for_processor,
    ) -> None:
        """starved: whether a thread, by its native id, waits for the processor."""
        self._settled: Final = settled
        self._settle_s: Final = settle_s
        self._wake: Final = wake
        self._clock: Final = clock
        self._start: Final = start
        self._starved: Final = starved
        self._changed: Final = threading.Condition()
        self._due: Final[list[tuple[float, int, Turn]]] = []
        self._numbers: Final = itertools.count()
        self._running: Final[dict[int, float]] = {}  # thread: since when it is in its turn
        self._threads = self._beginning = 0
        self._waits = False  # a thread waits for what is due next
        self._ended = False
        self._check_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a turn is under way."""
        return bool(self._running)

    def add(self, turn: Turn, at_s: float) -> None:
        """Schedules a turn at at_s."""
        with self._changed:
            self._push(turn, at_s)

    def end(self) -> None:
        """Ends all threads that can end, after the turns that are left: they find out that all has ended."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    # --- by the watching thread -----------------------------------------------------------------------------------

    def relieve(self, now: float) -> None:
        """Starts threads where turns are late and none goes on with them. What cannot be started is tried again."""
        with self._changed:
            if not self._due or self._waits or self._due[0][0] > now:
                return
            hanging, starved = self._hanging(now)
            going = len(self._running) - hanging + self._beginning
            is_behind = now - self._due[0][0] > BEHIND_S and going < SIDE_BY_SIDE and not (starved or self._beginning)
            number = max(1, hanging) if going == 0 else int(is_behind)
            most = SIDE_BY_SIDE + 2 * (len(self._due) + len(self._running))
            number = min(number, len(self._due), most - self._threads)
        for _ in range(number):
            with self._changed:
                self._threads += 1
                self._beginning += 1
            try:
                self._start(self._serve, "paths")
            except RuntimeError:  # no memory or no process for another thread
                with self._changed:
                    self._threads -= 1
                    self._beginning -= 1
                return

    def _hanging(self, now: float) -> tuple[int, int]:
        """How many threads hang in their turns, and how many have long turns because they wait for the processor."""
        late = {thread: since_s for thread, since_s in self._running.items() if now - since_s > LATE_S}
        starved = sum(now - since_s <= HANGS_S and self._starved(thread) for thread, since_s in late.items())
        return len(late) - starved, starved

    def check_at_s(self, now: float, latest_s: float) -> float:
        """When relieve() is to be called again, latest_s at the latest."""
        with self._changed:
            if self._due:
                latest_s = min(latest_s, max(self._due[0][0], now) + LATE_S)
            self._check_s = latest_s
            return latest_s

    # --- in the threads -------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        me, news_since_s = threading.get_native_id(), None
        with self._changed:
            self._beginning -= 1
            self._running[me] = self._clock()
        while True:
            turn = self._take(me)
            if turn is not None:
                news_since_s = self._clock() if news_since_s is None else news_since_s
                self._take_turn(turn)
            if news_since_s is not None and (turn is None or self._clock() - news_since_s >= self._settle_s):
                news_since_s = None
                self._settled()
            with self._changed:
                self._running.pop(me, None)
                if turn is None and not self._wait():
                    self._threads -= 1
                    return

    def _take(self, me: int) -> Turn | None:
        with self._changed:
            now = self._clock()
            self._running[me] = now
            return heappop(self._due)[2] if self._due and self._due[0][0] <= now else None

    def _take_turn(self, turn: Turn) -> None:
        again_s = turn()
        if again_s is not None:
            with self._changed:
                self._push(turn, again_s)

    def _wait(self) -> bool:
        """Waits for what is due next. False when this thread is not needed."""
        now = self._clock()
        next_s = self._due[0][0] if self._due else None
        if next_s is not None and next_s <= now:
            return True
        if self._ended or self._waits:
            return False
        self._waits = True
        try:
            self._changed.wait(None if next_s is None else next_s - now)
        finally:
            self._waits = False
        return True

    def _push(self, turn: Turn, at_s: float) -> None:
        heappush(self._due, (at_s, next(self._numbers), turn))
        if self._due[0][2] is turn:  # sooner than what a thread waits for
            self._changed.notify()
        if at_s < self._check_s - BEHIND_S:
            self._check_s = at_s
            self._wake()
