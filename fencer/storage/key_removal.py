# SPDX-License-Identifier: Apache-2.0
"""Removes a reservation key from a LUN over one path: PREEMPT AND ABORT, or PREEMPT where the target lacks it."""

from collections.abc import Iterable

from fencer._typing import NamedTuple
from fencer.errors import CommandFailed, MalformedAnswer, StorageError, StorageRefused
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.storage.initiator_ports import NO_PORTS, Ports, ports_of
from fencer.storage.look import guard_key
from fencer.storage.nexus import AskedToWait, Nexus, Outcome


class Removal(NamedTuple):
    """The result of one attempt to remove a key.

    aborted: by a PREEMPT AND ABORT that the target has completed. It is complete when the victim's commands are ended
    (SPC-4 5.13.11.2), so one without an answer is no better than a plain PREEMPT. failure: no usable answer came;
    only reading back tells whether the key is gone, and outcome is None. sent: False where the path failed before.
    ports: the initiator ports on which the key was registered before, as far as the target tells.
    """

    outcome: Outcome | None
    aborted: bool
    failure: StorageError | None = None
    ports: Ports = NO_PORTS
    sent: bool = True

    @property
    def may_have_removed(self) -> bool:
        if self.outcome is None:
            return self.sent and not isinstance(self.failure, StorageRefused)
        return self.outcome is Outcome.DONE


def weakest(removals: Iterable[Removal]) -> Removal | None:
    """One removal for all: as weak as the weakest of them, with the ports of each. None where there is none."""
    removals = tuple(removals)
    weak = min(removals, key=lambda removal: removal.aborted, default=None)
    return None if weak is None else weak._replace(ports=NO_PORTS.union(*(removal.ports for removal in removals)))


def remove_key(
    nexus: Nexus, own: ReservationKey, victim: ReservationKey, kind: ReservationType, deadline: Deadline
) -> Removal:
    """Sends PREEMPT AND ABORT; PREEMPT where the target lacks it, which the result says. Never raises.

    A CONFLICT means that this nexus is not registered under own, or that victim is not registered at all.
    """
    try:
        ports = _ports_before(nexus, own, victim, deadline)
    except StorageError as error:
        return Removal(None, aborted=False, failure=error, sent=False)
    try:
        outcome = nexus.preempt_and_abort(own, victim, kind, deadline)
        if outcome is not Outcome.UNSUPPORTED:
            return Removal(outcome, True, ports=ports)
        return Removal(nexus.preempt(own, victim, kind, deadline), False, ports=ports)
    except StorageError as error:
        return Removal(None, False, error, ports)


def _ports_before(nexus: Nexus, own: ReservationKey, victim: ReservationKey, deadline: Deadline) -> Ports:
    """The initiator ports on which victim or its guard key is registered; none where the target does not report them.

    Raises StorageError where the path does not answer.
    """
    try:
        status = nexus.read_full_status(deadline)
    except AskedToWait:  # the target may know it: without the ports a second key of the victim would not be noticed
        raise
    except (CommandFailed, MalformedAnswer):
        return NO_PORTS
    return NO_PORTS if status is None else ports_of(status, (victim, guard_key(victim)), own)
