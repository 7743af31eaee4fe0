# SPDX-License-Identifier: Apache-2.0
"""The job of the power worker: runs the power procedure on the BMC, in an expendable child."""

import os
from types import FrameType

from fencer._signals import signal
from fencer.agent.orders import Gate, PowerOrder
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.procedure import run
from fencer.worker import Channel


class _Told(BaseException):
    """SIGTERM from the parent. It is no Exception, because pyghmi catches every Exception."""


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
        if order.gated and channel.receive() is not Gate.LOGIN:
            return
        run(
            IpmiChassisPower(order.settings, tell=channel.send),
            order.goal,
            channel.send,
            lambda: not order.gated or channel.receive() is Gate.GO,
            order.timing,
        )
    except _Told:
        return  # the procedure has logged out on its way here
