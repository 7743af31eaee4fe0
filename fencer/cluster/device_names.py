# SPDX-License-Identifier: Apache-2.0
"""Logical volumes by the names of their device files (lvm(8), VALID NAMES; dm names double each hyphen). Pure."""

from collections.abc import Collection


def logical_volume_of(device: str, groups: Collection[str] = ()) -> tuple[str, str] | None:
    """Volume group and logical volume of ``/dev/VG/LV`` or ``/dev/mapper/VG-LV``; None for any other device file.

    groups: names of known groups. A /dev/mapper name that can be read in no known group is read by its first single
    hyphen.
    """
    parts = device.strip().split("/")
    if len(parts) != 4 or parts[:2] != ["", "dev"] or not parts[3]:
        return None
    if parts[2] != "mapper":
        return None if parts[2] in _NOT_GROUPS else (parts[2], parts[3])
    name = parts[3]
    for group in groups:
        head = group.replace("-", "--") + "-"
        if name.startswith(head) and not name.startswith(head + "-"):
            return group, name.removeprefix(head).replace("--", "-")
    single = name.replace("--", "\0").partition("-")
    if not single[1]:
        return None  # a multipath map, say
    return single[0].replace("\0", "-"), single[2].replace("\0", "-")


_NOT_GROUPS = frozenset({"disk", "block", "md", "zvol", "drbd", "vd", "nbd"})
"""Directories below /dev that hold other device files."""
