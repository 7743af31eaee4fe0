# SPDX-License-Identifier: Apache-2.0
"""Takes the paths of a LUN in turns to write over them, round after round, and says why a turn failed."""

from fencer.errors import StorageError, StorageRefused
from fencer.model import Deadline
from fencer.storage.logical_unit import LogicalUnit, RoundPause
from fencer.storage.nexus import Nexus, Outcome

REASONS = {  # why a command did not lead to what was wanted
    Outcome.DONE: "the target accepted the command, but reading back does not show it",
    Outcome.CONFLICT: "reservation conflict: this node's key is not registered on this path",
    Outcome.UNSUPPORTED: "PREEMPT: not supported by this target",
    Outcome.CHANGED: "registrations keep changing",
}

REMEDIES = {
    Outcome.DONE: "update the target's firmware, or give another LUN: this one does not do what it says",
    Outcome.CONFLICT: "run 'on' for this node (unfence), then call again",
    Outcome.UNSUPPORTED: "switch persistent reservations on at the target, or give another LUN",
    Outcome.CHANGED: "call again",
}


class Turns:
    """The order in which paths write: each once a round, with a pause before the next round.

    unregistered: paths that turned out not to be registered. refused: by path, why the target refuses it for good.
    Neither gets a turn. remedy: for the result of the latest turn.
    """

    def __init__(self, lun: LogicalUnit) -> None:
        self.unregistered: set[Nexus] = set()
        self.refused: dict[Nexus, str] = {}
        self.remedy = REMEDIES[Outcome.CHANGED]
        self._lun = lun
        self._pause = RoundPause(lun)
        self._had_turn: set[Nexus] = set()
        self._mended = False

    def next(self) -> Nexus | None:
        """The path to write over now; None when the round is over."""
        passed_over = self._had_turn | self.unregistered | set(self.refused)
        nexus = next((each for each in self._lun.nexuses if each not in passed_over), None)
        if nexus is not None:
            self._had_turn.add(nexus)
        return nexus

    @property
    def others(self) -> bool:
        """Whether paths are left that may write in another round."""
        return len(self.unregistered | set(self.refused)) < len(self._lun.nexuses)

    def note(self, nexus: Nexus, outcome: Outcome | None, failure: StorageError | None) -> str:
        """Notes the result of a turn, and returns it as ``path: reason``."""
        if isinstance(failure, StorageRefused):
            self.refused[nexus] = str(failure)
        self.remedy = failure.remedy if failure is not None else REMEDIES[outcome or Outcome.CHANGED]
        if outcome is Outcome.CONFLICT:
            self.unregistered.add(nexus)
        reason = str(failure) if outcome is None else f"{nexus.name}: {REASONS[outcome]}"
        if outcome is Outcome.UNSUPPORTED:
            self.refused[nexus] = reason
        return reason

    def new_round(self, deadline: Deadline, *, mended: bool) -> None:
        """Gives each path that may write its turn again, after a pause; without one after the first repair (mended)."""
        self._had_turn.clear()
        if mended and not self._mended:
            self._mended = True
        else:
            self._pause.take(deadline)
