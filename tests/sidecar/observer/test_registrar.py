# SPDX-License-Identifier: Apache-2.0
"""Registering whole LUNs, with the marker of this boot: at the start, after a target forgot, never once fenced."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fencer.errors import TransportError
from fencer.model import Deadline
from fencer.observations import LunIsolated
from fencer.sidecar.observer.kernel_paths import KernelPath
from fencer.sidecar.observer.lun_watch import LunWatch
from fencer.sidecar.observer.path_watch import PathWatch
from fencer.sidecar.observer.registrar import LunAndPaths, Registrar
from fencer.sidecar.reports import LunSeen, LunSilent, PathRegistered, Registered, RegistrationFailed, Report
from fencer.sidecar.settings import SidecarTiming, TargetReset
from fencer.state.snapshot import RegistrationState
from fencer.storage import procedure
from fencer.storage.isolation import isolate
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.marker import MARKER_NAME, LunMark, Marker, read_marker, write_marker
from fencer.storage.nexus import Nexus
from fencer.storage.registration import History, Past, past
from fencer.storage.settings import StorageSettings
from fencer.storage.transport import ScsiReply
from tests.sidecar.observer.path_rig import StillClock
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import FaultyPath
from tests.storage.nodes import WERO, A, B, C, Clock, contest, deadline, lun, registered

TIMING = SidecarTiming()


class Ok:
    """A path that answers."""

    reason = ""
    descriptor = None

    def read(self) -> str:
        return self.reason

    def close(self) -> None:
        return


class Node:
    """A node with key A on some LUNs, each by the path ``a``; one life is one process of observers."""

    def __init__(self, state_dir: Path, *targets: FakeTarget) -> None:
        self.state_dir, self.targets = state_dir, targets
        self.clock, self.active, self.policy = StillClock(), True, TargetReset.RE_REGISTER
        self.seen: list[Report] = []
        self.start()

    def start(self, generation: int | None = None) -> None:
        """A new process. generation: see LunWatch."""
        storage = StorageSettings(("/dev/sda",), None, A, state_dir=str(self.state_dir))
        self.luns = []
        self.probes = []
        for target in self.targets:
            recorded = past(read_marker(str(self.state_dir)), target.wwid)
            watch = LunWatch(target.wwid, target.wwid[-1], storage, TIMING, self.seen.append, recorded, generation)
            kernel = KernelPath("a", "0:0:0:0", target.wwid, 1)
            probe = Ok()
            path = PathWatch(
                kernel,
                watch,
                lambda _, probe=probe: probe,
                self.open,
                storage,
                TIMING,
                self.seen.append,
                self.clock,
                lambda _step, _at_s: None,
            )
            self.luns.append(LunAndPaths(watch, (path,)))
            self.probes.append(probe)
        self.registrar = Registrar(
            storage, A, TIMING, self.policy, lambda: tuple(self.luns), lambda wwid: self.active, self.open,
            self.seen.append, self.clock,
        )  # fmt: skip

    def open(self, wwid: str) -> Nexus:
        (target,) = (one for one in self.targets if one.wwid == wwid)
        return Nexus(target.nexus("a"), sleep=lambda seconds: None)

    def go(self, seconds: float, *, keep: bool = True) -> list[Report]:
        """What is told meanwhile. keep: the registrar takes its turns, too."""
        self.seen.clear()
        end = self.clock.now + seconds
        while self.clock.now < end:
            for kept in self.luns:
                for path in kept.paths:
                    path.turn()
            if keep:
                self.registrar.turn()
            self.clock.now += 0.5
        return list(self.seen)

    def registrations(self) -> list[RegistrationState]:
        return [seen.registration for seen in self.seen if isinstance(seen, LunSeen)]


def targets(count: int = 2) -> tuple[FakeTarget, ...]:
    return tuple(registered("b", target=FakeTarget(wwid=f"naa.600140500000000{n}")) for n in range(count))


def test_at_the_start_every_lun_is_registered_between_two_markers(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets())
    seen = node.go(3.0)
    assert all(set(target.keys) == {A, B} for target in node.targets)
    assert len([one for one in seen if isinstance(one, PathRegistered)]) == 2
    assert len([one for one in seen if isinstance(one, Registered)]) == 2
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert all(mark.registered for mark in found.luns)


@pytest.mark.parametrize("keys", ["", "b"])
@pytest.mark.parametrize("generation", [0, 2, 99])
def test_another_lun_under_the_same_number_is_neither_read_nor_registered(
    tmp_path: Path, keys: str, generation: int
) -> None:
    """An array maps another LUN there, and the kernel keeps the name that it read first. By its registrations this node
    would be preempted (a reset without grace), or would register there and go on as if all were well."""
    (target,) = targets(1)
    node = Node(tmp_path, target)
    node.go(3.0)
    other = FakeTarget(wwid="naa.6001405fffffffff")
    target._inquiry = other._inquiry  # type: ignore[method-assign]
    for session in [each for each in target.registrations if each.initiator not in keys]:
        del target.registrations[session]
    target.generation, target.reservation, before = generation, None, len(target.log)
    seen = node.go(20.0)
    assert node.registrations() == []
    assert any(isinstance(one, LunSilent) and f"another LUN now, {other.wwid}" in one.reason for one in seen)
    assert len(target.log) == before


def test_what_is_registered_is_left_alone(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets())
    node.go(3.0)
    writes = [len(target.log) for target in node.targets]
    node.go(60.0)
    assert [len(target.log) for target in node.targets] == writes


def test_a_process_that_is_started_again_finds_itself_registered(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets())
    node.go(3.0)
    keys = [target.keys for target in node.targets]
    node.start()
    seen = node.go(3.0)
    assert [target.keys for target in node.targets] == keys
    assert len([one for one in seen if isinstance(one, PathRegistered)]) == 2
    assert set(node.registrations()) == {RegistrationState.REGISTERED}


@pytest.mark.parametrize("again", [False, True])
def test_a_node_that_was_preempted_on_one_lun_registers_on_none(tmp_path: Path, again: bool) -> None:
    node = Node(tmp_path, *targets())
    node.go(3.0)
    first, second = node.targets
    b = Nexus(first.nexus("b"))
    b.preempt_and_abort(B, A, WERO, Deadline.after(5))
    if again:
        node.start()
    writes = len(first.log), len(second.log)
    node.go(60.0)
    assert RegistrationState.PREEMPTED in node.registrations()
    assert first.keys == [B]
    assert (len(first.log), len(second.log)) == writes


def test_a_node_that_is_fenced_while_it_registers_counts_as_registered_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, *targets())
    first, second = node.targets
    serve, b = second.execute, Nexus(first.nexus("b"))

    def after_a_fence(initiator: str, cdb: bytes, data_out: bytes, length: int) -> ScsiReply:
        if cdb[0] == 0x5F and A in first.keys:
            b.preempt_and_abort(B, A, WERO, Deadline.after(5))
        return serve(initiator, cdb, data_out, length)

    def one_after_another(
        luns: Sequence[LogicalUnit], work: procedure.Work, emit: procedure.Emit, _at_once: int
    ) -> None:
        for each in luns:
            emit(*work(each))

    monkeypatch.setattr(procedure, "_side_by_side", one_after_another)
    monkeypatch.setattr(second, "execute", after_a_fence)
    seen = node.go(60.0)
    assert first.keys == second.keys == [B]
    assert not any(isinstance(one, Registered | PathRegistered) for one in seen)
    assert RegistrationState.PREEMPTED in node.registrations()


def test_a_lun_that_is_not_there_at_the_start_is_registered_when_it_comes(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets())
    node.probes[1].reason = "EIO: Input/output error"
    seen = node.go(5.0)
    assert [one.lun for one in seen if isinstance(one, Registered)] == [node.targets[0].wwid]
    node.probes[1].reason = ""
    seen = node.go(5.0)
    assert [one.lun for one in seen if isinstance(one, Registered)] == [node.targets[1].wwid]
    assert set(node.targets[1].keys) == {A, B}


def test_nothing_is_registered_before_every_path_has_been_tried(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets(1))
    kept = node.luns[0]
    kept.paths[0].turn()
    late = PathWatch(
        KernelPath("a2", "0:0:0:0", "a2", 2), kept.watch, lambda _: Ok(), node.open,
        StorageSettings((), None, A), TIMING, node.seen.append, node.clock,
        lambda _step, _at_s: None,
    )  # fmt: skip
    node.luns[0] = LunAndPaths(kept.watch, (*kept.paths, late))
    node.registrar.turn()
    assert node.targets[0].keys == [B]
    late.good = False
    node.registrar.turn()
    assert set(node.targets[0].keys) == {A, B}


def test_after_a_target_forgot_the_active_node_registers_and_reserves_at_once(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets())
    node.go(3.0)
    for target in node.targets:
        target.reset(lose_registrations=True)
    node.go(TIMING.check_interval_s + 1)
    assert all(target.keys == [A] and target.reservation is not None for target in node.targets)
    node.go(5.0)
    assert node.registrations()[-1] is RegistrationState.REGISTERED


def test_a_standby_node_leaves_the_active_one_a_head_start(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets(1))
    node.go(3.0)
    node.active = False
    node.targets[0].reset(lose_registrations=True)
    node.go(TIMING.check_interval_s + 1)
    assert RegistrationState.TARGET_FORGOT in node.registrations()
    assert node.targets[0].keys == []
    node.go(2 * TIMING.check_interval_s)
    assert node.targets[0].keys == [A]


def test_who_comes_second_after_a_target_forgot_is_shut_out_and_does_not_register(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets(1))
    node.go(3.0)
    target = node.targets[0]
    target.reset(lose_registrations=True)
    registered("b", target=target)
    node.go(30.0)
    assert RegistrationState.SHUT_OUT in node.registrations()
    assert target.keys == [B]


def test_by_policy_nothing_is_registered_after_a_target_forgot(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets(1))
    node.go(3.0)
    node.policy = TargetReset.SELF_FENCE
    node.start()
    node.go(3.0)
    node.targets[0].reset(lose_registrations=True)
    node.go(60.0)
    assert node.targets[0].keys == []


def test_an_unreadable_marker_registers_no_node_and_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / MARKER_NAME).write_text("{")
    node = Node(tmp_path, *targets(1))
    seen = node.go(20.0)
    assert node.targets[0].keys == [B]
    assert set(node.registrations()) == {RegistrationState.UNKNOWN}
    assert len([one for one in seen if isinstance(one, RegistrationFailed)]) == 1


def test_a_marker_that_cannot_be_written_registers_no_node(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    node = Node(tmp_path / "file", *targets(1))
    seen = node.go(10.0)
    assert node.targets[0].keys == [B]
    (failed,) = (one for one in seen if isinstance(one, RegistrationFailed))
    assert failed.reason.startswith("state_dir: ")


def marked(tmp_path: Path, target: FakeTarget, generation: int) -> None:
    """Registered in this boot, with that generation."""
    write_marker(str(tmp_path), Marker(A, (LunMark(target.wwid, generation, registered=True),)))


def test_a_marker_of_this_boot_without_its_key_is_a_preemption_for_a_new_process(tmp_path: Path) -> None:
    (target,) = targets(1)
    marked(tmp_path, target, target.generation - 1)  # the PREEMPT moved it
    node = Node(tmp_path, target)
    node.go(10.0)
    assert set(node.registrations()) == {RegistrationState.PREEMPTED}
    assert target.keys == [B]


def test_a_path_that_did_not_answer_is_not_counted_as_registered(tmp_path: Path) -> None:
    target = registered("b")
    dead = f"fake:{target.wwid}:c"
    storage = StorageSettings(("/dev/sda",), None, A, state_dir=str(tmp_path))
    clock, seen = StillClock(), list[Report]()

    def open_nexus(node: str) -> Nexus:
        path = FaultyPath(target.nexus(node[-1]), Clock(), TransportError("gone"), lambda *_: node == dead)
        return Nexus(path, sleep=lambda _: None)

    watch = LunWatch(target.wwid, "lun", storage, TIMING, seen.append, Past(History.NEVER))
    paths = []
    for name in (f"fake:{target.wwid}:a", dead):
        path = PathWatch(
            KernelPath(name, "0:0:0:0", name, 1), watch, lambda _: Ok(), open_nexus, storage, TIMING, seen.append,
            clock, lambda _step, _at_s: None,
        )  # fmt: skip
        path.good = True
        paths.append(path)
    kept = LunAndPaths(watch, tuple(paths))
    registrar = Registrar(
        storage, A, TIMING, TargetReset.RE_REGISTER, lambda: (kept,), lambda _: True, open_nexus, seen.append, clock
    )
    registrar.turn()
    assert [path.registered for path in paths] == [True, False]


def dropped(node: Node) -> FakeTarget:
    """The target has forgotten this node's registration with its session, as LIO does in demo mode."""
    (target,) = node.targets
    for session in [each for each, key in target.registrations.items() if key == A]:
        del target.registrations[session]
    return target


def test_a_registration_that_the_target_dropped_is_restored(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets(1))
    node.go(5.0)
    target = dropped(node)
    generation = target.generation
    node.seen.clear()
    node.go(5.0)
    registrations = [one for one in node.registrations() if one is not RegistrationState.REGISTERED]
    assert set(registrations) == {RegistrationState.DROPPED}
    assert set(target.keys) == {A, B}
    assert node.registrations()[-1] is RegistrationState.REGISTERED
    assert [one.why for one in node.seen if isinstance(one, Registered)] == [
        "the target had dropped this node's registration, and no registration had changed since"
    ]
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker) and found.luns[0].generation > generation


def test_a_dropped_registration_is_restored_by_a_new_process_that_knows_the_generation(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets(1))
    node.go(5.0)
    (target,) = node.targets
    other = Nexus(target.nexus("c"), sleep=lambda _: None)
    other.register_and_ignore(C, False, deadline())  # a third node, since the marker was written
    node.go(5.0)
    seen = [one for one in node.seen if isinstance(one, LunSeen)][-1]
    dropped(node)
    node.start(generation=seen.generation)
    node.go(5.0)
    assert set(target.keys) == {A, B, C}


def test_a_new_process_that_does_not_know_the_generation_takes_a_dropped_key_for_taken(tmp_path: Path) -> None:
    node = Node(tmp_path, *targets(1))
    node.go(5.0)
    (target,) = node.targets
    Nexus(target.nexus("c"), sleep=lambda _: None).register_and_ignore(C, False, deadline())
    node.go(5.0)
    dropped(node)
    node.start()
    node.go(5.0)
    assert set(node.registrations()) == {RegistrationState.PREEMPTED}


def test_what_an_agent_took_for_fenced_is_never_restored(tmp_path: Path) -> None:
    """The key was dropped; another node found it absent, proved the isolation, and mounts."""
    node = Node(tmp_path, *targets(1))
    node.go(5.0)
    target = dropped(node)
    end = isolate(lun(target, "b"), contest(own=B, target=A), deadline())
    assert isinstance(end, LunIsolated) and end.already
    node.go(20.0)
    assert node.registrations()[-1] is RegistrationState.PREEMPTED
    assert target.keys == [B]


@pytest.mark.parametrize("step", range(1, 8))
def test_a_restoration_that_a_fence_overtakes_leaves_nothing(tmp_path: Path, step: int) -> None:
    """At any command of it another node proves this one isolated: then no key of it may stay."""
    node = Node(tmp_path, *targets(1))
    node.go(5.0)
    target = dropped(node)
    node.go(2.1, keep=False)  # it has read that
    serve, sent = target.execute, 0

    def between(initiator: str, cdb: bytes, data_out: bytes, length: int):  # type: ignore[no-untyped-def]
        nonlocal sent
        sent += initiator == "a"
        if initiator == "a" and sent == step:
            end = isolate(lun(target, "b"), contest(own=B, target=A), deadline())
            assert isinstance(end, LunIsolated)
        return serve(initiator, cdb, data_out, length)

    target.execute = between  # type: ignore[method-assign]
    node.registrar.turn()
    assert sent >= step
    target.execute = serve  # type: ignore[method-assign]
    node.go(10.0)
    assert target.keys == [B]
