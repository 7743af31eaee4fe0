"""What the power worker runs, in an expendable child."""

import signal
from types import FrameType

from fencer.fence import Gate, PowerOrder
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.procedure import run
from fencer.worker import Channel


class _Told(BaseException):
    """SIGTERM from the parent. Not an Exception: pyghmi swallows those."""


def power_job(channel: Channel) -> None:
    """Loads pyghmi while the parent still reads its options, then does what it is ordered to."""
    import fencer.power.ipmi_session  # noqa: F401, PLC0415 - 40 ms of pyghmi, in the child only

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
            IpmiChassisPower(order.settings),
            order.goal,
            channel.send,
            lambda: not order.gated or channel.receive() is Gate.GO,
            order.timing,
        )
    except _Told:
        return  # the procedure has logged out on its way here
