# SPDX-License-Identifier: Apache-2.0
"""What a guarded registration leaves behind when it is undone, or answered with an error although it was executed."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from fencer.errors import CommandFailed, StillUnderWay, TransportError
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.storage.guarded_registration import register_under_guard
from fencer.storage.look import guard_key
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.pr import InAction, OutAction
from fencer.storage.registration import Terms, register_path
from fencer.storage.transport import ScsiReply, ScsiStatus, ScsiTransport, Sense
from tests.storage.fake_target import FakeTarget, FakeTransport
from tests.storage.nodes import Clock

OWN, OTHER = ReservationKey(0xA1), ReservationKey(0xB1)
WERO = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY


class _Before:
    """A transport that lets something happen before some commands, and may spoil the answer afterwards."""

    def __init__(self, inner: FakeTransport, happens: Callable[[bytes], None], spoil: bool = False) -> None:
        self._inner, self._happens, self._spoil = inner, happens, spoil

    @property
    def name(self) -> str:
        return self._inner.name

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        self._happens(cdb)
        reply = self._inner.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=timeout_s)
        if self._spoil and cdb[:2] == bytes((0x5F, OutAction.REGISTER)) and reply.status is ScsiStatus.GOOD:
            return ScsiReply(ScsiStatus.CHECK_CONDITION, Sense(0x2, 0x08, 0x00), b"")
        return reply

    def close(self) -> None:
        self._inner.close()


def _registered(target: FakeTarget, initiator: str, key: ReservationKey) -> Nexus:
    nexus = Nexus(target.nexus(initiator))
    assert nexus.register(None, key, True, Deadline.after(5)) is Outcome.DONE
    return nexus


def test_undoing_leaves_everybodys_persistence_as_it_was() -> None:
    target = FakeTarget()
    _registered(target, "a-old", OWN)
    b = _registered(target, "b", OTHER)

    def somebody_is_quicker(cdb: bytes) -> None:
        if cdb[:2] == bytes((0x5F, OutAction.REGISTER)) and OTHER.value in target.keys:
            b.register(OTHER, None, True, Deadline.after(5))

    again = Nexus(_Before(target.nexus("a-new"), somebody_is_quicker))
    assert register_under_guard(again, OWN, True, Deadline.after(5)) is Outcome.CHANGED
    assert target.keys == [OWN.value]
    assert target.aptpl_active


@pytest.mark.parametrize("aptpl", [True, False])
def test_a_registration_answered_with_an_error_is_undone(aptpl: bool) -> None:
    target = FakeTarget()
    _registered(target, "a-old", OWN)
    again = Nexus(_Before(target.nexus("a-new"), lambda _: None, spoil=True))
    with pytest.raises(CommandFailed, match="logical unit communication failure"):
        register_under_guard(again, OWN, aptpl, Deadline.after(5))
    assert target.keys == [OWN.value]


@pytest.mark.parametrize("steps", [0, 1, 2, 33, (1 << 31) + 1])
@pytest.mark.parametrize("stays", [False, True])
def test_the_guard_key_becomes_ours_only_where_we_are_listed_still_and_nothing_else_has_happened(
    steps: int, stays: bool
) -> None:
    """A target may drop a registration with its session and not count it: one step, ours, and yet our key is gone."""
    target = FakeTarget()
    _registered(target, "a-old", OWN)
    reads = 0

    def meanwhile(cdb: bytes) -> None:
        nonlocal reads
        if cdb[:2] == bytes((0x5E, InAction.READ_KEYS)):
            reads += 1
            if reads == 2:
                target.generation += steps - 1  # of which one was ours
                if not stays:
                    target._unregister([target._session("a-old")], attention=None)

    again = Nexus(_Before(target.nexus("a-new"), meanwhile))
    outcome = register_under_guard(again, OWN, True, Deadline.after(5))
    assert (outcome is Outcome.DONE) is (stays and steps == 1)
    assert target.keys == [OWN.value] * (stays + (stays and steps == 1))


def _is_register(cdb: bytes) -> bool:
    return cdb[:2] == bytes((0x5F, OutAction.REGISTER))


def _held_by_the_other() -> tuple[FakeTarget, Nexus, Nexus]:
    """Both nodes registered, this one on the session that carries its data; the other holds the reservation."""
    target = FakeTarget()
    data, b = _registered(target, "a-data", OWN), _registered(target, "b", OTHER)
    assert b.reserve(OTHER, WERO, Deadline.after(5)) is Outcome.DONE
    return target, data, b


@pytest.mark.parametrize("abort", [True, False])
def test_a_fence_between_the_last_look_and_our_key_is_not_undone(abort: bool) -> None:
    """It took our key from the session that carries data. Our key here alone would let a node win that cannot write."""
    target, _, b = _held_by_the_other()
    registers = 0

    def fences(cdb: bytes) -> None:
        nonlocal registers
        registers += _is_register(cdb)
        if registers == 2 and OWN.value in target.keys:
            preempt = b.preempt_and_abort if abort else b.preempt
            assert preempt(OTHER, OWN, WERO, Deadline.after(5)) is Outcome.DONE

    again = Nexus(_Before(target.nexus("a-new"), fences))
    assert register_under_guard(again, OWN, True, Deadline.after(5)) is Outcome.CHANGED
    assert target.keys == [OTHER.value]


@pytest.mark.parametrize("end", ["unseen", "uncounted", "silent"])
def test_our_key_is_not_kept_where_it_is_not_shown_that_nothing_else_has_happened(end: str) -> None:
    """Another node registers after the last look; not even our step is counted; or the look after our key gets no
    answer."""
    target, clock = FakeTarget(), Clock()
    _registered(target, "a-data", OWN)
    registers = 0

    def meanwhile(cdb: bytes) -> None:
        nonlocal registers
        registers += _is_register(cdb)
        if registers == 2 and end == "unseen":
            target.generation += 1
        elif registers == 2 and not _is_register(cdb):
            target.generation -= end == "uncounted"
            if end == "silent":
                raise TransportError("no answer")

    again = Nexus(_Before(target.nexus("a-new"), meanwhile), sleep=clock.sleep)
    with suppress(TransportError):
        assert register_under_guard(again, OWN, True, Deadline.after(5, clock)) is Outcome.CHANGED
    assert target.keys == [OWN.value]
    assert target._session("a-new") not in target.registrations


def test_on_registers_what_a_killed_agent_left_unregistered() -> None:
    """Killed before the look after our key, when a fence had taken that key from the session that carries data."""
    target, data, b = _held_by_the_other()
    registers = 0

    def fences_and_kills(cdb: bytes) -> None:
        nonlocal registers
        registers += _is_register(cdb)
        if registers == 2 and _is_register(cdb):
            assert b.preempt(OTHER, OWN, WERO, Deadline.after(5)) is Outcome.DONE
        elif registers == 2:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        register_under_guard(Nexus(_Before(target.nexus("a-new"), fences_and_kills)), OWN, True, Deadline.after(5))
    assert target._session("a-data") not in target.registrations
    assert OWN.value in target.keys
    assert register_path(data, Terms(OWN, WERO, True), OWN, Deadline.after(5)) is None
    assert target.registrations[target._session("a-data")] == OWN.value


class _Slow:
    """Each command takes a second of the clock that it is given."""

    def __init__(self, inner: ScsiTransport, clock: Clock) -> None:
        self._inner, self._clock = inner, clock
        self.name = inner.name

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        reply = self._inner.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=timeout_s)
        self._clock.sleep(1.0)
        return reply

    def close(self) -> None:
        self._inner.close()


@pytest.mark.parametrize("seconds", [0.5, 1.5, 2.5, 3.5])
def test_a_guard_key_is_undone_also_when_the_deadline_has_passed(seconds: float) -> None:
    """Left there it would let its owner write."""
    target, clock = FakeTarget(), Clock()
    _registered(target, "a-old", OWN)
    again = Nexus(_Slow(target.nexus("a-new"), clock), sleep=clock.sleep)
    with suppress(TransportError):
        register_under_guard(again, OWN, True, Deadline.after(seconds, clock))
    assert guard_key(OWN) not in target.keys


def test_a_registration_that_is_executed_late_is_undone_all_the_same() -> None:
    """The path hangs with the REGISTER under way, and refuses the first attempts to undo it."""
    target, clock = FakeTarget(), Clock()
    _registered(target, "a-old", OWN)
    calls = 0

    def hangs_a_while(cdb: bytes) -> None:
        nonlocal calls
        if cdb[0] == 0x5F:
            calls += 1
            if 1 < calls < 12:
                raise StillUnderWay("an earlier command hangs")

    again = Nexus(_Before(target.nexus("a-new"), hangs_a_while, spoil=True), sleep=clock.sleep)
    with pytest.raises(CommandFailed):
        register_under_guard(again, OWN, True, Deadline.after(5, clock))
    assert target.keys == [OWN.value]


@pytest.mark.parametrize("spoil", [False, True])
def test_that_a_path_is_registered_under_guard_is_told_from_its_begin_to_its_end(spoil: bool) -> None:
    target = FakeTarget()
    _registered(target, "a-old", OWN)
    told: list[tuple[bool, bool]] = []
    again = Nexus(_Before(target.nexus("a-new"), lambda _: None, spoil=spoil))
    again.guarding = lambda begins: told.append((begins, guard_key(OWN) in target.keys))
    with suppress(CommandFailed):
        register_under_guard(again, OWN, True, Deadline.after(5))
    assert told == [(True, False), (False, False)]


def test_the_undoing_ends_even_when_no_path_answers() -> None:
    target, clock = FakeTarget(), Clock()
    _registered(target, "a-old", OWN)

    def falls_silent(cdb: bytes) -> None:
        if cdb[:2] == bytes((0x5F, OutAction.REGISTER)):
            target.busy = 10**9

    again = Nexus(_Before(target.nexus("a-new"), falls_silent), sleep=clock.sleep)
    with pytest.raises(CommandFailed):
        register_under_guard(again, OWN, True, Deadline.after(5, clock))
    assert 6.9 < clock.now < 7.5


WRAPS = (1 << 32) - 1


@pytest.mark.parametrize("generation", [0, 1000, (1 << 31) - 1, WRAPS])
def test_our_own_step_is_one_whatever_the_generation_is(generation: int) -> None:
    """PRGENERATION has 32 bits and begins again (SPC-4 6.15.2)."""
    target = FakeTarget()
    _registered(target, "a-old", OWN)
    target.generation = generation
    assert register_under_guard(Nexus(target.nexus("a-new")), OWN, True, Deadline.after(5)) is Outcome.DONE
    assert target.keys == [OWN.value] * 2


def test_a_target_without_aptpl_is_registered_without_it() -> None:
    target = FakeTarget(aptpl=False)
    _registered_without_aptpl(target, "a-old", OWN)
    assert register_under_guard(Nexus(target.nexus("a-new")), OWN, True, Deadline.after(5)) is Outcome.DONE
    assert target.keys == [OWN.value] * 2
    assert not target.aptpl_active


def _registered_without_aptpl(target: FakeTarget, initiator: str, key: ReservationKey) -> None:
    assert Nexus(target.nexus(initiator)).register(None, key, False, Deadline.after(5)) is Outcome.DONE


# --- a key that the target has dropped (fencer.storage.restoring) -----------------------------------------------------


@pytest.mark.parametrize("moved", [-1, 0, 1, WRAPS])
@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("generation", [0, 1000])
def test_a_dropped_key_is_restored_only_while_nothing_has_moved(generation: int, moved: int, listed: bool) -> None:
    """A fence moves the generation. A key that is listed was not dropped."""
    target = FakeTarget()
    _registered(target, "b", OTHER)
    if listed:
        _registered(target, "a-old", OWN)
    target.generation = (generation + moved) % (1 << 32)
    before = list(target.keys), target.generation
    end = register_under_guard(Nexus(target.nexus("a")), OWN, True, Deadline.after(5), absent_at=generation)
    if moved or listed:
        assert end is Outcome.CHANGED
        assert (target.keys, target.generation) == before, "not even the guard key was registered"
    else:
        assert end is Outcome.DONE
        assert target.keys == [OTHER.value, OWN.value]


@pytest.mark.parametrize("what", ["a step", "own is there"])
def test_a_dropped_key_is_not_restored_where_something_happens_meanwhile(what: str) -> None:
    """A target may also give back a registration with its session, and not count that."""
    target = FakeTarget()
    _registered(target, "b", OTHER)
    target.nexus("a-old")
    reads = 0

    def meanwhile(cdb: bytes) -> None:
        nonlocal reads
        if cdb[:2] == bytes((0x5E, InAction.READ_KEYS)):
            reads += 1
            if reads == 2 and what == "a step":
                target.generation += 1
            elif reads == 2:
                target.registrations[target._session("a-old")] = OWN.value

    again = Nexus(_Before(target.nexus("a"), meanwhile))
    end = register_under_guard(again, OWN, True, Deadline.after(5), absent_at=target.generation)
    assert end is Outcome.CHANGED
    assert target._session("a") not in target.registrations
