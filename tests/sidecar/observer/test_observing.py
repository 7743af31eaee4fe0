"""Observers on targets in memory: what they report, turn by turn, and that nothing that hangs holds anything else."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fencer.errors import UsageError
from fencer.model import ReservationKey
from fencer.sidecar.lun_list import FoundLun, LunList
from fencer.sidecar.messages import Observe
from fencer.sidecar.observer.kernel_paths import KernelPath
from fencer.sidecar.observer.lun_watch import LunWatch
from fencer.sidecar.observer.observing import Observation, list_luns, observe
from fencer.sidecar.observer.path_watch import PathWatch
from fencer.sidecar.reports import (
    Alive,
    LunSeen,
    LunSilent,
    LunsListed,
    PathGone,
    PathRegistered,
    PathSeen,
    Registered,
    RegistrationFailed,
    Report,
)
from fencer.sidecar.settings import ObserverSettings, SidecarTiming
from fencer.state.snapshot import RegistrationState
from fencer.storage.marker import LunMark, Marker, write_marker
from fencer.storage.nexus import Nexus
from fencer.storage.settings import StorageSettings
from tests.storage.fake_target import RESET, FakeTarget
from tests.storage.nodes import A, B, registered

TIMING = SidecarTiming()


class Clock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeProbe:
    """reason: what the next reads say. takes_s: how long they take. hangs: they wait for release."""

    def __init__(self, clock: Clock) -> None:
        self.reason, self.takes_s = "", 0.0
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
        self.clock, self.target = Clock(), target
        self.storage = StorageSettings(("/dev/sda",), None, A, state_dir=str(tmp_path))
        self.seen: list[Report] = []
        self.lun = LunWatch(target.wwid, "lun", self.storage, TIMING, self.seen.append)
        self.probes = {name: FakeProbe(self.clock) for name in ("a", "a2")}
        self.begun: list[Callable[[], None]] = []  # threads that were to be started
        self.paths = {name: self.path(name) for name in ("a", "a2")}

    def path(self, name: str) -> PathWatch:
        kernel = KernelPath(name, "0:0:0:0", name, 1)
        return PathWatch(
            kernel, self.lun, lambda _: self.probes[name], self.open, self.storage, TIMING, self.seen.append,
            self.clock, lambda job, _: self.begun.append(job),
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


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Both paths are registered, in this boot."""
    target = registered("a", "a2", "b")
    write_marker(str(tmp_path), Marker(A, (LunMark(target.wwid, target.generation, registered=True),)))
    rig = Rig(tmp_path, target)
    rig.lun.unfenced = True
    rig.turns(3.0)
    assert all(path.registered for path in rig.paths.values())
    return rig


def test_each_path_is_probed_once_an_interval(rig: Rig) -> None:
    seen = kinds(rig.turns(10.0), PathSeen)
    assert all(isinstance(one, PathSeen) and one.ok for one in seen)
    assert len(seen) == 2 * 10 / TIMING.probe_interval_s


def test_the_registrations_of_a_lun_are_read_once_an_interval_by_whichever_path(rig: Rig) -> None:
    seen = kinds(rig.turns(10.0), LunSeen)
    assert len(seen) == 10 / TIMING.check_interval_s
    one = seen[0]
    assert isinstance(one, LunSeen)
    assert (one.registration, one.keys, one.nexuses) == (RegistrationState.REGISTERED, (A, B), (2, 1))


def test_another_path_reads_when_the_first_does_not_answer(rig: Rig) -> None:
    rig.target.silent.add("a")
    seen = rig.turns(10.0)
    assert kinds(seen, LunSeen)
    gaps = [one.at_s for one in seen if isinstance(one, LunSeen)]
    assert max(later - earlier for earlier, later in itertools.pairwise(gaps)) < TIMING.registration_stale_s


def test_a_lun_that_answers_no_registrations_is_silent_not_preempted(rig: Rig) -> None:
    rig.target.silent |= {"a", "a2"}
    seen = rig.turns(10.0)
    assert kinds(seen, LunSilent)
    assert not kinds(seen, LunSeen)


def test_a_failed_path_is_lost_and_registered_again_before_it_counts(rig: Rig) -> None:
    rig.probes["a"].reason = "EIO: Input/output error"
    seen = rig.turns(3.0)
    assert any(isinstance(one, PathSeen) and not one.ok and one.reason.startswith("EIO") for one in seen)
    rig.probes["a"].reason = ""
    seen = rig.turns(3.0)
    assert [one.path for one in seen if isinstance(one, PathRegistered)] == ["a"]
    assert [one.path for one in seen if isinstance(one, Registered)] == ["a"]


def test_a_path_that_came_back_as_another_nexus_is_registered(rig: Rig) -> None:
    rig.probes["a2"].reason = "ENXIO: No such device or address"
    rig.turns(2.0)
    rig.target.relogin("a2")
    rig.probes["a2"].reason = ""
    seen = rig.turns(3.0)
    assert [one.path for one in seen if isinstance(one, PathRegistered)] == ["a2"]
    assert rig.target.registrations[rig.target._session("a2")] == A


def test_a_path_that_comes_back_to_a_fenced_node_is_not_registered(rig: Rig) -> None:
    rig.probes["a"].reason = rig.probes["a2"].reason = "EIO: Input/output error"
    rig.turns(2.0)
    assert rig.open("b").preempt_and_abort(B, A, rig.storage.reservation_type, _deadline()) is not None
    writes = len(rig.target.log)
    rig.probes["a"].reason = rig.probes["a2"].reason = ""
    seen = rig.turns(5.0)
    assert {one.registration for one in seen if isinstance(one, LunSeen)} == {RegistrationState.PREEMPTED}
    assert not kinds(seen, PathRegistered, Registered)
    assert len(rig.target.log) == writes
    assert set(rig.target.keys) == {B}


def test_unit_attentions_and_resets_change_nothing(rig: Rig) -> None:
    rig.target.reset(lose_registrations=False)
    rig.target.inject("a", RESET, RESET)
    seen = rig.turns(5.0)
    assert {one.registration for one in seen if isinstance(one, LunSeen)} == {RegistrationState.REGISTERED}
    assert all(one.ok for one in seen if isinstance(one, PathSeen))


def test_a_target_that_lost_everything_is_told_apart(rig: Rig) -> None:
    rig.target.reset(lose_registrations=True)
    seen = rig.turns(5.0)
    assert {one.registration for one in seen if isinstance(one, LunSeen)} == {RegistrationState.TARGET_FORGOT}
    assert not rig.lun.unfenced


def test_a_reservation_that_somebody_released_is_taken_again(rig: Rig) -> None:
    rig.target.reservation = None
    seen = rig.turns(6.0)
    assert [one.registration for one in seen if isinstance(one, LunSeen)][:2] == [
        RegistrationState.UNPROTECTED,
        RegistrationState.REGISTERED,
    ]
    assert rig.target.reservation is not None


def test_a_slow_answer_is_a_loss(rig: Rig) -> None:
    rig.probes["a"].takes_s = TIMING.probe_deadline_s + 0.1
    rig.clock.now += TIMING.probe_interval_s
    rig.paths["a"].turn()
    (seen,) = kinds(rig.take(), PathSeen)
    assert isinstance(seen, PathSeen)
    assert not seen.ok
    assert "answered only after" in seen.reason


class Hung:
    """A path whose probe hangs, in a thread."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.path, self.probe = rig, rig.paths["a"], rig.probes["a"]
        self.probe.release.clear()
        self.probe.reading.clear()
        rig.clock.now += TIMING.probe_interval_s
        self.began_s, self.reads = rig.clock.now, self.probe.reads
        self.thread = threading.Thread(target=self.path.run, daemon=True)
        self.thread.start()
        assert self.probe.reading.wait(20)
        rig.take()

    def wait(self, seconds: float) -> list[Report]:
        end = self.rig.clock.now + seconds
        while self.rig.clock.now < end:
            self.rig.clock.now += 0.5
            self.path.tell_overdue(self.rig.clock.now)
        return self.rig.take()

    def fresh(self) -> FakeProbe:
        """The probe of whoever goes on beside."""
        self.rig.probes["a"] = FakeProbe(self.rig.clock)
        return self.rig.probes["a"]


def test_a_single_lost_command_is_no_loss(rig: Rig) -> None:
    hung = Hung(rig)
    fresh = hung.fresh()
    assert hung.wait(TIMING.probe_deadline_s / 2) == []
    assert len(rig.begun) == 1
    seen = rig.turns(20.0, "a")  # in the thread that has taken over
    assert {one.ok for one in seen if isinstance(one, PathSeen)} == {True}
    assert fresh.reads == 20
    assert hung.path.registered
    hung.probe.reason = "EIO: Input/output error"  # the kernel gives the first one up
    hung.probe.release.set()
    hung.thread.join(20)
    assert not hung.thread.is_alive()
    assert kinds(rig.take(), PathSeen) == []
    assert hung.path.good and hung.path.registered


def test_a_path_on_which_all_commands_hang_is_told_lost_once_and_asked_three_times(rig: Rig) -> None:
    hung = Hung(rig)
    fresh = hung.fresh()
    fresh.release.clear()
    threads = []
    told = []
    for _ in range(20):
        told += hung.wait(0.5)
        while len(threads) < len(rig.begun):
            fresh.reading.clear()
            threads.append(threading.Thread(target=rig.begun[len(threads)], daemon=True))
            threads[-1].start()
            assert fresh.reading.wait(20)
    assert told == [PathSeen(rig.target.wwid, "a", hung.began_s, False, "no answer within 2 s", 2.5)]
    assert (hung.reads + 1, 2) == (hung.probe.reads, fresh.reads)
    assert not hung.path.registered
    hung.path.end(rig.clock.now)
    for probe in (hung.probe, fresh):
        probe.release.set()
    for thread in (hung.thread, *threads):
        thread.join(20)
        assert not thread.is_alive()


def test_a_path_that_answers_late_to_all_is_registered_again(rig: Rig) -> None:
    hung = Hung(rig)
    rig.begun.clear()
    assert kinds(hung.wait(TIMING.probe_deadline_s + 1), PathSeen)
    hung.probe.release.set()
    hung.thread.join(20)  # it was left behind
    assert not hung.path.registered
    seen = rig.turns(3.0)
    assert [one.path for one in seen if isinstance(one, PathRegistered)] == ["a"]


def test_a_registration_under_way_when_the_path_is_lost_does_not_count(rig: Rig) -> None:
    path = rig.paths["a"]
    epoch = path.epoch
    rig.probes["a"].reason = "EIO: Input/output error"
    rig.turns(2.0, "a")
    path.note_registered(epoch, "late")
    assert not path.registered
    assert not kinds(rig.take(), PathRegistered)


def test_a_path_that_is_gone_says_nothing_more(rig: Rig) -> None:
    path = rig.paths["a"]
    path.end(rig.clock.now)
    rig.clock.now += 5
    path.turn()
    assert [one for one in rig.take() if not isinstance(one, LunSeen)] == [PathGone(rig.target.wwid, "a", 1003.0)]


def test_a_fault_of_ours_is_a_loss_of_the_path_and_the_thread_goes_on(rig: Rig) -> None:
    path, probe = rig.paths["a"], rig.probes["a"]
    probe.takes_s = float("nan")

    def broken(_turns: object) -> str:
        path._ended.set()
        raise ZeroDivisionError("x")

    path._ended.clear()
    seen_before = len(rig.seen)
    path._turn = broken  # type: ignore[method-assign, assignment]
    path.run()
    assert rig.seen[seen_before:] == []  # ended meanwhile: nothing to say
    assert probe.closed > 0


def test_a_refused_registration_is_told_once(rig: Rig) -> None:
    rig.probes["a"].reason = "EIO: Input/output error"
    rig.turns(2.0)
    rig.target.registrations[rig.target._session("a")] = 0xC
    rig.probes["a"].reason = ""
    seen = rig.turns(20.0)
    (failed,) = kinds(seen, RegistrationFailed)
    assert isinstance(failed, RegistrationFailed)
    assert "another key is registered on this path" in failed.reason


def _deadline() -> object:
    from tests.storage.nodes import deadline

    return deadline()


# --- all together, in threads --------------------------------------------------------------------------------------


class FakeEvents:
    """Says that something changed when told to."""

    def __init__(self) -> None:
        self.changed = threading.Event()

    def wait(self, seconds: float) -> bool:
        changed = self.changed.wait(min(seconds, 0.02))
        self.changed.clear()
        return changed


QUICK = SidecarTiming(0.02, 0.5, 0.02, 0.5, 0.1, 1.0, 0.2, 0.02)


class Process:
    """An Observation in threads of this process, on one target."""

    def __init__(self, tmp_path: Path, target: FakeTarget) -> None:
        self.target, self.clock = target, Clock()
        self.seen: list[Report] = []
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
            self.seen += reports
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


def test_an_iscsi_address_is_no_path_of_this_node(tmp_path: Path) -> None:
    storage = StorageSettings(("iscsi://10.0.0.1/iqn.x/0",), None, ReservationKey(1), state_dir=str(tmp_path))
    with pytest.raises(UsageError, match="no path of this node"):
        list_luns(storage)


def test_a_node_without_a_key_is_bad_input(tmp_path: Path) -> None:
    storage = StorageSettings(("/dev/sdb",), None, None, state_dir=str(tmp_path))
    with pytest.raises(UsageError, match="no reservation key"):
        observe(Observe(ObserverSettings(storage), LunList(()), ()), None, lambda: None)  # type: ignore[arg-type]
