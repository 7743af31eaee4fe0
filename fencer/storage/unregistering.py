# SPDX-License-Identifier: Apache-2.0
"""Removes this node's key from all paths of all LUNs, at an orderly stop: the reverse of unfencing."""

from collections.abc import Callable
from contextlib import suppress

from fencer.errors import StorageError, UsageError
from fencer.model import Deadline, ReservationKey
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.marker import Marker, write_marker
from fencer.storage.nexus import Outcome
from fencer.storage.open_luns import open_luns
from fencer.storage.procedure import Opened
from fencer.storage.settings import StorageSettings
from fencer.storage.unfencing import alone

UNREGISTER_S = 8.0
"""Time for all LUNs together."""


def unregister(storage: StorageSettings, opening: Callable[[StorageSettings, Deadline], Opened] = open_luns) -> None:
    """Takes this node's key off every path of every LUN, and notes in the marker that this node did it.

    Where this node holds a reservation the key stays, on all LUNs: a holder that unregisters releases it (SPC-4
    5.13.11), and a node that was fenced behind it could write again. Between the look and the REGISTER only a fence by
    this node itself makes it the holder. Of an all-registrants type every registrant is taken for the last one: two
    that stop together would each see the other.

    Killed in between, or where the key is gone already, the marker says "registered" and the key is gone: the node
    counts as fenced until it reboots. Raises StorageError, UsageError.
    """
    own = storage.own_key
    if own is None:
        return
    deadline = Deadline.after(UNREGISTER_S)
    with alone(storage.state_dir, deadline):
        opened = opening(storage, deadline)
        if opened.unknown:
            raise StorageError(opened.unknown[0].reason)
        for lun in opened.luns:
            if lun.look(deadline).held_by(own):
                reason = "this node holds the reservation, without which a node that was fenced could write again"
                raise StorageError(f"{lun.name}: {reason}")
        for lun in opened.luns:
            _take_off(lun, own, storage.aptpl, deadline)
        write_marker(storage.state_dir, Marker(own, ()))
        if storage.persistent_dir != storage.state_dir:
            with suppress(UsageError):  # a full disk; then the next boot takes this node for one that was fenced
                write_marker(storage.persistent_dir, Marker(own, ()))


def withdraw(lun: LogicalUnit, own: ReservationKey, aptpl: bool, deadline: Deadline) -> str:
    """Takes the key of a node that was fenced while it registered off one LUN; as text, why it is left there.

    It is where this node holds the reservation: see unregister. Never raises.
    """
    try:
        look = lun.look(deadline)
        if look.held_by(own):
            return "; it is left here: this node holds the reservation"
        if own in look.keys:
            _take_off(lun, own, aptpl, deadline)
    except StorageError as error:
        return f"; it may be left here: {error}"
    return ""


def _take_off(lun: LogicalUnit, own: ReservationKey, aptpl: bool, deadline: Deadline) -> None:
    """Takes this node's key off every path of one LUN. Raises StorageError where it stays, or was gone already."""
    removed = False
    for nexus in lun.nexuses:
        # A conflict: this path is not registered under our key.
        outcome = nexus.register(own, None, aptpl, deadline)
        if outcome is Outcome.UNSUPPORTED and aptpl:
            outcome = nexus.register(own, None, False, deadline)
        removed = removed or outcome is Outcome.DONE
    if own in lun.look(deadline).keys:
        raise StorageError(f"{lun.name}: key {own} is still listed, on a path that is not there now")
    if not removed:  # the marker must go on saying "registered": this node may have been fenced
        raise StorageError(f"{lun.name}: key {own} was gone already")
