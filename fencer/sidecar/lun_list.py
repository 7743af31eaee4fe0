# SPDX-License-Identifier: Apache-2.0
"""Decides which LUNs are watched, at the first list of LUNs and at each later one. Pure."""

from fencer._typing import NamedTuple


class FoundLun(NamedTuple):
    """One shared LUN. wwid, name: as in fencer.storage.lun. paths: kernel names (``sdb``), as found when it was listed.

    block_name: kernel name of what is mounted (``dm-3``). volumes: UUIDs of the physical volumes that lie on it, none
    where it is named by ``devices``.
    """

    wwid: str
    name: str
    paths: tuple[str, ...] = ()
    block_name: str = ""
    volumes: tuple[str, ...] = ()


class LunList(NamedTuple):
    """All LUNs at one moment. group: UUID of the volume group, "" for ``devices``. seqno: of its metadata, which each
    change of the group counts up. volumes: UUIDs of all physical volumes that the metadata names. missing: as in
    fencer.storage.lun.SharedLuns."""

    luns: tuple[FoundLun, ...]
    group: str = ""
    seqno: int = 0
    volumes: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()


class Agreement(NamedTuple):
    """The result of a new list. watched: the LUNs to watch now. reasons: what was not taken over, and what to do."""

    watched: LunList
    reasons: tuple[str, ...] = ()


def agree(watched: LunList, found: LunList) -> Agreement:
    """The LUNs to watch after a new list. The list is complete: no physical volume is missing.

    Only newer metadata change anything. A LUN whose physical volumes they no longer name is no longer watched; one
    that only vanished still is. A new LUN is watched as soon as it is named. Of an array that a physical volume lies
    on a member may be missing (found.missing); its LUN is watched when it is found, whatever the metadata.
    """
    if found.group != watched.group:
        return Agreement(watched, ("LUNs: the volume group has been made anew: restart halvm-watchdogd",))
    if found.seqno < watched.seqno:
        return Agreement(watched, ("LUNs: LVM read older metadata than before: see pvs and vgck",))
    newer = found.seqno > watched.seqno
    before, named = {lun.wwid for lun in watched.luns}, {lun.wwid for lun in found.luns}
    kept = tuple(lun for lun in watched.luns if lun.wwid not in named and not (newer and _is_dropped(lun, found)))
    taken = tuple(lun for lun in found.luns if newer or watched.missing or lun.wwid in before)
    vanished = tuple(
        f"{lun.name}: not found below the volume group, whose metadata name it as before: it stays required"
        for lun in kept
    )
    unknown = tuple(
        f"{lun.name}: found below the volume group, whose metadata are no newer: it is not watched: see pvs and vgck"
        for lun in found.luns
        if lun not in taken
    )
    luns = tuple(sorted((*taken, *kept), key=lambda lun: lun.wwid))
    return Agreement(found._replace(luns=luns), missing_reasons(found) + vanished + unknown)


def missing_reasons(found: LunList) -> tuple[str, ...]:
    """Why there may be more LUNs than this list has."""
    return tuple(f"LUNs: {text}" for text in found.missing)


def _is_dropped(lun: FoundLun, found: LunList) -> bool:
    return bool(lun.volumes) and found.volumes.isdisjoint(lun.volumes)
