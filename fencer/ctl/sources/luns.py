"""Keys and reservation of each shared LUN, by the project's own storage code. Only reads; needs root."""

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from fencer.errors import FenceError
from fencer.model import Deadline, ReservationKey
from fencer.state.snapshot import Snapshot
from fencer.storage.look import Look
from fencer.storage.open_luns import open_luns
from fencer.storage.settings import StorageSettings

LUNS_S: Final = 8.0
"""Deadline of the reading of all LUNs of one group."""


class KeyOwner(NamedTuple):
    """A registered key. node: its owner by the cluster's file, "" for a key of no known node. holder: it holds the
    reservation."""

    key: str
    node: str
    holder: bool


class LunReading(NamedTuple):
    """reservation: the type in words, "" when none is held. problem: why the LUN could not be read, "" else.

    own: this node's key is registered; None when that is not known.
    """

    name: str
    wwid: str
    reservation: str
    keys: tuple[KeyOwner, ...]
    own: bool | None
    problem: str = ""


def read_luns(group: str, owners: Mapping[str, ReservationKey], local: str) -> tuple[LunReading, ...]:
    """The LUNs of a volume group. owners: node name to key; local: this node's name, "" when unknown.

    Raises FenceError where the LUNs cannot be found.
    """
    deadline = Deadline.after(LUNS_S)
    opened = open_luns(StorageSettings((), group, own_key=None), deadline, only_looks=True)
    names = {key: name for name, key in owners.items()}
    found = []
    for lun in opened.luns:
        try:
            found.append(_state(lun.name, lun.wwid, lun.look(deadline), names, owners.get(local)))
        except FenceError as error:
            found.append(LunReading(lun.name, lun.wwid, "", (), None, str(error)))
        finally:
            lun.close()
    return tuple(found)


def _state(
    name: str, wwid: str, look: Look, names: Mapping[ReservationKey, str], own: ReservationKey | None
) -> LunReading:
    held = look.reservation
    keys = tuple(
        KeyOwner(str(key), names.get(key, ""), held.type is not None and held.holder in (key, None))
        for key in sorted(look.keys)
    )
    reservation = held.type.name.replace("_", " ").lower() if held.type is not None else ""
    return LunReading(name, wwid, reservation, keys, None if own is None else own in look.keys)


def from_snapshot(snapshot: Snapshot) -> tuple[LunReading, ...]:
    """The LUNs as the sidecar saw them last, for users who may not open a disk."""
    return tuple(
        LunReading(
            lun.name,
            lun.wwid,
            lun.type.replace("_", " ").lower(),
            tuple(KeyOwner(key.key, key.node, lun.holder in (key.key, "") and bool(lun.type)) for key in lun.keys),
            any(key.key == snapshot.key for key in lun.keys),
            lun.error,
        )
        for lun in snapshot.luns
    )


def may_read_disks() -> bool:
    """Whether this process may open a shared disk."""
    return os.geteuid() == 0
