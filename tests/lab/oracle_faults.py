# SPDX-License-Identifier: Apache-2.0
"""The faults that disturb a fence at level 2, and what chance decides about each: when it comes, and for how long.

Node A has three paths, node B has one. Nothing here talks to a guest: a plan is shell commands.
"""

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from .level2 import NODES, portal

A, B = NODES
LUNS = (0, 1)
PATHS = 3
"""Of node A."""
PATIENT_S, HOPELESS_S = 100, 15
"""Deadlines: where the fence must succeed, and where all paths stay away."""
LONGEST_TAKE_OVER_S = 20.0
PACE_S = 1.5
"""How long an undisturbed fence takes in a guest that has a core to itself, most of it to load the program."""
JOURNAL = "/run/lab/journal"
_PORTAL_GROUP = "/sys/kernel/config/target/iscsi/iqn.2026-11.lab:shared/tpgt_1"
_UNIT = "/sys/kernel/config/target/core/fileio_1/lun{lun}/alua/default_tg_pt_gp"


class Fault(StrEnum):
    """What is done to a fence."""

    NONE = "none"
    KILLED = "agent killed and run again"
    SIMULTANEOUS = "simultaneous fence"
    SESSIONS_DROPPED = "sessions dropped"
    FIRST_PATH = "first of three paths lost"
    MIDDLE_PATH = "middle of three paths lost"
    LAST_PATH = "last of three paths lost"
    ALL_PATHS = "all three paths lost until the deadline"
    PACKET_LOSS = "packets lost on the caller's paths"
    SILENT_ARRAY = "take-over, the array silent"
    LEAVING_ARRAY = "take-over, the array ends all sessions"
    TRANSITION = "take-over, the array answers NOT READY, in transition"
    JOURNAL_FULL = "journal's file system full"
    CLOCK = "clock set forward and back by an hour"


@dataclass(frozen=True)
class Plan:
    """What happens to one fence.

    before, after: shell commands that have ended before the agents start, or are run when they have ended. `after`
    repairs what `meanwhile`, which begins with the agents, may have left. kill_after_s: SIGKILL for the first agent.
    may_succeed, may_fail: as far as the proof that is configured, removal of the key, is possible.
    """

    told: str
    fencers: tuple[str, ...] = (A,)
    lag_s: float = 0.0
    kill_after_s: float | None = None
    before: str = ""
    meanwhile: str = ""
    after: str = ""
    options: tuple[str, ...] = field(default=(f"--deadline={PATIENT_S}",))
    may_succeed: bool = True
    may_fail: bool = False


def draw(fault: Fault, chance: random.Random, pace_s: float = PACE_S) -> Plan:
    """Depends on the state of `chance`, and scales moments with pace_s: what an undisturbed fence takes at present."""
    moment_s = pace_s * chance.uniform(0.05, 1.3)
    match fault:
        case Fault.NONE:
            return Plan("")
        case Fault.KILLED:
            return Plan(f"killed after {moment_s:.2f} s", kill_after_s=moment_s)
        case Fault.SIMULTANEOUS:
            first, second = chance.sample(NODES, 2)
            told = f"{second} {moment_s / 4:.2f} s after {first}"
            return Plan(told, fencers=(first, second), lag_s=moment_s / 4)
        case Fault.SESSIONS_DROPPED:
            return _while_away(_disable(True), _disable(False), moment_s, 0.5)
        case Fault.FIRST_PATH | Fault.MIDDLE_PATH | Fault.LAST_PATH:
            path = (Fault.FIRST_PATH, Fault.MIDDLE_PATH, Fault.LAST_PATH).index(fault)
            return _lost_path(path, moment_s, chance)
        case Fault.ALL_PATHS:
            return _lost_paths(moment_s, chance)
        case Fault.PACKET_LOSS:
            return _packet_loss(chance.uniform(2, 25))
        case Fault.SILENT_ARRAY:
            places = [portal(A, path) for path in range(PATHS)] + [portal(B)]
            cut, heal = _routes("add", places), _routes("del", places)
            return _while_away(cut, heal, moment_s, chance.uniform(1, LONGEST_TAKE_OVER_S))
        case Fault.LEAVING_ARRAY:
            away_s = chance.uniform(1, LONGEST_TAKE_OVER_S)
            return _while_away(_disable(True), _disable(False), moment_s, away_s)
        case Fault.TRANSITION:
            return _transition(moment_s, chance.uniform(1, LONGEST_TAKE_OVER_S))
        case Fault.JOURNAL_FULL:
            return _full_journal(moment_s, from_the_start=chance.random() < 0.5)
        case Fault.CLOCK:
            return _clock_steps(moment_s, pace_s * chance.uniform(0.05, 1), forward_first=chance.random() < 0.5)
        case _:
            assert_never(fault)


def _disable(away: bool) -> str:
    return f"echo {int(not away)} >{_PORTAL_GROUP}/enable"


def _routes(what: str, places: list[str]) -> str:
    """Lets every packet to these addresses vanish, or no longer. Nothing tells the initiator."""
    return " ; ".join(f"ip route {what} blackhole {place}/32 table local" for place in places)


def _while_away(leave: str, come_back: str, moment_s: float, away_s: float) -> Plan:
    return Plan(
        f"for {away_s:.1f} s, {moment_s:.2f} s after the call",
        meanwhile=f"sleep {moment_s:.3f}; {leave}; sleep {away_s:.3f}; {come_back}",
    )


def _lost_path(path: int, moment_s: float, chance: random.Random) -> Plan:
    cut, heal = _routes("add", [portal(A, path)]), _routes("del", [portal(A, path)])
    long_s = chance.uniform(0.5, 10)
    if chance.random() < 0.5:
        return _while_away(cut, heal, moment_s, long_s)
    return Plan(
        f"{long_s:.1f} s before the call, for all of the fence", before=f"{cut}; sleep {long_s:.3f}", after=heal
    )


def _lost_paths(moment_s: float, chance: random.Random) -> Plan:
    places = [portal(A, path) for path in range(PATHS)]
    cut, heal = _routes("add", places), _routes("del", places)
    options = (f"--deadline={HOPELESS_S}",)
    if chance.random() < 0.5:
        return Plan(
            f"{moment_s:.2f} s after the call",
            meanwhile=f"sleep {moment_s:.3f}; {cut}",
            after=heal,
            options=options,
            may_fail=True,
        )
    return Plan(
        f"{moment_s:.2f} s before the call",
        before=f"{cut}; sleep {moment_s:.3f}",
        after=heal,
        options=options,
        may_succeed=False,
        may_fail=True,
    )


def _packet_loss(percent: float) -> Plan:
    """In both directions; the victim's path is clean."""
    steps = [
        "tc qdisc add dev lo root handle 1: prio bands 4 priomap " + " ".join(["0"] * 16),
        f"tc qdisc add dev lo parent 1:4 handle 40: netem loss {percent:.1f}%",
    ]
    for path in range(PATHS):
        for end in ("dst", "src"):
            matched = f"match ip {end} {portal(A, path)}/32 flowid 1:4"
            steps.append(f"tc filter add dev lo parent 1: protocol ip prio 1 u32 {matched}")
    return Plan(f"{percent:.1f} %, each way", before=" && ".join(steps), after="tc qdisc del dev lo root")


def _transition(moment_s: float, long_s: float) -> Plan:
    """04/0A for so long, then active/non-optimized for the rest of the fence. LIO changes one LUN's state at a time."""
    steps, back = [], []
    for lun in LUNS:
        unit = _UNIT.format(lun=lun)
        steps.append(f"echo {long_s * 1000:.0f} >{unit}/trans_delay_msecs; echo 1 >{unit}/alua_access_state &")
        back.append(f"echo 0 >{unit}/trans_delay_msecs; echo 0 >{unit}/alua_access_state")
    return Plan(
        f"for {long_s:.1f} s, {moment_s:.2f} s after the call",
        meanwhile=f"sleep {moment_s:.3f}; {' '.join(steps)} wait",
        after="; ".join(back),
    )


def _full_journal(moment_s: float, *, from_the_start: bool) -> Plan:
    fill = f"dd if=/dev/zero of={JOURNAL}/fill bs=4k status=none"
    make = f"mkdir -p {JOURNAL} && mount -t tmpfs -o size=256k none {JOURNAL}"
    return Plan(
        "before the call" if from_the_start else f"{moment_s:.2f} s after the call",
        before=f"{make}; {fill}; :" if from_the_start else make,
        meanwhile="" if from_the_start else f"sleep {moment_s:.3f}; {fill}",
        after=f"umount -l {JOURNAL}",
        options=(f"--deadline={PATIENT_S}", f"--journal={JOURNAL}/journal.db"),
    )


def _clock_steps(first_s: float, second_s: float, *, forward_first: bool) -> Plan:
    """Two hours in the second step. The harness restores the clock."""

    def step(seconds: int) -> str:
        return f"date -s @$(($(date +%s) + {seconds})) >/dev/null"

    sign = 1 if forward_first else -1
    return Plan(
        f"{'forward' if forward_first else 'back'} {first_s:.2f} s after the call, the other way {second_s:.2f} s on",
        meanwhile=f"sleep {first_s:.3f}; {step(3600 * sign)}; sleep {second_s:.3f}; {step(-7200 * sign)}",
    )
