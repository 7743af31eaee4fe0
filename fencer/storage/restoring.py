# SPDX-License-Identifier: Apache-2.0
"""Puts this node's key back on a LUN whose target dropped it, if no registration has changed since."""

from fencer.errors import StorageError
from fencer.model import Deadline
from fencer.storage.guarded_registration import register_under_guard
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.marker import LunMark, Marker, read_marker, write_marker
from fencer.storage.nexus import Outcome
from fencer.storage.registration import Terms, register_path
from fencer.storage.unfencing import alone


def restore(lun: LogicalUnit, terms: Terms, state_dir: str, generation: int, deadline: Deadline) -> None:
    """Registers this node again on a LUN that dropped its key.

    generation: PRGENERATION of the last reading that listed the key, and still the generation now.

    A node that proves by storage that this node is fenced moves it, by PREEMPT or by the trace that
    fencer.storage.isolation leaves. register_under_guard looks before and after its own step. Raises StorageError when
    anything has moved, or no path takes it; UsageError when the marker cannot be written.
    """
    own = terms.own
    with alone(state_dir, deadline):
        _register_first(lun, terms, generation, deadline)
        for nexus in lun.nexuses:
            if (refusal := register_path(nexus, terms, own, deadline)) is not None:
                raise StorageError(f"{nexus.name}: {refusal}")
        look = lun.look(deadline)
        if own in look.keys and look.reservation.type is None:
            lun.nexuses[0].reserve(own, terms.reservation_type, deadline)
            look = lun.look(deadline)
        if own not in look.keys:
            raise StorageError(f"{lun.name}: key {own} is gone again")
        found = read_marker(state_dir)
        if isinstance(found, Marker):
            others = tuple(mark for mark in found.luns if mark.wwid != lun.wwid)
            marks = (*others, LunMark(lun.wwid, look.generation, registered=True))
            write_marker(state_dir, Marker(own, marks))


def _register_first(lun: LogicalUnit, terms: Terms, generation: int, deadline: Deadline) -> None:
    refused = f"{lun.name}: no path to it"
    for nexus in lun.nexuses:
        outcome = register_under_guard(nexus, terms.own, terms.aptpl, deadline, absent_at=generation)
        if outcome is Outcome.DONE:
            return
        refused = f"{nexus.name}: the registrations have changed: whether this node was fenced is not known"
        if outcome is Outcome.CHANGED:
            break
    raise StorageError(refused)
