# SPDX-License-Identifier: Apache-2.0
"""Carries out an operator's pauses in the feeder, and reports them to policy, log and journal."""

import time

from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.sidecar.control import Pause, Resume
from fencer.sidecar.messages import PROGRAM, Level
from fencer.sidecar.policy import Policy
from fencer.sidecar.publisher_link import PublisherLink


class Pauses:
    """until_s: when the pause that runs ends (CLOCK_MONOTONIC), None when none runs. A predecessor's goes on."""

    def __init__(self, policy: Policy, publisher: PublisherLink, node: str, until_s: float | None) -> None:
        self.until_s = until_s
        self._policy = policy
        self._publisher = publisher
        self._node = node
        if until_s is not None:
            policy.pause(until_s)

    def obey(self, order: Pause | Resume, now: float) -> tuple[str, bool]:
        """The answer, and whether anything has changed."""
        if isinstance(order, Pause):
            self.until_s = now + order.for_s
            self._policy.pause(self.until_s)
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + order.for_s))
            text = f"paused until {until}: losing the storage does not reset this node; a preemption does"
            self._note("pause", order.for_s)
        elif self.until_s is None:
            return "it is not paused", False
        else:
            self.until_s = None
            self._policy.resume()
            text = "resumed"
            self._note("resume", 0.0)
        self._publisher.line(Level.WARNING, text)
        return text, True

    def expire(self, now: float) -> None:
        """Ends a pause whose time has come. The policy has ended it by itself."""
        if self.until_s is not None and now >= self.until_s:
            self.until_s = None
            self._publisher.line(Level.NOTICE, "the pause is over")
            self._note("expire", 0.0)

    def _note(self, action: str, for_s: float) -> None:
        node = self._node
        self._publisher.send(
            Event(time.time(), for_s, EventKind.PAUSE, PROGRAM, node, node, action, FenceOutcome.SUCCESS)
        )
