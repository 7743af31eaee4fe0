# SPDX-License-Identifier: Apache-2.0
"""One LUN with two paths, observed turn by turn on a clock that stands still between the turns."""

import threading
from pathlib import Path

from fencer.sidecar.observer.kernel_paths import KernelPath
from fencer.sidecar.observer.lun_watch import LunWatch
from fencer.sidecar.observer.path_watch import PathWatch
from fencer.sidecar.observer.rounds import Turn
from fencer.sidecar.reports import (
    Report,
)
from fencer.sidecar.settings import SidecarTiming
from fencer.storage.marker import read_marker
from fencer.storage.nexus import Nexus
from fencer.storage.registration import past
from fencer.storage.settings import StorageSettings
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A

TIMING = SidecarTiming()


class StillClock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeProbe:
    """reason: what the next reads say. takes_s: how long they take. hangs: they wait for release."""

    def __init__(self, clock: StillClock) -> None:
        self.reason, self.takes_s = "", 0.0
        self.descriptor: int | None = None
        self.clock, self.closed, self.reads = clock, 0, 0
        self.release = threading.Event()
        self.release.set()
        self.reading = threading.Event()

    def read(self) -> str:
        self.reads += 1
        self.reading.set()
        assert self.release.wait(20)
        self.clock.now += self.takes_s
        return self.reason

    def close(self) -> None:
        self.closed += 1


class Rig:
    """One LUN with two paths, ``a`` and ``a2``, of a node whose key is A."""

    def __init__(self, tmp_path: Path, target: FakeTarget) -> None:
        self.clock, self.target = StillClock(), target
        self.storage = StorageSettings(("/dev/sda",), None, A, state_dir=str(tmp_path))
        self.seen: list[Report] = []
        recorded = past(read_marker(str(tmp_path)), target.wwid)
        self.lun = LunWatch(target.wwid, "lun", self.storage, TIMING, self.seen.append, recorded)
        self.probes = {name: FakeProbe(self.clock) for name in ("a", "a2")}
        self.begun: list[Turn] = []  # steps that were to be taken
        self.paths = {name: self.path(name) for name in ("a", "a2")}

    def path(self, name: str) -> PathWatch:
        kernel = KernelPath(name, "0:0:0:0", name, 1)
        return PathWatch(
            kernel, self.lun, lambda _: self.probes[name], self.open, self.storage, TIMING, self.seen.append,
            self.clock, lambda step, _: self.begun.append(step),
        )  # fmt: skip

    def open(self, node: str) -> Nexus:
        return Nexus(self.target.nexus(node), sleep=lambda seconds: None)

    def take(self) -> list[Report]:
        taken, self.seen[:] = list(self.seen), []
        return taken

    def turns(self, seconds: float, *names: str) -> list[Report]:
        """The paths take turns for that long."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            for name in names or ("a", "a2"):
                self.paths[name].turn()
            self.clock.now += 0.25
        return self.take()


def kinds(reports: list[Report], *types: type) -> list[Report]:
    return [seen for seen in reports if isinstance(seen, types)]
