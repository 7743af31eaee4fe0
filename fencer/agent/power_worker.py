# SPDX-License-Identifier: Apache-2.0
"""The job of the power worker: runs the power procedure on the BMC, in an expendable child."""

import math
import os
import time
from types import FrameType

from fencer._signals import signal
from fencer.agent.orders import LOOK_GOOD_S, Go, GoAgain, Login, PowerOrder
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.procedure import run
from fencer.readable import readable
from fencer.worker import Channel


class _Told(BaseException):
    """The parent has ended this attempt. It is no Exception, because pyghmi catches every Exception."""


class Permission:
    """Whether power may be taken away now: the parent's last Go is not too old. Asks for another one where it is."""

    def __init__(self, channel: Channel, gated: bool) -> None:
        """gated: False: always."""
        self._channel = channel
        self._good_until_s = -math.inf if gated else math.inf
        self._is_asked = True  # the parent gives the first one unasked

    def __call__(self, wait_s: float) -> bool:
        """wait_s: how long it waits for another Go. Raises _Told where the parent wants no more."""
        until = time.monotonic() + wait_s
        while (now := time.monotonic()) > self._good_until_s:
            if not self._is_asked:
                self._channel.send(GoAgain())
                self._is_asked = True
            left_s = until - now
            if left_s < math.inf and not readable([self._channel], max(0.0, left_s)):
                return False
            go = self._channel.receive()
            if not isinstance(go, Go):
                raise _Told
            self._good_until_s = math.inf if go.looked_at_s is None else go.looked_at_s + LOOK_GOOD_S
            self._is_asked = False
        return True


def power_job(channel: Channel) -> None:
    """Waits for its order, then runs the power procedure.

    It loads pyghmi while the parent reads options. On a machine with one processor it loads pyghmi later: there it
    would delay the storage worker, which makes the node safe first.
    """
    if len(os.sched_getaffinity(0)) > 1:
        import fencer.power.ipmi_session  # noqa: F401 - 40 ms of pyghmi, in the child only

    order = channel.receive()
    if not isinstance(order, PowerOrder):
        return

    def told(_number: int, _frame: FrameType | None) -> None:
        raise _Told

    signal.signal(signal.SIGTERM, told)
    try:
        if order.gated and not isinstance(channel.receive(), Login):
            return
        run(
            IpmiChassisPower(order.settings, tell=channel.send),
            order.goal,
            channel.send,
            Permission(channel, order.gated),
            order.timing,
        )
    except _Told:
        return  # the procedure has logged out on its way here
