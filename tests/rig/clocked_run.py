# SPDX-License-Identifier: Apache-2.0
"""A run on a clock that only its waits move, with workers that answer in this process: its times are exact.

The Run is the product's. Its module's time and select are replaced, and the workers are played by functions.
"""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from fencer.agent import run
from fencer.agent.plan import Plan
from fencer.agent.run import Run, Stamped
from fencer.model import Deadline

DISPATCH_S = 0.01
"""What a message that is read costs."""

LATE_S = 0.001
"""How much later than asked a wait ends in which nothing comes."""

MOST_WAITS = 5000
"""A run that waits more often spins."""


class Clock:
    """A clock in seconds that moves only while somebody waits. It starts near 0, as after a boot."""

    START_S = 2.0

    def __init__(self) -> None:
        self.now = self.START_S

    def __call__(self) -> float:
        return self.now

    @property
    def since_start(self) -> float:
        return self.now - self.START_S


class PlayedWorker:
    """A worker that says what its part has it say, at the times that the part names.

    began, dropped_at: when it was started and ended, in seconds since the run began. told: what it was sent, and when.
    """

    def __init__(self, clock: Clock, part: "Part") -> None:
        self.clock = clock
        self._part = part
        self.began = clock.since_start
        self.coming: list[tuple[float, object, float]] = []
        self.told: list[tuple[float, object]] = []
        self.ended_within: float | None = None
        self.dropped_at: float | None = None

    @property
    def orders(self) -> list[object]:
        """The messages that it was sent, without their times."""
        return [message for _, message in self.told]

    def says(self, *messages: object, after_s: float = 0.0, takes_s: float = DISPATCH_S) -> None:
        """Says this so many seconds from now; None: it ends. takes_s: what it costs to read each."""
        self.coming += [(self.clock.now + after_s, message, takes_s) for message in messages]
        self.coming.sort(key=lambda each: each[0])

    def send(self, message: object) -> None:
        self.told.append((self.clock.since_start, message))
        self._part(self, message)

    def receive(self) -> object:
        _, message, takes_s = self.coming[0]
        if message is not None:  # the end of a socket can be read again and again
            self.coming.pop(0)
        self.clock.now += takes_s
        return message

    def end_within(self, seconds: float) -> None:
        self.ended_within = seconds


Part = Callable[[PlayedWorker, object], None]
"""Called with each message to a worker, in the moment it is sent."""


def silent(_worker: PlayedWorker, _message: object) -> None:
    """A part that answers no message."""


class PlayedWorkers:
    """Takes the place of fencer.worker.Workers. all_power, all_storage: all that there were, in order."""

    def __init__(self, clock: Clock, power: Part, storage: Part) -> None:
        self._clock, self._parts = clock, (power, storage)
        self.power: PlayedWorker | None = None
        self.storage: PlayedWorker | None = None
        self.all_power: list[PlayedWorker] = []
        self.all_storage: list[PlayedWorker] = []

    def need_power(self) -> PlayedWorker:
        if self.power is None:
            self.power = PlayedWorker(self._clock, self._parts[0])
            self.all_power.append(self.power)
        return self.power

    def need_storage(self) -> PlayedWorker:
        if self.storage is None:
            self.storage = PlayedWorker(self._clock, self._parts[1])
            self.all_storage.append(self.storage)
        return self.storage

    def drop_power(self) -> None:
        if self.power is not None:
            self.power.dropped_at, self.power = self._clock.since_start, None

    def drop_storage(self) -> None:
        if self.storage is not None:
            self.storage.dropped_at, self.storage = self._clock.since_start, None

    def drop(self) -> None:
        self.drop_power()
        self.drop_storage()


class ClockedRun:
    """Plays one plan. seen: the observations, with the times that the run gives them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.seen: list[Stamped] = []
        self._waits = 0
        monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=self.clock))
        monkeypatch.setattr(run, "readable", self._readable)

    def play(
        self,
        plan: Plan,
        *,
        power: Part = silent,
        storage: Part = silent,
        deadline_s: float = 100.0,
        interrupted: Callable[[], bool] = lambda: False,
        **more: float,
    ) -> tuple[Run, PlayedWorkers]:
        """Plays it to its end."""
        workers = PlayedWorkers(self.clock, power, storage)
        deadline = Deadline.after(deadline_s, self.clock)
        one = Run(plan, deadline, workers, self.seen.extend, interrupted, **more)  # type: ignore[arg-type]
        one.execute()
        return one, workers

    def when(self, what: object) -> list[float]:
        """When this was observed."""
        return [each.at_s for each in self.seen if type(each.what) is type(what) and each.what == what]

    def _readable(self, workers: Sequence[PlayedWorker], seconds: float) -> list[PlayedWorker]:
        assert seconds >= 0
        self._waits += 1
        assert self._waits < MOST_WAITS, "the run spins"
        comes = min((worker.coming[0][0] for worker in workers if worker.coming), default=math.inf)
        until = self.clock.now + seconds
        self.clock.now = max(self.clock.now, comes) if comes <= until else until + (LATE_S if seconds else 0.0)
        return [worker for worker in workers if worker.coming and worker.coming[0][0] <= self.clock.now]
