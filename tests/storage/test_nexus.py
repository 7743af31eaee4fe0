# SPDX-License-Identifier: Apache-2.0
"""The nexus against a target that speaks the protocol: outcomes, retries, and what is never sent twice."""

from collections.abc import Callable

import pytest

from fencer.errors import (
    CommandFailed,
    MalformedAnswer,
    NotRegistered,
    StorageError,
    StorageRefused,
    TransportError,
)
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.storage.inquiry import DISK
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.pr import (
    REGISTRATIONS_PREEMPTED,
    RESERVATIONS_PREEMPTED,
    RESERVATIONS_RELEASED,
    InAction,
    OutAction,
    RegisteredKeys,
)
from fencer.storage.transport import ScsiReply, ScsiStatus, Sense
from tests.storage.fake_target import INVALID_FIELD_IN_CDB, RESET, FakeTarget

A, B, C = ReservationKey(0xAA), ReservationKey(0xBB), ReservationKey(0xCC)
WERO = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY


class Clock:
    """A clock that moves only when sleep is called."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1e-6)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deadline(clock: Clock) -> Deadline:
    return Deadline.after(5, clock)


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget()


@pytest.fixture
def a(target: FakeTarget, clock: Clock) -> Nexus:
    return Nexus(target.nexus("a"), sleep=clock.sleep)


@pytest.fixture
def b(target: FakeTarget, clock: Clock) -> Nexus:
    return Nexus(target.nexus("b"), sleep=clock.sleep)


@pytest.fixture
def both(target: FakeTarget, a: Nexus, b: Nexus, deadline: Deadline) -> tuple[Nexus, Nexus]:
    """Two registered nodes; the first holds a WRITE EXCLUSIVE, REGISTRANTS ONLY reservation."""
    assert a.register(None, A, False, deadline) is Outcome.DONE
    assert b.register(None, B, False, deadline) is Outcome.DONE
    assert a.reserve(A, WERO, deadline) is Outcome.DONE
    return a, b


class ScriptedTransport:
    """Answers with what it was told, in turn, and remembers what it was sent."""

    name = "scripted"

    def __init__(self, *replies: ScsiReply | TransportError) -> None:
        self.replies = list(replies)
        self.sent: list[bytes] = []
        self.timeouts_s: list[float] = []

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        self.sent.append(cdb)
        self.timeouts_s.append(timeout_s)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, TransportError):
            raise reply
        return ScsiReply(reply.status, reply.sense, reply.data[:data_in_length])

    def close(self) -> None:
        pass


def check(key: int, asc: int, ascq: int) -> ScsiReply:
    return ScsiReply(ScsiStatus.CHECK_CONDITION, Sense(key, asc, ascq), b"")


def good(data: bytes = b"") -> ScsiReply:
    return ScsiReply(ScsiStatus.GOOD, None, data)


# --- what is this -----------------------------------------------------------------------------------------------------


def test_a_lun_tells_its_name_and_type(a: Nexus, target: FakeTarget, deadline: Deadline) -> None:
    assert a.wwid(deadline) == target.wwid
    assert a.device_type(deadline) == DISK


def test_no_page_83_means_no_wwid(deadline: Deadline) -> None:
    assert Nexus(ScriptedTransport(check(5, 0x24, 0))).wwid(deadline) is None


OTHER = "naa.6001405000000000000000000000000b"


def _page(*names: str) -> ScsiReply:
    designators = b"".join(
        bytes((1, 2 if name.startswith("eui.") else 3, 0, len(name[4:]) // 2)) + bytes.fromhex(name[4:])
        for name in names
    )
    return good(bytes((0, 0x83)) + len(designators).to_bytes(2) + designators)


def test_another_lun_under_the_same_number_gets_no_command(target: FakeTarget, deadline: Deadline) -> None:
    """The kernel keeps the WWID that it read when it found the disk."""
    nexus = Nexus(target.nexus("a"), wwid=OTHER)
    with pytest.raises(StorageRefused, match=rf"it is another LUN now, {target.wwid}, and was {OTHER} when"):
        nexus.register_and_ignore(A, False, deadline)
    assert target.log == []


@pytest.mark.parametrize("attention", [(0x29, 0x01), (0x3F, 0x03), (0x3F, 0x05), (0x3F, 0x0E)])
def test_a_unit_attention_that_may_announce_another_lun_has_it_asked_again(
    target: FakeTarget, deadline: Deadline, attention: tuple[int, int]
) -> None:
    nexus = Nexus(target.nexus("a"), wwid=target.wwid)
    assert nexus.register_and_ignore(A, False, deadline) is Outcome.DONE
    target.inject("a", Sense(6, *attention))
    assert nexus.register(A, A, False, deadline) is Outcome.DONE
    target.inject("a", Sense(6, *attention))
    target.wwid = OTHER
    done = len(target.log)
    for _ in range(2):
        with pytest.raises(StorageRefused, match="it is another LUN now"):
            nexus.register(A, A, False, deadline)
    assert len(target.log) == done
    target.wwid = nexus._wwid
    assert nexus.register(A, A, False, deadline) is Outcome.DONE


@pytest.mark.parametrize(
    ("wwid", "page", "says"),
    [
        (OTHER, _page(OTHER), ""),
        (OTHER, _page("naa.5000000000000001", OTHER, "eui.0000000000000001"), ""),  # kernels before 5.11 choose so
        ("eui.0000000000000001", _page(OTHER, "eui.0000000000000001"), ""),
        (OTHER.upper(), _page(OTHER), ""),
        ("t10.X\\001", _page(OTHER), ""),  # cannot be compared: left to the kernel
        (OTHER, _page("naa.5000000000000001"), "it is another LUN now"),
        (OTHER, _page(), "no name"),
        (OTHER, check(5, 0x24, 0), "no name"),
    ],
)
def test_any_name_of_a_lun_is_it(wwid: str, page: ScsiReply, says: str, deadline: Deadline) -> None:
    """A target that is starting may give none for a moment: that is asked again."""
    nexus = Nexus(ScriptedTransport(page), wwid=wwid)
    if not says:
        nexus.require_wwid(deadline)
        return
    with pytest.raises(StorageError, match=says) as caught:
        nexus.require_wwid(deadline)
    assert isinstance(caught.value, StorageRefused) is (says != "no name")


def test_a_target_that_answers_each_question_by_a_unit_attention_is_asked_no_further(
    clock: Clock, deadline: Deadline
) -> None:
    with pytest.raises(StorageError):
        Nexus(ScriptedTransport(check(6, 0x3F, 0x0E)), wwid=OTHER, sleep=clock.sleep).read_keys(deadline)


def test_support_is_asked_for_one_service_action(a: Nexus, target: FakeTarget, deadline: Deadline) -> None:
    assert a.supports(OutAction.PREEMPT_AND_ABORT, deadline) is True
    target.preempt_and_abort = False
    assert a.supports(OutAction.PREEMPT_AND_ABORT, deadline) is False
    assert a.supports(InAction.READ_KEYS, deadline) is True
    target.opcodes = False
    assert a.supports(OutAction.PREEMPT_AND_ABORT, deadline) is None


def test_a_target_that_claims_even_a_reserved_service_action_tells_nothing(
    a: Nexus, target: FakeTarget, deadline: Deadline
) -> None:
    target.preempt_and_abort, target.opcodes_blind = False, True
    assert a.supports(OutAction.PREEMPT_AND_ABORT, deadline) is None


# --- reading ----------------------------------------------------------------------------------------------------------


def test_keys_and_reservation_are_read(both: tuple[Nexus, Nexus], deadline: Deadline) -> None:
    a, _ = both
    assert a.read_keys(deadline) == RegisteredKeys(2, (A, B))
    held = a.read_reservation(deadline)
    assert (held.generation, held.holder, held.type) == (2, A, WERO)


def test_no_reservation(a: Nexus, deadline: Deadline) -> None:
    assert a.read_reservation(deadline).type is None


@pytest.mark.parametrize("registrants", [254, 255, 256, 257, 3000])
def test_every_key_is_read_however_many(target: FakeTarget, a: Nexus, deadline: Deadline, registrants: int) -> None:
    for i in range(registrants):
        target.nexus(f"n{i}")
        target.registrations[target._session(f"n{i}")] = i + 1
    assert [key.value for key in a.read_keys(deadline).keys] == list(range(1, registrants + 1))


def test_a_target_that_sends_less_than_it_says_is_not_believed(deadline: Deadline) -> None:
    one_of_two = bytes(4) + (16).to_bytes(4) + (0xAA).to_bytes(8)
    with pytest.raises(MalformedAnswer, match=r"^scripted: READ KEYS: 16 of 24 bytes"):
        Nexus(ScriptedTransport(good(one_of_two))).read_keys(deadline)


def test_an_answer_that_always_grows_is_given_up(deadline: Deadline) -> None:
    class Growing(ScriptedTransport):
        def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
            self.sent.append(cdb)
            return good((bytes(4) + (data_in_length + 8).to_bytes(4)).ljust(data_in_length, b"\1"))

    with pytest.raises(MalformedAnswer):
        Nexus(Growing()).read_keys(deadline)


def test_capabilities_and_full_status_are_none_where_unknown(a: Nexus, target: FakeTarget, deadline: Deadline) -> None:
    assert a.report_capabilities(deadline) is not None
    assert a.read_full_status(deadline) is not None
    target.capabilities = target.full_status = False
    assert a.report_capabilities(deadline) is None
    assert a.read_full_status(deadline) is None


def test_full_status_names_the_nexuses(both: tuple[Nexus, Nexus], deadline: Deadline) -> None:
    status = both[0].read_full_status(deadline)
    assert status is not None
    assert [(r.key, r.holder, r.initiator and r.initiator.split(",")[0]) for r in status.registrations] == [
        (A, True, "a"),
        (B, False, "b"),
    ]


def test_a_target_without_persistent_reservations_is_named(deadline: Deadline) -> None:
    with pytest.raises(CommandFailed, match=r"^scripted: READ KEYS: invalid command operation code \(5/2000\)$"):
        Nexus(ScriptedTransport(check(5, 0x20, 0))).read_keys(deadline)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_preempted_node_writes_no_more(both: tuple[Nexus, Nexus], target: FakeTarget, deadline: Deadline) -> None:
    a, _ = both
    assert target.write("b") is ScsiStatus.GOOD
    assert a.preempt_and_abort(A, B, WERO, deadline) is Outcome.DONE
    assert a.read_keys(deadline).keys == (A,)
    assert target.write("b") is ScsiStatus.RESERVATION_CONFLICT
    assert target.write("a") is ScsiStatus.GOOD


def test_preempting_the_holder_takes_the_reservation_over(both: tuple[Nexus, Nexus], deadline: Deadline) -> None:
    _, b = both
    assert b.preempt(B, A, WERO, deadline) is Outcome.DONE
    assert b.read_reservation(deadline).holder == B


def test_the_loser_hears_of_it_before_its_own_preempt_is_executed(
    both: tuple[Nexus, Nexus], target: FakeTarget, deadline: Deadline
) -> None:
    a, b = both
    a.preempt_and_abort(A, B, WERO, deadline)
    assert b.preempt_and_abort(B, A, WERO, deadline) is Outcome.CHANGED
    assert b.unit_attentions == (REGISTRATIONS_PREEMPTED,)
    assert b.preempt_and_abort(B, A, WERO, deadline) is Outcome.CONFLICT
    assert target.keys == [A.value]


def test_the_caller_that_reads_first_sees_the_attention_too(both: tuple[Nexus, Nexus], deadline: Deadline) -> None:
    a, b = both
    a.preempt_and_abort(A, B, WERO, deadline)
    assert b.read_keys(deadline).keys == (A,)
    assert b.unit_attentions == (REGISTRATIONS_PREEMPTED,)
    b.forget_unit_attentions()
    assert not b.unit_attentions


@pytest.mark.parametrize(
    "act",
    [
        lambda n, d: n.register(B, C, False, d),
        lambda n, d: n.reserve(A, WERO, d),
        lambda n, d: n.release(A, WERO, d),
        lambda n, d: n.clear(A, d),
        lambda n, d: n.preempt(A, B, WERO, d),
        lambda n, d: n.preempt_and_abort(A, B, WERO, d),
    ],
)
def test_an_unregistered_nexus_gets_a_conflict(
    both: tuple[Nexus, Nexus], target: FakeTarget, deadline: Deadline, act: Callable[[Nexus, Deadline], Outcome]
) -> None:
    assert act(Nexus(target.nexus("c")), deadline) is Outcome.CONFLICT
    assert target.keys == [A.value, B.value]


def test_after_a_relogin_the_old_registration_is_listed_but_does_not_count(
    both: tuple[Nexus, Nexus], target: FakeTarget, deadline: Deadline
) -> None:
    a, _ = both
    target.relogin("a")
    assert A in a.read_keys(deadline).keys
    assert a.preempt(A, B, WERO, deadline) is Outcome.CONFLICT
    assert a.register(None, A, False, deadline) is Outcome.DONE
    assert a.preempt(A, B, WERO, deadline) is Outcome.DONE
    assert target.keys == [A.value, A.value]


def test_unsupported_is_an_outcome(both: tuple[Nexus, Nexus], target: FakeTarget, deadline: Deadline) -> None:
    a, _ = both
    target.preempt_and_abort = False
    assert a.preempt_and_abort(A, B, WERO, deadline) is Outcome.UNSUPPORTED
    target.aptpl = False
    assert a.register_and_ignore(A, True, deadline) is Outcome.UNSUPPORTED


def test_a_release_of_another_type_is_an_error(both: tuple[Nexus, Nexus], deadline: Deadline) -> None:
    with pytest.raises(CommandFailed, match="RELEASE: invalid release of persistent reservation"):
        both[0].release(A, ReservationType.EXCLUSIVE_ACCESS, deadline)


def test_release_and_clear(both: tuple[Nexus, Nexus], target: FakeTarget, deadline: Deadline) -> None:
    a, b = both
    assert a.release(A, WERO, deadline) is Outcome.DONE
    assert a.read_reservation(deadline).type is None
    assert b.read_keys(deadline).keys == (A, B)
    assert b.unit_attentions == (RESERVATIONS_RELEASED,)
    assert a.clear(A, deadline) is Outcome.DONE
    assert b.read_keys(deadline).keys == ()
    assert b.unit_attentions[-1] == RESERVATIONS_PREEMPTED


def test_unregistering(both: tuple[Nexus, Nexus], target: FakeTarget, deadline: Deadline) -> None:
    a, b = both
    assert b.register(B, None, False, deadline) is Outcome.DONE
    assert a.register_and_ignore(None, False, deadline) is Outcome.DONE
    assert target.keys == []
    assert target.reservation is None


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", [RESET, Sense(6, 0x2A, 0x01), RESERVATIONS_RELEASED, Sense(6, 0x3F, 0x0E)])
def test_a_harmless_unit_attention_is_recorded_and_the_command_sent_again(
    target: FakeTarget, a: Nexus, deadline: Deadline, attention: Sense
) -> None:
    target.inject("a", attention)
    assert a.register(None, A, False, deadline) is Outcome.DONE
    assert a.unit_attentions == (attention,)


@pytest.mark.parametrize("attention", [RESERVATIONS_PREEMPTED, REGISTRATIONS_PREEMPTED])
def test_an_out_command_is_not_repeated_once_registrations_were_preempted(
    target: FakeTarget, a: Nexus, deadline: Deadline, attention: Sense
) -> None:
    target.inject("a", RESET, attention)
    assert a.register(None, A, False, deadline) is Outcome.CHANGED
    assert target.log == []
    assert a.unit_attentions == (RESET, attention)


@pytest.mark.parametrize("status", [ScsiStatus.BUSY, ScsiStatus.TASK_SET_FULL])
def test_busy_is_waited_out(target: FakeTarget, a: Nexus, deadline: Deadline, status: ScsiStatus) -> None:
    target.busy, target.busy_status = 7, status
    assert a.register(None, A, False, deadline) is Outcome.DONE
    assert len(target.log) == 1


def test_busy_to_the_end_is_named(target: FakeTarget, a: Nexus, deadline: Deadline) -> None:
    target.busy = 10**9
    with pytest.raises(CommandFailed, match="REGISTER: busy until the deadline"):
        a.register(None, A, False, deadline)


def test_unit_attentions_without_end_meet_the_deadline(clock: Clock, deadline: Deadline) -> None:
    nexus = Nexus(ScriptedTransport(check(6, 0x29, 0)), sleep=clock.sleep)
    with pytest.raises(CommandFailed, match=r"READ KEYS: power on.* until the deadline"):
        nexus.read_keys(deadline)
    assert len(nexus.unit_attentions) <= 64


def test_an_alua_transition_is_waited_out(clock: Clock, deadline: Deadline) -> None:
    transport = ScriptedTransport(check(2, 0x04, 0x0A), check(2, 0x04, 0x0A), good())
    assert Nexus(transport, sleep=clock.sleep).clear(A, deadline) is Outcome.DONE


def test_an_aborted_read_is_repeated(target: FakeTarget, a: Nexus, deadline: Deadline) -> None:
    target.abort_next("a", 3)
    assert a.read_keys(deadline).keys == ()


def test_an_aborted_write_is_not(target: FakeTarget, a: Nexus, deadline: Deadline) -> None:
    target.abort_next("a")
    with pytest.raises(TransportError, match="whether it was executed is unknown"):
        a.register(None, A, False, deadline)
    assert target.log == []


def test_after_a_lost_answer_nothing_is_sent_again(target: FakeTarget, a: Nexus, deadline: Deadline) -> None:
    target.deaf.add("a")
    with pytest.raises(TransportError):
        a.register(None, A, False, deadline)
    assert len(target.log) == 1


def test_a_recovered_error_is_success(clock: Clock, deadline: Deadline) -> None:
    assert Nexus(ScriptedTransport(check(1, 0x17, 0))).clear(A, deadline) is Outcome.DONE


@pytest.mark.parametrize(
    "reply", [check(4, 0x44, 0), ScsiReply(ScsiStatus.CHECK_CONDITION, None, b""), check(2, 0x3A, 0)]
)
def test_any_other_answer_is_an_error(deadline: Deadline, reply: ScsiReply) -> None:
    with pytest.raises(CommandFailed, match=r"^scripted: CLEAR: "):
        Nexus(ScriptedTransport(reply)).clear(A, deadline)
    with pytest.raises(CommandFailed):
        Nexus(ScriptedTransport(reply)).report_capabilities(deadline)


def test_a_conflict_on_reading_is_an_error(deadline: Deadline) -> None:
    conflict = ScsiReply(ScsiStatus.RESERVATION_CONFLICT, None, b"")
    with pytest.raises(NotRegistered, match="READ KEYS: reservation conflict"):
        Nexus(ScriptedTransport(conflict)).read_keys(deadline)


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_command_gets_the_lesser_of_its_timeout_and_what_is_left(clock: Clock) -> None:
    transport = ScriptedTransport(good())
    nexus = Nexus(transport, command_timeout_s=2)
    nexus.clear(A, Deadline.after(30, clock))
    nexus.clear(A, Deadline.after(0.5, clock))
    assert transport.timeouts_s == [2, 0.5]


def test_after_the_deadline_nothing_is_sent(target: FakeTarget, a: Nexus, clock: Clock) -> None:
    passed = Deadline.after(0, clock)
    with pytest.raises(TransportError, match="not sent"):
        a.register(None, A, False, passed)
    assert target.log == []


def test_close_gives_the_transport_up(a: Nexus, deadline: Deadline) -> None:
    a.close()
    with pytest.raises(TransportError):
        a.read_keys(deadline)


def test_an_illegal_request_without_a_known_field_is_no_missing_feature(deadline: Deadline) -> None:
    with pytest.raises(CommandFailed, match="logical unit not supported"):
        Nexus(ScriptedTransport(check(5, 0x25, 0))).report_capabilities(deadline)
    assert Nexus(ScriptedTransport(check(*_codes(INVALID_FIELD_IN_CDB)))).report_capabilities(deadline) is None


def _codes(sense: Sense) -> tuple[int, int, int]:
    return sense.key, sense.asc, sense.ascq


# --- the fake's own knobs -----------------------------------------------------------------------------------------


def test_a_reset_is_seen_and_may_lose_everything(
    both: tuple[Nexus, Nexus], target: FakeTarget, deadline: Deadline
) -> None:
    a, b = both
    target.reset(lose_registrations=False)
    assert a.read_keys(deadline) == RegisteredKeys(2, (A, B))
    assert a.unit_attentions == (RESET,)
    target.reset(lose_registrations=True)
    assert b.read_keys(deadline) == RegisteredKeys(0, ())
    assert target.write("c") is ScsiStatus.GOOD


def test_a_target_like_lio_keeps_a_registration_through_a_relogin(
    both: tuple[Nexus, Nexus], target: FakeTarget, deadline: Deadline
) -> None:
    target.relogin_keeps_registration = True
    target.relogin("a")
    assert both[0].preempt(A, B, WERO, deadline) is Outcome.DONE


def test_exclusive_access_refuses_reads_too(a: Nexus, target: FakeTarget, deadline: Deadline) -> None:
    a.register(None, A, False, deadline)
    a.reserve(A, WERO, deadline)
    assert target.read("b") is ScsiStatus.GOOD
    a.release(A, WERO, deadline)
    a.reserve(A, ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY, deadline)
    assert target.read("b") is ScsiStatus.RESERVATION_CONFLICT
    assert target.read("a") is ScsiStatus.GOOD
