# SPDX-License-Identifier: Apache-2.0
"""``vgs`` and ``lvs``: the volume groups, who owns them, and what of them is active on this node. Pure."""

import json
from typing import Final, NamedTuple

from fencer.storage.volume_group import REPORT_CONFIGURATION

# Without locks, groups of other hosts too, whatever lvm.conf says of reports: as fencer.storage.volume_group.
_OPTIONS: Final = (
    "--readonly", "--nolocking", "--foreign", "--shared", "--nohints", "--reportformat", "json",
    "--config", REPORT_CONFIGURATION,
)  # fmt: skip
VGS: Final = ("vgs", *_OPTIONS, "-o", "vg_name,vg_systemid,vg_lock_type,vg_autoactivation,vg_attr")
VGS_BEFORE_2_03_12: Final = ("vgs", *_OPTIONS, "-o", "vg_name,vg_systemid,vg_lock_type,vg_attr")
"""For an LVM that has no property autoactivation, and refuses to be asked for it."""
LVS: Final = ("lvs", *_OPTIONS, "-o", "vg_name,lv_name,lv_dm_path,lv_attr")


class LvmGroup(NamedTuple):
    """A volume group. system_id: the host that owns it, "" for none. lock_type: ``dlm``, ``sanlock``, ``none`` or "".
    autoactivation: None where this LVM knows no such property (before 2.03.12). clustered: clvmd's old flag."""

    name: str
    system_id: str
    lock_type: str
    autoactivation: bool | None
    clustered: bool


class LogicalVolume(NamedTuple):
    """dm_path: ``/dev/mapper/NAME``; it exists while the volume is active on this node (--readonly asks no kernel)."""

    group: str
    name: str
    dm_path: str


def parse_vgs(text: str) -> tuple[LvmGroup, ...]:
    """Raises ValueError where the text is not what vgs prints."""
    return tuple(
        LvmGroup(
            row["vg_name"],
            row.get("vg_systemid", ""),
            row.get("vg_lock_type", ""),
            {"enabled": True, "1": True, "": False, "0": False}.get(row["vg_autoactivation"])
            if "vg_autoactivation" in row
            else None,
            row.get("vg_attr", "").endswith("c"),
        )
        for row in _rows(text, "vg", "vg_name")
    )


def parse_lvs(text: str) -> tuple[LogicalVolume, ...]:
    """Raises ValueError where the text is not what lvs prints."""
    return tuple(
        LogicalVolume(row["vg_name"], row["lv_name"].strip("[]"), row.get("lv_dm_path", ""))
        for row in _rows(text, "lv", "vg_name", "lv_name")
    )


def _rows(text: str, kind: str, *named: str) -> list[dict[str, str]]:
    """The rows of ``{"report": [{"vg": [{...}]}]}`` (lvmreport(7)), values as text. named: what each row has."""
    try:
        found = [row for part in json.loads(text, strict=False)["report"] for row in part.get(kind, ())]
        rows = [{str(name): str(value) for name, value in row.items()} for row in found]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{kind}s: not a report: {error}") from error
    if missing := [name for name in named for row in rows if name not in row]:
        raise ValueError(f"{kind}s: a row without {missing[0]}")
    return rows
