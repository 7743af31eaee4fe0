# SPDX-License-Identifier: Apache-2.0
"""Keys and reservation of each shared LUN, by the project's own storage code. Only reads; needs root."""

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from fencer.errors import FenceError
from fencer.model import Deadline, ReservationKey
from fencer.state.snapshot import Snapshot
from fencer.storage.look import Look
from fencer.storage.open_luns import open_luns
from fencer.storage.settings import StorageSettings, initiator_of

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


class SharedStorage(NamedTuple):
    """LUNs as the configuration names them: a volume group, or devices as in the agent's option."""

    group: str
    devices: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.group or "devices"


def read_luns(storage: SharedStorage, owners: Mapping[str, ReservationKey], local: str) -> tuple[LunReading, ...]:
    """Each LUN. owners: node name to key; local: this node's name, "" when unknown.

    Raises FenceError where the LUNs cannot be found.
    """
    deadline = Deadline.after(LUNS_S)
    settings = StorageSettings(
        storage.devices, storage.group or None, own_key=None, initiator=initiator_of(local or os.uname().nodename)
    )
    opened = open_luns(settings, deadline, only_looks=True)
    names = {key: name for name, key in owners.items()}
    found = [LunReading(lun.lun, "", "", (), None, str(lun.reason)) for lun in opened.unknown]
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
