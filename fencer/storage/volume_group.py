# SPDX-License-Identifier: Apache-2.0
"""Reads the physical volumes of a volume group by LVM's ``pvs``. Writes, activates and locks nothing."""

from collections.abc import Callable, Sequence

from fencer import json_text
from fencer._typing import TYPE_CHECKING, NamedTuple
from fencer.child_program import Done, run_without_waiting
from fencer.errors import StorageError, UsageError

if TYPE_CHECKING:
    from fencer.storage.block_devices import BlockDevices

# lvm(8) VALID NAMES; 127 is NAME_LEN - 1.
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_.-")
_NAME_CHARS = 127

# --readonly: on-disk metadata without locks and without device-mapper: works while another host has the group active.
# --foreign, --shared: also groups that another host's system ID or lvmlockd owns: the one we fence has it.
# --nohints: hints are a cache that another host's vgextend does not refresh.
# --all: also a copy of a physical volume (an array's snapshot), which LVM else leaves out and names in a warning only.
# The configuration keeps pvs from repairing metadata and from writing a backup of it below /etc/lvm; and it makes the
# report what is read here, whatever the site's lvm.conf says (lvm.conf(5), sections report and log).
REPORT_CONFIGURATION = (
    "global/metadata_read_only=1 backup{backup=0 archive=0} "
    'report{compact_output=0 compact_output_cols="" buffered=1 headings=1 prefixes=0 quoted=1 columns_as_rows=0 '
    "binary_values_as_numeric=0 two_word_unknown_device=0} "
    'log{report_command_log=0 verbose=0 silent=0 command_names=0 prefix="" indent=0}'
)
_PVS = (
    "pvs",
    "--readonly",
    "--nolocking",
    "--foreign",
    "--shared",
    "--nohints",
    "--all",
    "--noheadings",
    "--reportformat",
    "json",
    "--config",
    REPORT_CONFIGURATION,
    "-o",
    "pv_name,pv_uuid,pv_missing,pv_duplicate,vg_name,vg_uuid,vg_seqno,pv_count",
)

BY_HAND = "run pvs by hand on this node and correct what it complains of, or give devices="
HELD_UP = "mend the disk that holds up pvs, or give devices="
NO_COPY = "take the copy away from this node, or rename it (vgimportclone), or give devices="


class VolumeGroup(NamedTuple):
    """A volume group by its metadata.

    seqno: counted up by each change of the metadata, 0 where pvs did not say. volumes: name and UUID of each
    physical volume, sorted.
    """

    uuid: str
    seqno: int
    volumes: tuple[tuple[str, str], ...]


Run = Callable[[Sequence[str], float], Done]


def physical_volumes(vg_name: str, *, run: Run | None = None, timeout_s: float) -> tuple[str, ...]:
    """Device names of all physical volumes of a volume group, sorted: ``/dev/sdb``, ``/dev/mapper/mpatha``.

    As read_volume_group.
    """
    return tuple(name for name, _ in read_volume_group(vg_name, run=run, timeout_s=timeout_s).volumes)


def read_volume_group(
    vg_name: str, *, run: Run | None = None, timeout_s: float, devices: "BlockDevices | None" = None
) -> VolumeGroup:
    """A volume group as its metadata on the disks name it.

    Works wherever the disks are visible: the group may be owned by another host's system ID, exported, or active
    elsewhere. The answer is complete or an error: a group of which one disk is not seen cannot be isolated completely.
    Nor can one of which a disk is seen twice, on two LUNs: LVM chooses one by its name or size, and each node its own.

    run: takes argv and seconds; raises TimeoutError, or FileNotFoundError when there is no pvs. devices: where a second
    disk is looked up; None: this node's.

    Raises UsageError for a bad or unknown name, two groups of that name, or no LVM; StorageError when a physical volume
    is missing or on two LUNs, or pvs fails or does not answer in time.
    """
    if not _is_name(vg_name):
        raise UsageError(f"vg: {vg_name[:140]!r} is not a volume group name: give the name that vgs shows")
    try:
        done = (run or run_without_waiting)(_PVS, timeout_s)
    except FileNotFoundError as error:
        raise UsageError(
            "vg: there is no pvs on this node: install the package lvm2, or give devices= instead"
        ) from error
    except TimeoutError as error:
        raise StorageError(f"volume group {vg_name}: pvs: no answer within {timeout_s:g} s", HELD_UP) from error
    except OSError as error:
        raise StorageError(f"volume group {vg_name}: pvs: {error.strerror}", BY_HAND) from error

    shown = _rows(done.stdout, vg_name, done)
    rows = [row for row in shown if row.get("vg_name") == vg_name and not row.get("pv_duplicate")]
    if not rows and done.returncode != 0:
        reason = f"volume group {vg_name}: pvs: exit status {done.returncode}: {_last_line(done.stderr)}"
        raise StorageError(reason, BY_HAND)
    if not rows:
        raise UsageError(
            f"vg: no physical volume of volume group {vg_name} is visible on this node: "
            "correct the name, or connect the storage and check filters in lvm.conf and lvmdevices"
        )
    if len({row.get("vg_uuid") for row in rows}) > 1:
        raise UsageError(
            f"vg: this node sees two volume groups named {vg_name}: rename one with vgrename UUID, or give devices="
        )
    for row in rows:
        # A missing one is called [unknown], or [unknown device] by old versions.
        if row.get("pv_missing") or not row.get("pv_name", "").startswith("/"):
            raise StorageError(
                f"volume group {vg_name}: physical volume {row.get('pv_uuid')} is missing on this node, "
                "so the group cannot be isolated completely",
                "connect it, or take it out of the group (vgreduce --removemissing)",
            )
    # pvs also fails for the sake of another, broken group. What counts is whether the answer for this one is whole.
    if any(row.get("pv_count") != str(len(rows)) for row in rows):
        raise StorageError(
            f"volume group {vg_name}: pvs shows {len(rows)} of {rows[0].get('pv_count')} physical volumes: "
            f"{_last_line(done.stderr)}",
            BY_HAND,
        )
    names = {row.get("pv_uuid"): row["pv_name"] for row in rows}
    for row in shown:  # the group's name on a copy may be one of earlier
        if row.get("pv_duplicate") and (name := names.get(row.get("pv_uuid"))) is not None:
            _refuse_copy(vg_name, name, row.get("pv_name", ""), devices)
    seqno = rows[0].get("vg_seqno", "")
    volumes = sorted((row["pv_name"], row.get("pv_uuid", "")) for row in rows)
    return VolumeGroup(rows[0].get("vg_uuid", ""), int(seqno) if seqno.isdecimal() else 0, tuple(volumes))


def _refuse_copy(vg_name: str, name: str, second: str, devices: "BlockDevices | None") -> None:
    """Raises StorageError unless second leads to the LUN of name: then it is a path of it without multipath, say."""
    from fencer.storage.block_devices import UdevDevices  # only where there is a second one
    from fencer.storage.lun import find_luns

    devices = devices or UdevDevices()
    try:
        of_name, of_second = (
            {lun.wwid for lun in find_luns((), devices, physical_volumes=(each,)).luns} for each in (name, second)
        )
        other = not of_second or bool(of_second - of_name)
    except (UsageError, StorageError):
        other = True
    if other:
        raise StorageError(
            f"volume group {vg_name}: physical volume {name} is on another LUN, too: {second} (an array's snapshot?): "
            "LVM chooses one of them, on another node perhaps the other one",
            NO_COPY,
        )


def _is_name(text: str) -> bool:
    return (
        0 < len(text) <= _NAME_CHARS
        and _NAME_CHARACTERS.issuperset(text)
        and not text.startswith("-")
        and text not in {".", ".."}
    )


def _rows(report: str, vg_name: str, done: Done) -> list[dict[str, str]]:
    """The rows of ``{"report": [{"pv": [{...}]}]}`` (lvmreport(7)), values as text."""
    if not report.strip():
        return []
    try:
        # strict=False: a control character in some other group's tag is none of our business.
        rows = [row for part in json_text.loads(report, strict=False)["report"] for row in part.get("pv", ())]
        return [{str(name): str(value) for name, value in row.items()} for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(
            f"volume group {vg_name}: pvs: its report does not decode (exit status {done.returncode}): "
            f"{_last_line(done.stderr)}",
            BY_HAND,
        ) from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
