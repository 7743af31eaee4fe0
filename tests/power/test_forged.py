# SPDX-License-Identifier: Apache-2.0
"""Who can send packets in the BMC's name, but has no password, neither switches off nor stops a fence."""

import struct
from collections.abc import Callable

import pytest

from fencer.power.ipmi_session import PatientSession
from fencer.power.procedure import PowerAim
from tests.power.fake_bmc import BoundedClock, FakeBmc, FakeLine, Silent, Step
from tests.power.hostile import SETTINGS, Fenced, fence

DEADLINE_S = 20.0
RMCP = bytes.fromhex("0600ff07")
Forge = Callable[[bytes, bytes], list[bytes]]
"""What a forger sends ahead of the BMC's answer: of the request and that answer."""


def forged(
    forge: Forge, *, suites: tuple[int, ...] = (3, 17), powered: bool = True, aim: PowerAim = PowerAim.OFF
) -> Fenced:
    bmc = FakeBmc(BoundedClock(DEADLINE_S), suites=suites, powered=powered)
    taken = bmc.take
    bmc.take = lambda packet: [each for answer in taken(packet) for each in (*forge(packet, answer), answer)]  # type: ignore[method-assign]
    ended = fence(bmc, aim)
    assert not ended.false_off
    return ended


def setup(kind: int, payload: bytes) -> bytes:
    return RMCP + bytes((6, kind)) + bytes(8) + struct.pack("<H", len(payload)) + payload


@pytest.mark.parametrize("suites", [(3,), (17,), (3, 17)])
@pytest.mark.parametrize("kind", [0x10, 0x12, 0x14])
def test_a_forged_refusal_of_each_answer_of_a_login(kind: int, suites: tuple[int, ...]) -> None:
    """Each time, and ahead of the BMC's own answer, which is the better one."""
    for status in range(1, 256):
        if status in (0x09, 0x0A, 0x0D, 0x01, 0x0B):
            continue  # has the login begin anew, see below

        def forge(request: bytes, _answer: bytes, status: int = status) -> list[bytes]:
            refusal = bytes((request[16], status, 0, 0)) + request[20:24]
            return [setup(kind + 1, refusal)] if request[5] == kind else []

        ended = forged(forge, suites=suites)
        assert ended.outcome == "done", f"{status:#04x}: {ended}"
        assert ended.took_s <= 1.0
        assert ended.attempts == 1


@pytest.mark.parametrize("status", [0x01, 0x09, 0x0A, 0x0B, 0x0D])
@pytest.mark.parametrize("kind", [0x10, 0x12, 0x14])
def test_a_forged_refusal_that_has_the_login_begin_anew(kind: int, status: int) -> None:
    def forge(request: bytes, _answer: bytes) -> list[bytes]:
        return [setup(kind + 1, bytes((request[16], status, 0, 0)) + bytes(4))] if request[5] == kind else []

    ended = forged(forge)
    assert ended.outcome == "done"
    assert ended.took_s <= 3.0


def test_a_forged_rakp_2_with_a_wrong_signature() -> None:
    ended = forged(lambda _, answer: [answer[:-1] + bytes((answer[-1] ^ 1,))] if answer[5] == 0x13 else [])
    assert (ended.outcome, ended.attempts) == ("done", 1)


def test_a_forged_rakp_4_with_a_wrong_signature() -> None:
    ended = forged(lambda _, answer: [answer[:-1] + bytes((answer[-1] ^ 1,))] if answer[5] == 0x15 else [])
    assert (ended.outcome, ended.attempts) == ("done", 1)


@pytest.mark.parametrize("sequence", [0, 1, 0xFFFFFFFE, 0xFFFFFFFF])
@pytest.mark.parametrize("type_", [0, 1, 2, 4, 5, 7, 0xFF])
def test_packets_of_ipmi_1_5_in_the_session(type_: int, sequence: int) -> None:
    packet = RMCP + bytes((type_,)) + struct.pack("<II", sequence, 0) + bytes(40)
    ended = forged(lambda *_: [packet])
    assert ended.outcome == "done"
    assert ended.took_s <= 0.2


def test_unauthenticated_packets_in_the_session() -> None:
    """Payloads without integrity, with the session's own number and one far ahead."""

    def forge(_request: bytes, answer: bytes) -> list[bytes]:
        if answer[5] != 0xC0:
            return []
        ahead = struct.pack("<I", 0xFFFFFFF0)
        return [answer[:5] + bytes((kind,)) + answer[6:10] + ahead + answer[14:] for kind in (0x00, 0x40, 0x80, 0xC0)]

    ended = forged(forge)
    assert ended.outcome == "done"
    assert ended.took_s <= 0.2


def test_forged_answers_from_outside_of_the_session() -> None:
    """For all request numbers, three times: the session is not given up for it."""

    def forge(request: bytes, _answer: bytes) -> list[bytes]:
        if request[4] == 0:
            return []
        body = [bytes((0x81, number << 2, 0x38)) for number in range(64) for _ in range(3)]
        return [
            RMCP + bytes(9) + b"\x10\x81\x1c\x63\x20" + each[1:] + bytes((0, 1, 0x80, 4, 2, 0, 0, 0, 0, 0))
            for each in body
        ]

    ended = forged(forge)
    assert ended.outcome == "done"
    assert ended.attempts == 1


def test_a_flood_of_noise_does_not_stop_the_timers() -> None:
    """The first packet of each step is lost, and there is always noise to read."""

    class NoisyLine(FakeLine):
        def receive(self, timeout_s: float) -> list[tuple[int, bytes]]:
            return [(0, b"x" * 64)] * 32 + super().receive(min(timeout_s, 0.001))

    bmc = FakeBmc(BoundedClock(DEADLINE_S))
    bmc.line = lambda _settings: NoisyLine(bmc)  # type: ignore[method-assign]
    lost: set[Step] = set()

    def lose(step: Step) -> Silent | None:
        first = step not in lost
        lost.add(step)
        return Silent.BEFORE if first and step is not Step.CONTROL else None

    bmc.misbehave = lose
    ended = fence(bmc)
    assert ended.outcome == "done"
    assert ended.took_s <= 4.0


def answers_of(powered: bool) -> list[bytes]:
    """All that a BMC said in a fence."""
    bmc = FakeBmc(BoundedClock(DEADLINE_S), powered=powered)
    said: list[bytes] = []

    def keep(packet: bytes) -> list[bytes]:
        said.append(packet)
        return [packet]

    bmc.on_packet = keep
    assert fence(bmc).outcome == "done"
    return said


class Stubborn(FakeBmc):
    """Takes each command and stays on."""

    def take(self, packet: bytes) -> list[bytes]:
        answers = super().take(packet)
        self.powered, self.off_at_s = True, []
        return answers


def test_replayed_answers_never_show_off() -> None:
    """Of former sessions, in which the chassis was off, and of this one."""
    said = answers_of(powered=False) + answers_of(powered=True)
    bmc = Stubborn(BoundedClock(8.0))

    def replay(packet: bytes) -> list[bytes]:
        said.append(packet)
        return [*said, packet, packet]

    bmc.on_packet = replay
    ended = fence(bmc)
    assert ended.outcome == "late"
    assert not ended.false_off
    assert bmc.commands


def test_a_copy_of_the_newest_packet_answers_no_later_question() -> None:
    """Request numbers come again after 64 requests; pyghmi alone takes a packet with the newest number twice."""
    bmc = FakeBmc(BoundedClock(DEADLINE_S))
    said: list[bytes] = []
    bmc.on_packet = lambda packet: [said.append(packet) or packet]  # type: ignore[func-returns-value]
    session = PatientSession(SETTINGS, bmc.line(SETTINGS), bmc.clock, bmc.clock.sleep)
    session.await_login()
    assert session.transact(0, 1, b"", None)[0] == 0
    session.request_entry.append((1, (session.seqlun - 1) & 0x3F, 1))  # as if this number were asked for again
    session._take(0, bytearray(said[-1]))
    assert session._answers == []
    assert session.request_entry


def test_no_flipped_bit_shows_off() -> None:
    """Each bit of each answer in the session, in turn."""
    bmc = Stubborn(BoundedClock(1e9))
    flipped = 0

    def flip(packet: bytes) -> list[bytes]:
        nonlocal flipped
        if packet[5] != 0xC0:
            return [packet]
        bit = flipped % (8 * len(packet))
        flipped += 1
        spoiled = bytearray(packet)
        spoiled[bit // 8] ^= 1 << bit % 8
        return [bytes(spoiled), packet]

    bmc.on_packet = flip
    for _ in range(60):
        bmc.clock.deadline_s = bmc.clock() + 10.0  # type: ignore[attr-defined]
        ended = fence(bmc)
        assert not ended.false_off
    assert flipped > 8 * 100


def test_of_two_refusals_that_differ_none_is_believed() -> None:
    """A forger would have to keep on, and to be ahead each time."""
    bmc = FakeBmc(BoundedClock(DEADLINE_S))
    logins = 0

    def differ(step: Step) -> int | None:
        nonlocal logins
        if step is not Step.RAKP_3 or logins >= 6:
            return None
        logins += 1
        return 0x0F if logins % 2 else 0x0C

    bmc.misbehave = differ
    ended = fence(bmc)
    assert ended.outcome == "done"
