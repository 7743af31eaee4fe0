# SPDX-License-Identifier: Apache-2.0
"""A chassis without a BMC, for tests of the callers of ChassisPower."""

from collections.abc import Callable, Iterable

from fencer.errors import BmcUnreachable, NotAllowed, PowerError
from fencer.model import ChassisCommand, PowerState


class FakeClock:
    """A clock that moves only when sleep is called. Unit: seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class FakeChassisPower:
    """Obeys at once, unless told otherwise.

    lag_s: from a command to its effect. cycle_off_s: how long a power cycle keeps it off (0: never seen off).
    ignores: commands accepted without effect. loses: how many of a command's first copies get lost in the BMC.
    refusals: errors raised instead of accepting a command. open_error, state_error: raised by open, state.
    starting_s: how long it says that it is starting. says_off_s: how long it says "off" whatever the chassis does.
    asked: everything that was called, in order: "open", "state", "starting", "close" or the command.
    """

    def __init__(
        self,
        clock: FakeClock,
        state: PowerState = PowerState.ON,
        *,
        lag_s: float = 0.0,
        cycle_off_s: float = 1.0,
        ignores: Iterable[ChassisCommand] = (),
        loses: dict[ChassisCommand, int] | None = None,
        refusals: dict[ChassisCommand, PowerError] | None = None,
        open_error: PowerError | None = None,
        state_error: PowerError | None = None,
        starting_s: float = 0.0,
        says_off_s: float = 0.0,
        has_identity: bool = True,
    ) -> None:
        self.asked: list[str | ChassisCommand] = []
        self._clock = clock
        self._schedule: list[tuple[float, PowerState]] = [(clock(), state)]
        self._lag_s = lag_s
        self._cycle_off_s = cycle_off_s
        self._ignores = frozenset(ignores)
        self._loses = dict(loses or {})
        self._refusals = dict(refusals or {})
        self._open_error = open_error
        self._state_error = state_error
        self._starting_until_s = clock() + starting_s
        self._says_off_until_s = clock() + says_off_s
        self._has_identity = has_identity
        self._is_open = False

    @property
    def name(self) -> str:
        return "bmc"

    @property
    def commands(self) -> list[ChassisCommand]:
        return [each for each in self.asked if isinstance(each, ChassisCommand)]

    @property
    def real_state(self) -> PowerState:
        return [state for at_s, state in self._schedule if at_s <= self._clock()][-1]

    def open(self) -> None:
        self.asked.append("open")
        if self._open_error is not None:
            raise self._open_error
        self._is_open = True

    def state(self) -> PowerState:
        self.asked.append("state")
        self._check_open()
        if self._state_error is not None:
            raise self._state_error
        return PowerState.OFF if self._clock() < self._says_off_until_s else self.real_state

    def control(self, command: ChassisCommand, may_send: Callable[[], bool]) -> None:
        self._check_open()
        if not may_send():
            raise NotAllowed("bmc: not now")
        self.asked.append(command)
        if command in self._refusals:
            raise self._refusals[command]
        if self._loses.get(command, 0) > 0:
            self._loses[command] -= 1
            return
        if command in self._ignores:
            return
        at_s = self._clock() + self._lag_s
        self._schedule = [each for each in self._schedule if each[0] <= self._clock()]
        match command:
            case ChassisCommand.OFF:
                self._schedule.append((at_s, PowerState.OFF))
            case ChassisCommand.ON:
                self._schedule.append((at_s, PowerState.ON))
            case ChassisCommand.CYCLE if self._cycle_off_s > 0:
                self._schedule.append((at_s, PowerState.OFF))
                self._schedule.append((at_s + self._cycle_off_s, PowerState.ON))
            case _:
                pass

    def starting(self) -> bool:
        self.asked.append("starting")
        self._check_open()
        return self._clock() < self._starting_until_s

    def has_identity(self) -> bool:
        return self._has_identity

    def close(self) -> None:
        self.asked.append("close")
        self._is_open = False

    def _check_open(self) -> None:
        if not self._is_open:
            raise BmcUnreachable("fake: no session")
