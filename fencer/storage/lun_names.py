# SPDX-License-Identifier: Apache-2.0
"""The names by which an operator may give a LUN: WWIDs in all their forms, and which names another node may give to
another LUN."""

import os
from collections.abc import Iterable

from fencer._typing import TYPE_CHECKING
from fencer.errors import UsageError

if TYPE_CHECKING:
    from fencer.storage.lun import Lun

BY_ID = "/dev/disk/by-id/"
_BINDINGS = ("/etc/multipath/bindings", "/var/lib/multipath/bindings")  # the second one: RHEL 5
_BINDINGS_CHARS = 1 << 20
_OF_DESIGNATORS = ("wwn-", "scsi-", "dm-uuid-mpath-", "ata-")
_OF_ALIASES = ("scsi-mpath",)  # SLES 11 makes a link of a map's alias
REMEDY = "give the LUN's WWID, or its link /dev/disk/by-id/wwn-... or scsi-..., or vg="
_HEX_DIGITS = frozenset("0123456789abcdef")


def refuse_names_of_one_node(luns: "Iterable[Lun]", bindings: Iterable[str] = _BINDINGS) -> None:
    """Raises UsageError where an entry of ``devices`` is a name that another node may give to another LUN.

    Then one node would be isolated from a LUN that it does not use, and both would win their race.
    bindings: files of this node by which multipathd names maps; with ``alias_prefix`` no name begins with mpath.
    """
    for lun in luns:
        if is_name_of_one_node(lun.name) or _is_bound(lun.name, bindings):
            raise UsageError(
                f"devices: {lun.name} is LUN {lun.wwid} on this node, and may be another LUN on another node: "
                f"give {_name_of_all_nodes(lun.wwid)}"
            )


def is_name_of_one_node(name: str) -> bool:
    """Whether another node may give this name to another LUN: ``/dev/sdb``, ``/dev/mapper/mpatha``. By the text alone.

    The kernel numbers disks and maps as it finds them, and multipathd's mpatha follows a file of the node. Of udev's
    links below /dev/disk only those count that are made of the LUN's own designators: an array may number LUNs for each
    node (by-path), and what is written on a LUN is also on its copy (by-uuid, lvm-pv-uuid).
    """
    directory, _, base = os.path.normpath("/" + name.lstrip("/")).rpartition("/")
    if directory == "/dev":
        return base.rstrip("0123456789") in {"sg", "dm-"} or (base.startswith("sd") and base.isalpha())
    if directory == "/dev/mapper":
        return base.startswith("mpath") and base.isalnum()
    if f"{directory}/" == BY_ID:
        return not base.startswith(_OF_DESIGNATORS) or base.startswith(_OF_ALIASES)
    return directory in {"/dev/block", "/dev/char"} or f"{directory}/".startswith("/dev/disk/")


def _is_bound(name: str, bindings: Iterable[str]) -> bool:
    """Whether multipathd has a map's name from one of these files (multipath.conf(5), user_friendly_names)."""
    directory, _, alias = os.path.normpath(name).rpartition("/")
    if directory != "/dev/mapper":
        return False
    return any(line.split()[:1] == [alias] for file in bindings for line in _lines(file))


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_BINDINGS_CHARS).splitlines()
    except OSError:
        return []


def _name_of_all_nodes(wwid: str) -> str:
    """What ``devices`` accepts for a LUN on every node."""
    return wwid if wwid_from_name(wwid) and not set(" ,").intersection(wwid) else f"its link {BY_ID}scsi-..."


def wwid_from_name(name: str) -> str | None:
    """A WWID in sysfs's form, from the forms of sysfs, udev's links, and scsi_id and multipath; None for anything else.

    scsi_id puts the designator type in front: 3 NAA, 2 EUI-64 (scsi_id(8)).
    """
    if name.startswith("t10."):
        return name
    text = name.lower()
    kind, _, digits = text.partition(".")
    if kind in {"naa", "eui"} and _is_hex(digits, 16, 24, 32):
        return text
    if (digits := text.removeprefix("wwn-")).startswith("0x") and _is_hex(digits[2:], 16, 32):
        return f"naa.{digits[2:]}"
    digits = text.removeprefix("dm-uuid-mpath-" if text.startswith("dm-") else "scsi-")
    if digits[:1] in {"2", "3"} and _is_hex(digits[1:], 16, 32):
        return f"{'naa' if digits[0] == '3' else 'eui'}.{digits[1:]}"
    return None


def _is_hex(text: str, *lengths: int) -> bool:
    return len(text) in lengths and _HEX_DIGITS.issuperset(text)
