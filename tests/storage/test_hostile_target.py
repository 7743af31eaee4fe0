# SPDX-License-Identifier: Apache-2.0
"""A hostile target, as a table: what a path answers, which path, at which command of a fence, once or for ever.

Each cell is a whole fence (the race, then the isolation) of a LUN with three paths, on a clock that only waiting moves.
Whatever is answered, a success is true at the target, the deadline holds and an unanswered PERSISTENT RESERVE OUT is
followed by a look. Where only one path is bad, the fence succeeds within seconds.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fencer.errors import StorageError, StorageRefused, TransportError
from fencer.observations import ArbitrationResult, LunIsolated
from fencer.storage.arbitration import arbitrate
from fencer.storage.guarded_registration import UNDO_S
from fencer.storage.isolation import isolate
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.pr import InAction, OutAction
from fencer.storage.transport import ScsiReply, ScsiStatus, Sense
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import Fault, FaultyPath
from tests.storage.nodes import A, B, Clock, contest, deadline, registered, unbound

DEADLINE_S = 8.0
ONE_BAD_PATH_S = 4.0
ONE_BAD_PATH_COMMANDS = 300  # half of them ask for the name of the LUN, where a path answers all by unit attentions
MOST_COMMANDS = 2500
PATHS = ("a1", "a2", "a3")


def check(key: int, asc: int, ascq: int) -> ScsiReply:
    return ScsiReply(ScsiStatus.CHECK_CONDITION, Sense(key, asc, ascq), b"")


FAULTS: dict[str, Fault] = {
    **{
        status.name: ScsiReply(status, None, b"")
        for status in ScsiStatus
        if status is not ScsiStatus.GOOD  # GOOD without the data is below, as garbage
    },
    "no sense data": ScsiReply(ScsiStatus.CHECK_CONDITION, None, b""),
    **{
        f"sense {key:X}/{asc:02X}{ascq:02X}": check(key, asc, ascq)
        for key, asc, ascq in [
            (0x0, 0x00, 0x00),
            (0x1, 0x17, 0x00),  # recovered error: GOOD, as far as anybody can tell
            (0x2, 0x04, 0x00),
            (0x2, 0x04, 0x01),  # becoming ready
            (0x2, 0x04, 0x03),
            (0x2, 0x04, 0x0A),  # ALUA transition
            (0x2, 0x04, 0x0B),  # ALUA standby
            (0x2, 0x04, 0x0C),  # ALUA unavailable
            (0x2, 0x08, 0x00),  # LIO without /etc/target/pr
            (0x2, 0x3A, 0x00),
            (0x3, 0x11, 0x00),
            (0x4, 0x44, 0x00),
            (0x5, 0x1A, 0x00),
            (0x5, 0x20, 0x00),
            (0x5, 0x24, 0x00),
            (0x5, 0x25, 0x00),
            (0x5, 0x26, 0x00),
            (0x5, 0x26, 0x04),
            (0x5, 0x55, 0x04),
            (0x6, 0x29, 0x00),
            (0x6, 0x2A, 0x03),
            (0x6, 0x2A, 0x04),
            (0x6, 0x2A, 0x05),
            (0x6, 0x3F, 0x0E),
            (0x7, 0x27, 0x00),
            (0xB, 0x00, 0x00),
            (0xB, 0x4B, 0x00),
            (0xD, 0x00, 0x00),
            (0xE, 0x1D, 0x00),
        ]
    },
    "GOOD without data": ScsiReply(ScsiStatus.GOOD, None, b""),
    "GOOD with garbage": ScsiReply(ScsiStatus.GOOD, None, bytes(range(64))),
    "transport error": TransportError("no SCSI status: DID_NO_CONNECT"),
    "open fails": StorageError("open: No such device or address"),
    "not permitted": StorageRefused("SG_IO: Operation not permitted"),
    "hangs": None,
}

READS = {str(action): (0x5E, action) for action in InAction if action is not InAction.REPORT_CAPABILITIES}
WRITES = {
    str(action): (0x5F, action)
    for action in (OutAction.REGISTER, OutAction.RESERVE, OutAction.PREEMPT, OutAction.PREEMPT_AND_ABORT)
}
COMMANDS: dict[str, tuple[int, int] | None] = {"any": None, "INQUIRY page 83h": (0x12, 1), **READS, **WRITES}

SCENARIOS = {
    "registered": ("any", "INQUIRY page 83h", *READS, "PREEMPT AND ABORT"),
    "no reservation": ("any", "RESERVE"),
    "plain PREEMPT": ("any", "PREEMPT"),
    "another LUN": ("any", "INQUIRY page 83h", *READS, "PREEMPT AND ABORT"),
    "stale nexuses": ("any", *READS, "REGISTER", "PREEMPT AND ABORT"),
}
"""Which commands are struck: those that the scenario is about."""


@dataclass(frozen=True)
class Cell:
    """executed: the target does what it is told, and only the answer is spoilt."""

    fault: str
    command: str
    bad: tuple[int, ...]
    once: bool
    executed: bool
    scenario: str


def cells(fault: str, scenario: str) -> Iterator[Cell]:
    """executed makes a difference only to what changes something."""
    places = ((0,), (1,), (2,), (0, 1, 2))
    for command, bad, once in itertools.product(SCENARIOS[scenario], places, (True, False)):
        yield Cell(fault, command, bad, once, False, scenario)
        if command in WRITES:
            yield Cell(fault, command, bad, once, True, scenario)


@dataclass
class Fence:
    """What became of one cell."""

    won: bool
    isolated: bool
    took_s: float
    sent: list[tuple[float, int, int, bool]]  # when, opcode, service action, whether it was answered by the target


def play(cell: Cell) -> tuple[FakeTarget, Fence]:
    clock, target = Clock(), FakeTarget(preempt_and_abort=cell.scenario != "plain PREEMPT")
    registered(*PATHS, "b", holder=None if cell.scenario == "no reservation" else "b", target=target)
    if cell.scenario == "stale nexuses":
        for name in PATHS:
            target.relogin(name)
    wanted, struck, log = COMMANDS[cell.command], 0, []

    answered = _is_answer(FAULTS[cell.fault])

    def strikes(_path: FaultyPath, cdb: bytes) -> bool:
        nonlocal struck
        assert len(log) < MOST_COMMANDS, "a flood of commands"
        hit = (wanted is None or wanted == (cdb[0], cdb[1])) and not (cell.once and struck)
        struck += hit
        log.append((clock.now, cdb[0], cdb[1], answered or not hit))
        return hit

    def well(_path: FaultyPath, cdb: bytes) -> bool:
        assert len(log) < MOST_COMMANDS, "a flood of commands"
        log.append((clock.now, cdb[0], cdb[1], True))
        return False

    paths = [
        FaultyPath(target.nexus(name), clock, FAULTS[cell.fault], strikes if n in cell.bad else well, cell.executed)
        for n, name in enumerate(PATHS)
    ]
    nexuses = [Nexus(path, sleep=clock.sleep, wwid=target.wwid) for path in paths]
    lun = LogicalUnit(target.wwid, "lun", nexuses, bound=unbound)
    until = deadline(clock, DEADLINE_S)
    if cell.scenario == "another LUN":  # the race was won elsewhere
        isolated = isinstance(isolate(lun, contest(), until, unopposed=True), LunIsolated)
        return target, Fence(True, isolated, clock.now, log)
    end = arbitrate(lun, contest(), until, clock.sleep)
    won = end.result is ArbitrationResult.WON
    if won:
        assert target.keys.count(B) == 0, "power would be let go"
        assert A in target.keys
    isolated = won and isinstance(isolate(lun, contest(), until, end.removal), LunIsolated)
    return target, Fence(won, isolated, clock.now, log)


def _is_answer(fault: Fault) -> bool:
    """Whether it tells what became of the command: aborted commands may have been executed."""
    if not isinstance(fault, ScsiReply):
        return False
    return fault.status is not ScsiStatus.TASK_ABORTED and (fault.sense is None or fault.sense.key != 0xB)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("fault", FAULTS)
def test_any_answer_on_any_path_at_any_command(fault: str, scenario: str) -> None:
    wrong: list[str] = []
    for cell in cells(fault, scenario):
        try:
            judge(cell, *play(cell))
        except AssertionError as error:
            wrong.append(f"{cell}: {str(error).splitlines()[0]}")
    assert not wrong, "\n".join(wrong)


def judge(cell: Cell, target: FakeTarget, fence: Fence) -> None:
    if fence.isolated:
        assert B not in target.keys
        assert target.write("b") is ScsiStatus.RESERVATION_CONFLICT, "isolated, and writes"
    assert fence.took_s <= DEADLINE_S + 0.5 + (UNDO_S if cell.scenario == "stale nexuses" else 0), (
        f"took {fence.took_s:.1f} s"
    )
    looked = True
    for _, opcode, action, answered in fence.sent:
        if opcode == 0x5F and action in (OutAction.PREEMPT, OutAction.PREEMPT_AND_ABORT):
            assert looked, "sent again without a look"
            looked = answered
        elif opcode == 0x5E:
            looked = looked or answered
    if len(cell.bad) == 1 or cell.once:
        assert fence.isolated, f"{'won' if fence.won else 'not won'}, not isolated after {fence.took_s:.1f} s"
        assert fence.took_s <= ONE_BAD_PATH_S, f"took {fence.took_s:.1f} s"
        assert len(fence.sent) <= ONE_BAD_PATH_COMMANDS, f"{len(fence.sent)} commands"
