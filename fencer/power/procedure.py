# SPDX-License-Identifier: Apache-2.0
"""Brings a chassis to a goal: which commands are sent, in which order. Pure: no IPMI, no process.

The caller of a procedure hands in ``emit`` (every observation goes there at once) and ``may_go`` (True when power may
be taken away now). A procedure logs in first, so that the BMC is ready the moment the go comes, and reads the state it
acts on *after* the go: what was off before a fence race is no proof after it. Each packet with a command that takes
power away asks again: a go grows old (docs/decisions/0003-one-arbiter.md). "On" asks nothing, it takes nothing away.

One "off" is no proof either: a BMC that starts says "off" before it knows. Proof is a change that was seen, from on to
off, or an "off" that stands a second after a command, of a BMC that is not starting any more.
"""

import math
import time
from collections.abc import Callable

from fencer._enum import StrEnum
from fencer._typing import NamedTuple, assert_never
from fencer.errors import BmcRefused, BmcUnreachable, CommandRefused, NotAllowed
from fencer.model import ChassisCommand, Method, PowerState
from fencer.observations import (
    ChassisCommanded,
    ChassisFoundOff,
    ChassisObserved,
    ChassisUnanswered,
    Noted,
    Observation,
    PowerDone,
    PowerFailed,
    SessionOpened,
)
from fencer.power.chassis import ChassisPower, always

_FIRST_POLL_SLEEP_S = 0.1
_POLL_GROWTH = 1.5
_IDLE_S = 10.0
"""So long a session is left alone: simulators and some BMCs drop it after 30 s of silence."""

_CONFIRM_SLEEP_S = 1.0
"""Between two reads of a chassis that was found off."""
_REFUSED_CONFIRM_S = 5.0
"""How long off has to stand where the BMC did not take the command."""
_GO_WAIT_S = 1.0
"""How long a new go is waited for without a look at the chassis. It comes within 1 ms where the LUN answers."""
_CYCLE_POLL_SLEEP_S = 0.05
"""A power cycle may keep the chassis off for less than a second; IPMI 2.0 §28.3 asks for at least one, not all obey."""


class PowerAim(StrEnum):
    """The aim of a power procedure: a state of the chassis, or a question to the BMC."""

    OFF = "off"
    ON = "on"
    REBOOT = "reboot"
    STATUS = "status"
    MONITOR = "monitor"
    DIAG = "diag"


class PowerGoal(NamedTuple):
    """What a power procedure is to reach.

    method: how a reboot is done. off_proven: a former attempt of this reboot has observed off; go on at "on".
    never_seen: this host has not learnt who the node's BMC is, and nothing but its word will prove the fence: a chassis
    that is found off may be another node's.
    """

    aim: PowerAim
    method: Method = Method.ONOFF
    off_proven: bool = False
    never_seen: bool = False


class PowerTiming(NamedTuple):
    """Time limits of a power procedure, in seconds.

    power_timeout_s: how long a command may take to show in the state. status_sleep_s: the longest pause between two
    polls. power_wait_s: pause after a command before the first poll. on_tries: how often a reboot waits for on.
    cycle_watch_s: how long to look for the off phase of a power cycle.
    """

    power_timeout_s: float = 20.0
    status_sleep_s: float = 1.0
    power_wait_s: float = 0.0
    on_tries: int = 1
    cycle_watch_s: float = 5.0


class _NotReachedError(Exception):
    """The BMC answers, but not as wanted, or not reliably. The text is the reason, without the BMC's name."""


def run(
    chassis: ChassisPower,
    goal: PowerGoal,
    emit: Callable[[Observation], None],
    may_go: Callable[[float], bool],
    timing: PowerTiming,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Pursues the goal in one session, emits what was observed; PowerDone or PowerFailed comes last, after the logout.

    may_go: whether a command may be sent now that takes power away. It waits so many seconds for that. Neither
    PowerDone nor PowerFailed comes when its first answer, for which it may wait for ever, is no. Raises nothing but
    what ``emit`` and ``may_go`` raise.
    """
    last: PowerDone | PowerFailed | None = None
    try:
        chassis.open()
        emit(SessionOpened())
        if goal.aim in (PowerAim.STATUS, PowerAim.MONITOR) or may_go(math.inf):
            _Procedure(chassis, emit, may_go, timing, sleep, clock).pursue(goal)
            last = PowerDone()
    except BmcRefused as error:
        last = PowerFailed(str(error), final=True, remedy=error.remedy)
    except BmcUnreachable as error:
        last = PowerFailed(str(error), final=False)
    except _NotReachedError as error:
        last = PowerFailed(f"{chassis.name}: {error}", final=False)
    finally:
        chassis.close()
    if last is not None:
        emit(last)


class _Procedure:
    def __init__(
        self,
        chassis: ChassisPower,
        emit: Callable[[Observation], None],
        may_go: Callable[[float], bool],
        timing: PowerTiming,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._chassis = chassis
        self._emit = emit
        self._may_go = may_go
        self._timing = timing
        self._sleep = sleep
        self._clock = clock
        self._seen: PowerState | None = None
        self._sends = 0

    def pursue(self, goal: PowerGoal) -> None:
        match goal.aim:
            case PowerAim.OFF:
                self._make_off(goal)
            case PowerAim.ON:
                self._switch_on()
            case PowerAim.REBOOT:
                self._reboot(goal)
            case PowerAim.STATUS:
                state = self._chassis.state()
                if state is PowerState.OFF and self._chassis.starting():
                    raise _NotReachedError("chassis power is reported off, but by a BMC that says that it is starting")
                self._note(state)
            case PowerAim.MONITOR:
                self._look()
            case PowerAim.DIAG:
                self._command(ChassisCommand.DIAG)
            case _:
                assert_never(goal.aim)

    def _reboot(self, goal: PowerGoal) -> None:
        if goal.off_proven:
            self._switch_on()
            return
        match goal.method:
            case Method.ONOFF:
                self._make_off(goal)
            case Method.CYCLE:
                found = self._chassis.state()
                if found is PowerState.ON:
                    self._note(found)
                    if self._cycle_shows_off():
                        self._await_on_again()
                        return
                    if self._seen is not PowerState.OFF:
                        self._hard_off()
                else:
                    self._confirm_off(goal)
            case _:
                assert_never(goal.method)
        self._reach(ChassisCommand.ON, PowerState.ON, tries=self._timing.on_tries)

    def _make_off(self, goal: PowerGoal) -> None:
        """Proof: on was seen, and off after the command; or see _confirm_off."""
        found = self._chassis.state()
        if found is PowerState.ON:
            self._note(found)
            self._hard_off()
        else:
            self._confirm_off(goal)

    def _hard_off(self) -> None:
        self._reach(ChassisCommand.OFF, PowerState.OFF, tries=1)

    def _confirm_off(self, goal: PowerGoal) -> None:
        """Commands off a chassis that was found off, and reads again, because the BMC may be starting.

        Proof: off a second later or more, and still off after the BMC has said that it is not starting. Where it does
        not take the command (many do not switch off what is off), off has to stand for longer. Where it is seen on
        instead, the way from on to off is the proof.
        """
        self._emit(ChassisFoundOff())
        until = self._clock() + max(self._timing.power_timeout_s, _REFUSED_CONFIRM_S)
        stands_at = self._clock() + _CONFIRM_SLEEP_S
        try:
            self._command(ChassisCommand.OFF)
        except CommandRefused:
            stands_at = self._clock() + _REFUSED_CONFIRM_S
        while True:
            self._sleep(_CONFIRM_SLEEP_S)
            if self._chassis.state() is PowerState.ON:
                break
            starting = self._chassis.starting()
            if not starting and self._clock() >= stands_at:
                if self._chassis.state() is PowerState.ON:
                    break
                if goal.never_seen and self._chassis.has_identity():
                    raise BmcRefused(
                        f"{self._chassis.name}: chassis power was off already, and this host has never seen this BMC "
                        "before, so it may be another node's",
                        "run the action monitor for this node once, or give bmc_guid=GUID",
                    )
                self._note(PowerState.OFF)
                return
            if starting and self._clock() >= until:
                raise _NotReachedError(
                    "chassis power is reported off, but by a BMC that says that it is still starting after "
                    f"{self._timing.power_timeout_s:g} s"
                )
        self._note(PowerState.ON)
        self._hard_off()

    def _switch_on(self) -> None:
        if self._look() is not PowerState.ON:
            self._reach(ChassisCommand.ON, PowerState.ON, tries=self._timing.on_tries)

    def _cycle_shows_off(self) -> bool:
        """Sends a power cycle; True when its off phase was seen."""
        try:
            self._command(ChassisCommand.CYCLE)
        except CommandRefused as refusal:  # power cycle is optional, IPMI 2.0 table 28-4
            self._emit(Noted(f"{refusal}; switching off and on instead"))
            return False
        until = self._clock() + min(self._timing.power_timeout_s, self._timing.cycle_watch_s)
        while self._seen is not PowerState.OFF and self._look() is not PowerState.OFF:
            if self._clock() >= until:
                self._emit(Noted("power cycle: the chassis was never seen off; switching off and on instead"))
                return False
            self._sleep(_CYCLE_POLL_SLEEP_S)
        return True

    def _await_on_again(self) -> None:
        """Waits until the chassis is on after a power cycle. Sends "on" where it is not on after half of the time."""
        if not self._poll(PowerState.ON, self._timing.power_timeout_s / 2):
            self._reach(ChassisCommand.ON, PowerState.ON, tries=self._timing.on_tries)

    def _reach(self, command: ChassisCommand, wanted: PowerState, tries: int) -> None:
        """Sends the command, and once more at half time, until the wanted state is observed.

        A BMC may refuse to switch what is switched (completion code d5h): a refusal counts only while the state is not
        reached.
        """
        for _ in range(2 * max(1, tries)):
            try:
                self._command(command)
            except CommandRefused:
                if self._look() is wanted:
                    return
                raise
            if self._poll(wanted, self._timing.power_timeout_s / 2):
                return
        spent_s = self._timing.power_timeout_s * max(1, tries)
        verb = "hard off" if command is ChassisCommand.OFF else "power on"
        raise _NotReachedError(f"chassis power is still {self._seen} {spent_s:g} s after {verb}")

    def _command(self, command: ChassisCommand) -> None:
        """Sends a command; or returns because one that was sent, and not answered, has switched the chassis off."""
        if command is ChassisCommand.ON:
            self._chassis.control(command, always)
        elif not self._taken_away(command):
            return
        self._emit(ChassisCommanded(command))
        self._wait(self._timing.power_wait_s)

    def _taken_away(self, command: ChassisCommand) -> bool:
        """Sends a command that takes power away, as soon as it may go. False where that is not needed any more."""
        before, wait_s, told = self._sends, _GO_WAIT_S, False
        while True:
            try:
                self._chassis.control(command, self._may_send)
            except NotAllowed:
                if self._sends > before and not told:
                    told = True
                    self._emit(ChassisUnanswered(command))
            else:
                return True
            was_on = self._seen is PowerState.ON
            # What was sent may have done its work. The state is read in any case, so that the session stays.
            if self._chassis.state() is PowerState.OFF and was_on and self._sends:
                self._note(PowerState.OFF)
                return False
            self._may_go(wait_s)
            wait_s = min(2 * wait_s, _IDLE_S)

    def _may_send(self) -> bool:
        may = self._may_go(_GO_WAIT_S)
        self._sends += may
        return may

    def _wait(self, seconds: float) -> None:
        """Waits for the permission. Reads the state now and then: a BMC drops a silent session (IPMI 2.0 §6.12.15)."""
        until = self._clock() + seconds
        while (left_s := until - self._clock()) > 0:
            self._sleep(min(left_s, _IDLE_S))
            if left_s > _IDLE_S:
                self._chassis.state()

    def _poll(self, wanted: PowerState, timeout_s: float) -> bool:
        """Reads the state at once, then at growing intervals; the last time not before the timeout."""
        until = self._clock() + timeout_s
        pause_s = _FIRST_POLL_SLEEP_S
        while self._look() is not wanted:
            left_s = until - self._clock()
            if left_s <= 0:
                return False
            self._sleep(min(pause_s, left_s))
            pause_s = min(pause_s * _POLL_GROWTH, max(self._timing.status_sleep_s, _FIRST_POLL_SLEEP_S))
        return True

    def _look(self) -> PowerState:
        """Reads the state, and emits it when it has changed."""
        return self._note(self._chassis.state())

    def _note(self, state: PowerState) -> PowerState:
        if state is not self._seen:
            self._seen = state
            self._emit(ChassisObserved(state))
        return state
