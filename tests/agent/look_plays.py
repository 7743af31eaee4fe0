# SPDX-License-Identifier: Apache-2.0
"""Workers that tell in a diary what they do around a look at the arbiter."""

import time
from pathlib import Path

from fencer.agent.orders import Go, GoAgain, Login, LookAgain, Looked, PowerOrder
from fencer.model import ChassisCommand, PowerState
from fencer.observations import (
    ArbitrationResult,
    ChassisCommanded,
    ChassisObserved,
    ChassisUnanswered,
    LunIsolated,
    LunsIdentified,
    PowerDone,
    PowerFailed,
    SessionOpened,
    StorageDone,
)
from fencer.worker import Channel
from tests.rig.plays import (
    ISOLATED,
    WON,
    Job,
    Played,
    hang,
)

IDENTIFIED = LunsIdentified(("lun",))
ALL = (IDENTIFIED, WON, ISOLATED, StorageDone(1))
WEAK = LunIsolated("lun", aborted=False, already=False)
FOUND = LunIsolated("lun", aborted=True, already=True)


LONG_GOOD_S = 60.0
"""In most of these tests a look counts for so long: on a busy machine its answer may be read seconds after it."""


class Diary:
    """What happened in all processes, in the order of time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, word: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{word}\n")

    @property
    def words(self) -> list[str]:
        return self._path.read_text().split() if self._path.exists() else []


def bmc(diary: Diary, *, lets_in_after_s: float = 0.0, breaks_down: int = 0) -> Job:
    """A power worker that notes "in" and "go". breaks_down: so many times, when power has been let go."""

    def job(channel: Channel) -> None:
        order = channel.receive()
        assert isinstance(order, PowerOrder)
        assert isinstance(channel.receive(), Login)
        time.sleep(lets_in_after_s)
        diary.note("in")
        channel.send(SessionOpened())
        if not isinstance(channel.receive(), Go):
            return
        diary.note("go")
        if diary.words.count("go") <= breaks_down:
            channel.send(PowerFailed("Timed out", final=False))
            return
        channel.send(ChassisCommanded(ChassisCommand.OFF))
        channel.send(ChassisObserved(PowerState.OFF))
        channel.send(PowerDone())

    return job


def bmc_that_ignores_the_first_off(
    diary: Diary, command: type[ChassisCommanded | ChassisUnanswered] = ChassisCommanded
) -> Job:
    """A power worker that sends off, and asks to send it again. Notes "in", "off" and "asks"."""

    def job(channel: Channel) -> None:
        channel.receive()
        channel.receive()
        diary.note("in")
        channel.send(SessionOpened())
        for number in range(2):
            if not isinstance(channel.receive(), Go):
                return
            diary.note("off")
            channel.send(command(ChassisCommand.OFF))
            if number == 0:
                diary.note("asks")
                channel.send(GoAgain())
        channel.send(ChassisObserved(PowerState.OFF))
        channel.send(PowerDone())

    return job


def noting_in_turn(diary: Diary, *results: ArbitrationResult | None) -> Job:
    """Answers each question by the next of results, and notes "look"."""

    def job(channel: Channel) -> None:
        for result in results:
            question = channel.receive()
            if not isinstance(question, LookAgain):
                return
            diary.note("look")
            channel.send(Looked(question.number, result, "the look's reason", time.monotonic()))
        hang(channel)

    return job


def luns(diary: Diary, *races: Job) -> Job:
    """A storage worker that notes "race" when it starts, and then does what the next of races says."""

    def job(channel: Channel) -> None:
        number = diary.words.count("race")
        diary.note("race")
        races[number](channel)

    return job


def noting(diary: Diary, result: ArbitrationResult | None = ArbitrationResult.WON, *, old: int = 0) -> Job:
    """Answers each question, and notes "look". old: so many of the first answers are older than LONG_GOOD_S."""

    def job(channel: Channel) -> None:
        while isinstance(question := channel.receive(), LookAgain):
            diary.note("look")
            at_s = time.monotonic() - (LONG_GOOD_S + 0.5 if diary.words.count("look") <= old else 0.0)
            channel.send(Looked(question.number, result, "the look's reason", at_s))

    return job


def commanded(played: Played) -> bool:
    return any(isinstance(what, ChassisCommanded) for what in played.seen)
