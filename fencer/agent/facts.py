# SPDX-License-Identifier: Apache-2.0
"""Sorts the observations of one call by kind. The verdict is made from them."""

from collections.abc import Collection, Iterable

from fencer import observations as observed
from fencer.model import ArbitrationMode, ChassisCommand, PowerState
from fencer.observations import Observation


class Facts:
    """The observations so far, sorted by kind."""

    def __init__(self) -> None:
        self.session = False
        self.states: list[PowerState] = []
        self.commanded: list[ChassisCommand] = []
        self.unanswered: list[ChassisCommand] = []
        self.found_off = False
        self.not_reached = ""
        self.bmc_guid: bytes | None = None
        self.power_over = False
        self.power_done = False
        self.power_failures: list[observed.PowerFailed] = []
        self.arbitration: observed.Arbitrated | None = None
        self.isolated: dict[str, observed.LunIsolated] = {}
        self._before: dict[str, observed.LunIsolated] = {}  # from races before the last one
        self.registered: dict[str, observed.LunRegistered] = {}
        self.lun_states: dict[str, observed.LunState] = {}
        self.lun_failures: list[observed.LunFailed] = []
        self.luns: int | None = None
        self.storage_failure: str | None = None
        self.self_fence_due = False
        self.notes: list[observed.Noted] = []

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> "Facts":
        """Facts from observations in the order they were made."""
        facts = cls()
        for observation in observations:
            facts.add(observation)
        return facts

    def add(self, observation: Observation) -> None:
        """Adds one observation."""
        match observation:
            case observed.SessionOpened():
                self.session = True
            case observed.LunsIdentified():
                pass
            case observed.ChassisFoundOff():
                self.found_off = not self.commanded
            case observed.BmcIdentified(guid):
                self.bmc_guid = guid
            case observed.BmcNotReached(reason):
                self.not_reached = reason
            case observed.ChassisObserved(state):
                self.found_off = self.found_off and state is PowerState.OFF
                self.states.append(state)
            case observed.ChassisCommanded(command):
                self.commanded.append(command)
            case observed.ChassisUnanswered(command):
                self.unanswered.append(command)
            case observed.PowerFailed():
                self.power_failures.append(observation)
                self.power_over = observation.final
                self.power_done = False
            case observed.PowerDone():
                self.power_over = self.power_done = True
            case observed.Arbitrated():
                self.arbitration = observation
            case observed.LunIsolated():  # once weak, it stays weak; once written to, it is no longer "found so"
                before = self.isolated.get(observation.lun) or self._before.get(observation.lun, observation)
                self.isolated[observation.lun] = observation._replace(
                    aborted=observation.aborted and before.aborted, already=observation.already and before.already
                )
            case observed.LunRegistered():
                self.registered[observation.lun] = observation
            case observed.LunState():
                self.lun_states[observation.lun] = observation
            case observed.LunFailed():
                self.lun_failures.append(observation)
            case observed.StorageDone(luns):
                self.luns = luns
            case observed.StorageFailed(reason):
                self.storage_failure = reason
            case observed.SelfFenceDue():
                self.self_fence_due = True
            case observed.Noted():
                self.notes.append(observation)

    def forget_isolation(self) -> None:
        """Drops what storage proved, and the self-fence time: the target has registered again, and a new race begins.

        It keeps how the key was removed, since commands that the target had queued may still be executed.
        """
        self._before |= self.isolated
        self.isolated = {}
        self.lun_failures = []
        self.luns = None
        self.storage_failure = None
        self.self_fence_due = False

    @property
    def storage_over(self) -> bool:
        return self.luns is not None or self.storage_failure is not None

    def every_lun_in(self, good: Collection[str]) -> bool:
        """True when the procedure has handled every LUN, there is at least one, and each is in good."""
        return bool(self.luns) and len(good) == self.luns and not self.lun_failures and self.storage_failure is None

    def lost(self, mode: ArbitrationMode) -> bool:
        """True when another node won, or when a race that has to be decided could not be."""
        if self.arbitration is None:
            return False
        match self.arbitration.result:
            case observed.ArbitrationResult.WON:
                return False
            case observed.ArbitrationResult.LOST | observed.ArbitrationResult.REFUSED:
                return True
            case observed.ArbitrationResult.UNREACHABLE:
                return mode is ArbitrationMode.REQUIRED
