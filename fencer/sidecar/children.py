# SPDX-License-Identifier: Apache-2.0
"""The supervisor's child processes: their jobs, their start and their end."""

import contextlib
import os
import time
from _pickle import dumps  # as in fencer.worker
from _socket import socket  # as in fencer.worker
from collections.abc import Callable

from fencer._typing import NamedTuple
from fencer.errors import FenceError, UsageError
from fencer.sidecar.lun_list import LunList
from fencer.sidecar.messages import (
    Begin,
    Config,
    LunsFound,
    Observe,
    Observing,
    StartReporting,
    Unregister,
    Unregistered,
)
from fencer.worker import MESSAGE_BYTES, Channel, Worker

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0

STEADY_S = 30.0
"""A child that has run for so long is started again without a pause, however often it ended before."""

OBSERVER, PUBLISHER = "observer", "publisher"


class Jobs(NamedTuple):
    """The children's jobs. Each runs in a process of its own.

    configure: reads the file and sends Configured. list_luns: asks LVM and sysfs; raises FenceError. observe: sends
    reports on its second argument, and calls the third when block devices have changed. write: reads messages from
    its second argument. unregister: takes the key off, or raises.
    """

    configure: Callable[[str, Channel], None]
    list_luns: Callable[[Config], LunList]
    observe: Callable[[Observe, Channel, Callable[[], None]], None]
    write: Callable[[Begin, Channel], None]
    unregister: Callable[[Unregister], None]


class Child:
    """A child that always runs: the observer or the publisher."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.worker: Worker | None = None
        self.started_s = 0.0
        self.start_at_s: float | None = None
        self.pause_s = FIRST_PAUSE_S
        self.reason = ""

    def start_later(self) -> None:
        """Schedules the next start, after a pause that doubles each time."""
        self.start_at_s = time.monotonic() + self.pause_s
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)


class ReportsLater(Channel):
    """A new observer's channel to the feeder. Its first message waits until the supervisor has put it in its place.

    So the feeder never hears of a set of LUNs that is dropped before it is in force.
    """

    def __init__(self, sock: socket, supervisor: Channel) -> None:
        super().__init__(sock)
        self._supervisor: Channel | None = supervisor

    def send(self, message: object) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.send(Observing())
            if not isinstance(supervisor.receive(), StartReporting):
                os._exit(1)  # the supervisor is gone
        super().send(message)


def list_luns(jobs: Jobs, config: Config, channel: Channel) -> None:
    """Lists the LUNs in a child. Raises FenceError. Names of paths are used only where sysfs shows no WWID."""
    found = LunsFound(jobs.list_luns(config))
    if len(dumps(found)) > MESSAGE_BYTES:
        found = LunsFound(found.luns._replace(luns=tuple(lun._replace(paths=()) for lun in found.luns.luns)))
    if len(dumps(found)) > MESSAGE_BYTES:
        raise UsageError("vg: it has more physical volumes than one sidecar watches: give devices instead")
    channel.send(found)


def reaped(pid: int) -> bool:
    """Whether the child has ended. A child in state D is checked again at the next turn."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


PUBLISHER_OOM_SCORE = -500
"""The OOM killer may end the publisher: no fence depends on it."""


def set_oom_score(score: int) -> None:
    """Sets the OOM score of this process. Best effort: without the privilege it stays as it is."""
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(score).encode())
        finally:
            os.close(descriptor)


def unregister(jobs: Jobs, order: Unregister, channel: Channel) -> None:
    try:
        jobs.unregister(order)
    except FenceError as error:
        channel.send(Unregistered(str(error)))
    else:
        channel.send(Unregistered(""))
