# SPDX-License-Identifier: Apache-2.0
"""A hostile BMC as a table: each completion code, status code and silence, a stale "off" and a lost session, at each
step of a fence; how the fence ends, after which time, with which commands. Generated and exhaustive, on a fake clock.

What must hold in each row: off is never reported of a chassis that was never off; what passes costs no more than some
seconds beyond its end; only what names authentication or privilege, and stays, is final.
"""

from collections.abc import Callable

import pytest

from fencer.model import Secret
from fencer.power import ipmi_codes as codes
from fencer.power.procedure import PowerAim
from tests.power.fake_bmc import IPMI_STEPS, SETUP_STEPS, Answer, BoundedClock, FakeBmc, Silent, Step
from tests.power.hostile import ON, SETTINGS, Fenced, during, fence

OFF_COMMAND, ON_COMMAND = 0, 1
PASSES = {"once": 0.0, "3 s": 3.0, "18 s": 18.0}
DEADLINE_S = 30.0
STAYS_DEADLINE_S = 12.0
"""For what stays for ever. Longer than it takes until a refused privilege is believed."""

FAR_END = {"once": 4.0, "3 s": 4.5, "18 s": 4.5}
"""How long after its end a fence may take, in seconds: of that 1 s is to confirm an off, where one is found."""

FINAL_SETUP = frozenset(codes.RAKP_FINAL)
STALE_SETUP = frozenset(codes.RAKP_STALE_SESSION_ID)


def row(
    step: Step, answer: Answer, spell: Callable[[BoundedClock], Callable[[], bool]], deadline_s: float, powered: bool
) -> tuple[FakeBmc, Fenced]:
    """One row of the table: the answer, at the step, as long as the spell lasts."""
    clock = BoundedClock(deadline_s)
    bmc = FakeBmc(clock, powered=powered)
    lasts = spell(clock)
    bmc.misbehave = lambda asked: answer if asked is step and lasts() else None
    ended = fence(bmc)
    assert not ended.false_off, f"{step}, {answer}: false off"
    return bmc, ended


def found(step: Step) -> bool:
    """Whether the chassis is found on: else nobody asks for a device id."""
    return step is not Step.DEVICE_ID


def spells(seconds: float) -> Callable[[BoundedClock], Callable[[], bool]]:
    return lambda clock: during(clock, seconds)


def for_ever(_clock: BoundedClock) -> Callable[[], bool]:
    return lambda: True


@pytest.mark.parametrize("spell", ["once", "3 s"])
@pytest.mark.parametrize("step", IPMI_STEPS)
def test_a_completion_code_that_passes(step: Step, spell: str) -> None:
    for code in range(1, 256):
        bmc, ended = row(step, code, spells(PASSES[spell]), DEADLINE_S, found(step))
        assert ended.outcome == "done", f"{code:#04x}: {ended}"
        assert not bmc.powered
        assert ended.took_s <= PASSES[spell] + FAR_END[spell], f"{code:#04x}: {ended}"
        assert set(bmc.commands) == {OFF_COMMAND}
        assert len(bmc.commands) <= ended.attempts + 1


@pytest.mark.parametrize("step", IPMI_STEPS)
def test_a_completion_code_that_stays(step: Step) -> None:
    for code in range(1, 256):
        bmc, ended = row(step, code, for_ever, STAYS_DEADLINE_S, found(step))
        if step is Step.CAPABILITIES:
            expected = "done"  # a session is opened all the same
        elif (step is Step.PRIVILEGE and code in codes.PRIVILEGE) or code == codes.INSUFFICIENT_PRIVILEGE:
            expected = "final"
        else:
            expected = "late"
        assert ended.outcome == expected, f"{code:#04x}: {ended}"
        if expected == "final":
            assert 8.0 <= ended.took_s <= 9.5
            assert len(ended.reasons) == 1
        if expected == "late":
            assert ended.attempts >= 4
            assert f"{code:#04x}" in ended.reasons[-1]
        if step in (Step.PRIVILEGE, Step.STATUS, Step.CONTROL):
            assert bmc.powered
            assert bmc.commands == []


@pytest.mark.parametrize("spell", ["once", "3 s"])
@pytest.mark.parametrize("step", SETUP_STEPS)
def test_a_refused_login_that_passes(step: Step, spell: str) -> None:
    """Once is forgiven whatever it says; for 3 s what does not name authentication or privilege."""
    for status in range(1, 256):
        bmc, ended = row(step, status, spells(PASSES[spell]), DEADLINE_S, powered=True)
        if spell == "once" or status not in FINAL_SETUP:
            assert ended.outcome == "done", f"{status:#04x}: {ended}"
            assert not bmc.powered
            assert ended.took_s <= PASSES[spell] + FAR_END[spell], f"{status:#04x}: {ended}"
            assert bmc.commands == [OFF_COMMAND]
        else:
            assert ended.outcome == "final"


@pytest.mark.parametrize("step", SETUP_STEPS)
def test_a_refused_login_that_stays(step: Step) -> None:
    for status in range(1, 256):
        bmc, ended = row(step, status, for_ever, STAYS_DEADLINE_S, powered=True)
        assert ended.outcome == ("final" if status in FINAL_SETUP else "late"), f"{status:#04x}: {ended}"
        assert bmc.powered
        assert bmc.commands == []
        if ended.outcome == "final":
            assert ended.took_s <= 2.0
            assert len(bmc.asked) <= 18


@pytest.mark.parametrize("silent", Silent)
@pytest.mark.parametrize("spell", PASSES)
@pytest.mark.parametrize("step", (*SETUP_STEPS, *IPMI_STEPS))
def test_silence_that_passes(step: Step, spell: str, silent: Silent) -> None:
    """One step only goes unanswered: the BMC works, and its session with it."""
    bmc, ended = row(step, silent, spells(PASSES[spell]), DEADLINE_S, found(step))
    assert ended.outcome == "done", ended
    assert not bmc.powered
    assert ended.took_s <= PASSES[spell] + FAR_END[spell]


@pytest.mark.parametrize("step", (*SETUP_STEPS, *IPMI_STEPS))
@pytest.mark.parametrize("silent", Silent)
def test_silence_that_stays(step: Step, silent: Silent) -> None:
    bmc, ended = row(step, silent, for_ever, DEADLINE_S, found(step))
    assert ended.outcome == "late"
    if silent is Silent.BEFORE and step is not Step.DEVICE_ID:
        assert bmc.powered == (step is not Step.STATUS_AFTER)
    assert len(bmc.asked) <= 220  # nobody storms a BMC: seven packets a second


@pytest.mark.parametrize("powered", [True, False])
@pytest.mark.parametrize("spell", PASSES)
@pytest.mark.parametrize("keeps_session", [True, False])
@pytest.mark.parametrize("step", Step)
def test_off_the_network_from_a_step_on(step: Step, keeps_session: bool, spell: str, powered: bool) -> None:
    """As behind a shared port, when the host's power changes: nothing arrives for a while, either way."""
    seconds = max(PASSES[spell], 0.5)
    clock = BoundedClock(DEADLINE_S)
    bmc = FakeBmc(clock, powered=powered)
    began: list[float] = []

    def gone(asked: Step) -> Answer:
        if asked is not step or began:
            return None
        began.append(clock())
        if not keeps_session:
            bmc.forget_sessions()
        return Silent.AFTER if asked is Step.CONTROL else Silent.BEFORE

    bmc.misbehave = gone
    bmc.is_away = lambda: bool(began) and clock() - began[0] < seconds
    ended = fence(bmc)
    assert not ended.false_off
    assert ended.outcome == "done", ended
    assert not bmc.powered
    assert ended.took_s <= seconds + 4.5
    if keeps_session and step in (Step.STATUS, Step.CONTROL, Step.STATUS_AFTER):
        assert ended.attempts == 1, "the session was spoiled by too many packets"


@pytest.mark.parametrize("step", Step)
def test_a_session_that_is_lost(step: Step) -> None:
    """Without a word, when the BMC is asked for that step for the first time."""
    clock = BoundedClock(DEADLINE_S)
    bmc = FakeBmc(clock, powered=found(step))
    lost: list[Step] = []

    def lose(asked: Step) -> Answer:
        if asked is step and not lost:
            lost.append(asked)
            bmc.forget_sessions()
        return None

    bmc.misbehave = lose
    ended = fence(bmc)
    assert not ended.false_off
    assert ended.outcome == "done"
    assert not bmc.powered
    assert ended.took_s <= 6.0
    assert ended.attempts <= 2


@pytest.mark.parametrize("aim", [PowerAim.OFF, PowerAim.REBOOT])
@pytest.mark.parametrize("starting", [True, False])
@pytest.mark.parametrize("seconds", [0.005, 0.02, 0.5, 0.99])
def test_a_stale_off_is_no_proof(seconds: float, starting: bool, aim: PowerAim) -> None:
    """A BMC that starts says off before it knows, and loses what it is told that early."""
    clock = BoundedClock(DEADLINE_S)
    bmc = FakeBmc(clock)
    bmc.says_off = lambda: clock() < seconds
    bmc.starting = lambda: starting and clock() < seconds
    bmc.misbehave = lambda asked: Silent.BEFORE if asked is Step.CONTROL and clock() < seconds else None
    ended = fence(bmc, aim)
    assert not ended.false_off
    assert ended.outcome == "done"
    assert OFF_COMMAND in bmc.commands
    assert bmc.powered == (aim is PowerAim.REBOOT)


@pytest.mark.parametrize("seconds", [3.0, 10.0])
def test_a_stale_off_of_a_bmc_that_says_that_it_starts(seconds: float) -> None:
    clock = BoundedClock(DEADLINE_S)
    bmc = FakeBmc(clock)
    bmc.says_off = bmc.starting = lambda: clock() < seconds
    taken = bmc.take

    def loses_commands(packet: bytes) -> list[bytes]:
        answers = taken(packet)
        if clock() < seconds:
            bmc.powered, bmc.off_at_s = True, []
        return answers

    bmc.take = loses_commands  # type: ignore[method-assign]
    ended = fence(bmc)
    assert not ended.false_off
    assert ended.outcome == "done"
    assert ON in ended.seen
    assert not bmc.powered


def test_a_fence_of_a_node_that_is_on_needs_no_more_packets_than_before() -> None:
    bmc = FakeBmc(BoundedClock(DEADLINE_S), suites=(3,))
    ended = fence(bmc, PowerAim.REBOOT)
    assert ended.outcome == "done"
    assert len(bmc.asked) == 12
    assert bmc.commands == [OFF_COMMAND, ON_COMMAND]
    assert ended.took_s < 0.05


@pytest.mark.parametrize(
    "capabilities", [(0, 1, 0x96, 4, 0, 0, 0, 0, 0), (0, 1, 0x04, 4, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, 0, 0, 0)]
)
def test_a_bmc_that_says_1_5_only_is_tried_all_the_same(capabilities: tuple[int, ...]) -> None:
    bmc = FakeBmc(BoundedClock(DEADLINE_S))
    bmc.capabilities = bytes(capabilities)
    ended = fence(bmc)
    assert ended.outcome == "done"
    assert ended.took_s < 0.05


@pytest.mark.parametrize("answer", [0x11, 0x12, Silent.BEFORE])
def test_a_bmc_that_speaks_1_5_only_is_named(answer: Answer) -> None:
    """From what it does with Open Session: a forged packet may have said so as well."""
    bmc = FakeBmc(BoundedClock(STAYS_DEADLINE_S))
    bmc.capabilities = bytes((0, 1, 0x04, 4, 0, 0, 0, 0, 0))
    bmc.misbehave = lambda step: answer if step is Step.OPEN_SESSION else None
    ended = fence(bmc)
    assert ended.outcome == ("final" if answer == 0x11 else "late")
    assert "speaks IPMI 1.5 only" in ended.reasons[-1]


@pytest.mark.parametrize("suites", [(3,), (17,)])
def test_a_wrong_password_leaves_no_session_slot_taken(suites: tuple[int, ...]) -> None:
    """Without a word from us, a BMC keeps the slot of a login that it waits for (IPMI 2.0 §13.22)."""
    bmc = FakeBmc(BoundedClock(20.0), suites=suites)
    ended = fence(bmc, settings=SETTINGS._replace(password=Secret(b"wrong")))
    assert (ended.outcome, ended.reasons[0].rpartition(": ")[2]) == ("final", "wrong password for user ADMIN")
    assert ended.took_s < 2.0
    assert [step for _, step in bmc.asked].count(Step.RAKP_1) == 2
    assert bmc.slots_taken == 0
