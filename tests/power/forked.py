# SPDX-License-Identifier: Apache-2.0
"""Runs a power procedure as the product does: in a child that is killed at a deadline."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass

from fencer.model import BmcSettings
from fencer.observations import Observation, PowerFailed
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.procedure import PowerGoal, PowerTiming, run
from tests.power.seen import Seen

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Ended:
    """killed: the deadline came first. took_s: from fork to end."""

    seen: Seen
    killed: bool
    took_s: float

    @property
    def failure(self) -> PowerFailed:
        last = self.seen[-1]
        assert isinstance(last, PowerFailed), self.seen
        return last

    @property
    def done(self) -> bool:
        return self.seen.done


def forked(
    settings: BmcSettings,
    goal: PowerGoal,
    timing: PowerTiming | None = None,
    deadline_s: float = 30.0,
    times: int = 1,
    on_seen: Callable[[Observation], None] | None = None,
) -> Ended:
    """times: how often the procedure is run in the same child. on_seen: called in the parent for each observation."""
    receiver, sender = _FORK.Pipe(duplex=False)

    def child() -> None:
        for _ in range(times):
            run(IpmiChassisPower(settings), goal, sender.send, lambda _wait_s: True, timing or PowerTiming())

    started = time.monotonic()
    process = _FORK.Process(target=child)
    process.start()
    sender.close()
    seen: list[Observation] = []
    killed = False
    try:
        while True:
            if not receiver.poll(max(0.0, started + deadline_s - time.monotonic())):
                killed = True
                break
            seen.append(receiver.recv())
            if on_seen:
                on_seen(seen[-1])
    except EOFError:
        pass
    finally:
        if killed:
            process.kill()
        process.join()
    return Ended(Seen(seen), killed, time.monotonic() - started)
