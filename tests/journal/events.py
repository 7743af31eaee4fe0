# SPDX-License-Identifier: Apache-2.0
"""Events to record, and a process to do something in."""

import os
import traceback
from collections.abc import Callable

from fencer.journal.event import Event, EventKind, FenceOutcome, Step, StepName
from fencer.model import Proof

FENCE = Event(
    at_unix_s=1763800000.25,
    took_s=4.5,
    kind=EventKind.FENCE,
    program="fence_halvm",
    actor="serv-0002",
    target="serv-0001",
    action="reboot",
    outcome=FenceOutcome.SUCCESS,
    proofs=(Proof.POWER, Proof.STORAGE),
    weak=True,
    steps=(
        Step(0.125, "BMC 192.168.1.50: session open", StepName.SESSION, 0.125),
        Step(0.75, "/dev/sdb: isolated (plain PREEMPT), read back", StepName.ISOLATE, 0.5),
    ),
)
FAILED = FENCE._replace(
    outcome=FenceOutcome.FAILURE, proofs=(), weak=False, error="192.168.1.50: Timed out", took_s=30.0, steps=()
)
MONITOR = FENCE._replace(kind=EventKind.MONITOR, action="monitor", took_s=0.2, proofs=(), weak=False, steps=())


def start(job: Callable[[], None]) -> int:
    """Forks a process that does job and ends as a journal writer process does: os._exit only. Returns its pid."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        job()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait_all(pids: list[int]) -> None:
    """Each must end well."""
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * len(pids)


def in_a_process(job: Callable[[], None]) -> None:
    """And waits for it; it must end well."""
    wait_all([start(job)])
