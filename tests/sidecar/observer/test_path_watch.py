# SPDX-License-Identifier: Apache-2.0
"""One path after another: probed, read, registered, lost, and back."""

import itertools
import threading
from pathlib import Path

import pytest

from fencer.sidecar.reports import (
    LunSeen,
    LunSilent,
    PathGone,
    PathRegistered,
    PathSeen,
    Registered,
    RegistrationFailed,
    Report,
)
from fencer.state.snapshot import RegistrationState
from fencer.storage.marker import LunMark, Marker, write_marker
from tests.sidecar.observer.path_rig import TIMING, FakeProbe, Rig, kinds
from tests.storage.fake_target import RESET
from tests.storage.nodes import A, B, registered


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


def test_a_reservation_that_another_node_released_is_taken_again(rig: Rig) -> None:
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
        self.path.begin()
        self.thread = threading.Thread(target=rig.begun.pop(), daemon=True)
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
    ends = False

    def broken(_turns: object) -> float:
        if ends:
            path._ended.set()
        raise ZeroDivisionError("x")

    path._turn = broken  # type: ignore[method-assign, assignment]
    path.begin()
    step = rig.begun.pop()
    rig.clock.now += 2 * TIMING.probe_interval_s
    again_s = step()
    (seen,) = rig.take()
    assert isinstance(seen, PathSeen)
    assert (seen.ok, seen.reason) == (False, "unexpected ZeroDivisionError: x")
    assert again_s == rig.clock.now + TIMING.probe_interval_s
    assert probe.closed > 0
    ends = True
    rig.clock.now += 2 * TIMING.probe_interval_s
    assert step() is None
    assert rig.take() == []  # ended meanwhile: nothing to say


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
