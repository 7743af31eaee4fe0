# SPDX-License-Identifier: Apache-2.0
"""Observers on targets in memory: what they report, turn by turn, and that nothing that hangs holds anything else."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencer.errors import UsageError
from fencer.model import ReservationKey
from fencer.sidecar.lun_list import FoundLun, LunList
from fencer.sidecar.messages import Observe
from fencer.sidecar.observer import observing
from fencer.sidecar.observer.kernel_paths import KernelPath
from fencer.sidecar.observer.observing import Observation, list_luns, observe
from fencer.sidecar.reports import (
    Alive,
    LunSeen,
    LunsListed,
    PathGone,
    PathRegistered,
    PathSeen,
    Registered,
    Report,
)
from fencer.sidecar.settings import ObserverSettings, SidecarTiming
from fencer.state.snapshot import RegistrationState
from fencer.storage.nexus import Nexus
from fencer.storage.settings import StorageSettings
from tests.sidecar.observer.path_rig import FakeProbe, StillClock, kinds
from tests.sidecar.seen import Expander
from tests.storage.fake_devices import WWID_A, FakeDevices
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, registered


class FakeEvents:
    """Says that something changed when told to."""

    def __init__(self) -> None:
        self.changed = threading.Event()

    def wait(self, seconds: float) -> bool:
        changed = self.changed.wait(min(seconds, 0.02))
        self.changed.clear()
        return changed

    def wake(self) -> None:
        """It comes often by itself."""


QUICK = SidecarTiming(0.02, 0.5, 0.02, 0.5, 0.1, 1.0, 0.2, 0.02)


class Process:
    """An Observation in threads of this process, on one target."""

    def __init__(self, tmp_path: Path, target: FakeTarget) -> None:
        self.target, self.clock = target, StillClock()
        self.seen: list[Report] = []
        self.expander = Expander()
        self.heard = threading.Condition()
        self.names = ["a"]
        self.events = FakeEvents()
        self.probes: dict[str, FakeProbe] = {}
        storage = StorageSettings(("/dev/sda",), None, A, state_dir=str(tmp_path))
        self.observation = Observation(
            ObserverSettings(storage, QUICK),
            LunList((FoundLun(target.wwid, "lun"),)),
            lambda: {target.wwid: {name: KernelPath(name, "0:0:0:0", name, 1) for name in self.names}},
            self.events,
            self.probe,
            lambda node: Nexus(target.nexus(node)),
            lambda wwid: True,
            self.hear,
        )
        threading.Thread(target=self.observation.run, daemon=True).start()

    def probe(self, path: KernelPath) -> FakeProbe:
        return self.probes.setdefault(path.name, FakeProbe(self.clock))

    def hear(self, reports: list[Report]) -> None:
        with self.heard:
            self.seen += self.expander.expand(reports)
            self.heard.notify_all()

    def wait(self, *types: type, count: int = 1, **wanted: object) -> Report:
        """The count-th report of these types with these fields."""

        def found() -> list[Report]:
            return [
                seen
                for seen in self.seen
                if isinstance(seen, types) and all(getattr(seen, name) == value for name, value in wanted.items())
            ]

        with self.heard:
            assert self.heard.wait_for(lambda: len(found()) >= count, 20), (types, wanted, self.seen[-20:])
            return found()[count - 1]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path, registered("b"))
    yield process
    for probe in process.probes.values():
        probe.release.set()
    process.observation.end()


def test_a_node_that_starts_is_listed_probed_and_registered(process: Process) -> None:
    process.wait(Alive)
    process.wait(LunsListed)
    process.wait(PathSeen, ok=True)
    process.wait(Registered, path="")
    process.wait(PathRegistered, path="a")
    process.wait(LunSeen, registration=RegistrationState.REGISTERED)
    assert A in process.target.keys


def test_a_new_path_is_listed_and_registered(process: Process) -> None:
    process.wait(PathRegistered, path="a")
    process.names.append("a2")
    process.events.changed.set()
    process.wait(PathRegistered, path="a2")
    assert process.target.keys.count(A) == 2


def test_a_policy_that_begins_anew_hears_all_again(process: Process) -> None:
    process.wait(PathRegistered, path="a")
    with process.heard:
        process.seen.clear()
    process.wait(LunsListed)
    process.wait(PathRegistered, path="a")
    process.wait(LunSeen, registration=RegistrationState.REGISTERED)
    assert not [one for one in process.seen if isinstance(one, Registered)]


def test_only_the_first_list_of_a_process_says_so(process: Process) -> None:
    process.wait(LunsListed, first=False, count=2)
    assert [one.first for one in process.seen if isinstance(one, LunsListed)][:3] == [True, False, False]
    first, *_ = kinds(process.seen, LunsListed, PathSeen, PathRegistered)
    assert isinstance(first, LunsListed)


def test_a_removed_path_is_gone(process: Process) -> None:
    process.wait(PathRegistered, path="a")
    process.names.clear()
    process.events.changed.set()
    process.wait(PathGone, path="a")


def test_a_path_that_hangs_holds_no_other(process: Process) -> None:
    process.names.append("a2")
    process.wait(PathRegistered, path="a2")
    process.probes["a"].release.clear()
    process.wait(PathSeen, path="a", ok=False)
    with process.heard:
        process.seen.clear()
    process.wait(PathSeen, path="a2", ok=True, count=5)
    process.wait(LunSeen, registration=RegistrationState.REGISTERED, count=3)
    process.wait(Alive, count=2)


def test_other_threads_do_not_say_for_long_that_the_first_one_works(tmp_path: Path) -> None:
    clock, sent = StillClock(), list[Report]()
    storage = StorageSettings(("/dev/sda",), None, A, state_dir=str(tmp_path))
    luns = LunList((FoundLun("naa.1", "lun"),))
    observation = Observation(
        ObserverSettings(storage), luns, dict, FakeEvents(), lambda _: FakeProbe(clock), lambda _: Nexus(None),  # type: ignore[arg-type]
        lambda _: True, sent.extend, clock,
    )  # fmt: skip
    looked_s = clock.now
    for step_s in (1.0, 1.0, 10.0):
        clock.now += step_s
        observation._settle()
    assert [one.at_s for one in sent if isinstance(one, Alive)] == [looked_s + 1, looked_s + 2, looked_s]


def test_a_list_is_told_again_when_anything_changed_and_now_and_then(tmp_path: Path) -> None:
    clock, sent, identity = StillClock(), list[Report](), [1]
    storage = StorageSettings(("/dev/sda",), None, A, state_dir=str(tmp_path))
    observation = Observation(
        ObserverSettings(storage), LunList((FoundLun("naa.1", "lun"),)),
        lambda: {"naa.1": {"sda": KernelPath("sda", "0:0:0:0", "/dev/sda", identity[0])}},
        FakeEvents(), lambda _: FakeProbe(clock), lambda _: Nexus(None),  # type: ignore[arg-type]
        lambda _: True, sent.extend, clock,
    )  # fmt: skip

    def lists() -> int:
        sent.clear()
        observation.list()
        return len(kinds(sent, LunsListed))

    assert [lists(), lists()] == [1, 0]
    identity[0] = 2  # another disk at the same address: its PathGone took the path away
    assert [lists(), lists()] == [1, 0]
    clock.now += 60.0
    assert [lists(), lists()] == [1, 0]


def test_an_iscsi_address_is_no_path_of_this_node(tmp_path: Path) -> None:
    storage = StorageSettings(("iscsi://10.0.0.1/iqn.x/0",), None, ReservationKey(1), state_dir=str(tmp_path))
    with pytest.raises(UsageError, match="no path of this node"):
        list_luns(storage)


def test_the_sidecar_refuses_a_name_of_this_node_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeDevices(tmp_path)
    node.disk("sdb", WWID_A)
    monkeypatch.setattr(observing, "UdevDevices", lambda: node)
    listed = list_luns(StorageSettings((WWID_A,), None, ReservationKey(1), state_dir=str(tmp_path))).luns
    assert [lun.wwid for lun in listed] == [WWID_A]
    with pytest.raises(UsageError, match=f"/dev/sdb is LUN {WWID_A} on this node, .* give {WWID_A}"):
        list_luns(StorageSettings(("/dev/sdb",), None, ReservationKey(1), state_dir=str(tmp_path)))


def test_a_node_without_a_key_is_bad_input(tmp_path: Path) -> None:
    storage = StorageSettings(("/dev/sdb",), None, None, state_dir=str(tmp_path))
    with pytest.raises(UsageError, match="no reservation key"):
        observe(Observe(ObserverSettings(storage), LunList(()), ()), None, lambda: None)  # type: ignore[arg-type]
