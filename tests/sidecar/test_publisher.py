# SPDX-License-Identifier: Apache-2.0
"""What the publisher does first when much waits for it and the journal is slow."""

import os
import time
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socketpair
from typing import cast

from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.sidecar import publisher as module
from fencer.sidecar.messages import Begin, FeederStatus, Recorded
from fencer.sidecar.publisher import Publisher
from fencer.state.last_self_fence import SelfFence, read_last
from fencer.worker import Channel
from tests.sidecar.sidecar import config

QUICK = 'devices = ["/dev/sdb"]\nwatchdog_timeout_s = 2\n'


def event(number: int) -> Event:
    return Event(float(number), 0.0, EventKind.PAUSE, "halvm-watchdogd", "a", "a", "pause", FenceOutcome.SUCCESS)


def test_a_self_fence_and_the_snapshot_come_before_events(tmp_path: Path) -> None:
    """A journal that somebody holds takes 0.2 s an event; the snapshot must not age meanwhile, and the record of a
    self-fence is what the next boot is told."""
    (tmp_path / "w.toml").write_text(f'{QUICK}state_dir = "{tmp_path}/run"\nrecord_dir = "{tmp_path}/lib"\n')
    acts: list[str] = []
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    feeder, channel = Channel(ours), Channel(theirs)

    def append(which: Event) -> None:
        acts.append(
            f"event {which.kind} {which.at_unix_s:.0f}" if which.kind is EventKind.PAUSE else "event self-fence"
        )

    publisher = Publisher(Begin(config(str(tmp_path / "w.toml")), time.time()), "boot", os.getpid(), 2, append)
    publisher._publish = lambda status: acts.append("snapshot")  # type: ignore[method-assign]
    status = FeederStatus.__new__(FeederStatus, *[None] * len(FeederStatus._fields))
    for message in (event(1), event(2), status, SelfFence("the key is gone", "a", "boot", 5.0, 5.0), event(3)):
        feeder.send(message)
    ours.shutdown(1)
    publisher.run(channel)
    assert isinstance(feeder.receive(), Recorded)
    record = read_last(f"{tmp_path}/lib")
    assert record is not None
    assert record.reason == "the key is gone"
    assert acts == ["snapshot", "event self-fence", "event pause 1", "event pause 2", "event pause 3"]


def test_events_that_wait_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(f'{QUICK}state_dir = "{tmp_path}/run"\nrecord_dir = "{tmp_path}/lib"\n')
    log = os.open(os.devnull, os.O_WRONLY)
    publisher = Publisher(
        Begin(config(str(tmp_path / "w.toml")), time.time()), "boot", os.getpid(), log, lambda _: None
    )
    for number in range(module.EVENTS_MOST + 5):
        publisher.take(event(number))
    os.close(log)
    waiting = cast("list[Event]", list(publisher._events))
    assert (len(waiting), waiting[0].at_unix_s) == (module.EVENTS_MOST, 5.0)
