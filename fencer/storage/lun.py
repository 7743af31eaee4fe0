# SPDX-License-Identifier: Apache-2.0
"""Finds the LUNs that an operator named: WWID, multipath map, and every path of this node to them.

Everything here reads sysfs and udev's database and never a disk. Paths are plain text: pathlib is slow to load.
"""

import errno
import os
from collections.abc import Iterable

from fencer._typing import NamedTuple
from fencer.errors import StorageError, UsageError
from fencer.storage.block_devices import BlockDevices, KernelDevice, listing, read_attribute, subsystem_of
from fencer.storage.lun_names import BY_ID, wwid_from_name

ISCSI_PREFIX = "iscsi://"
# Peripheral device types (SPC-4 table 141) that take reservations as disks do: 00h direct access, 0Eh simplified.
_DISK_TYPES = frozenset({"0", "14"})
_NO_SCSI_REMEDY = "give a shared SCSI disk, or leave devices out, so that power alone fences"


class Lun(NamedTuple):
    """One shared logical unit and how this node reaches it.

    wwid: as sysfs writes it, the same on all nodes: ``naa.6001405…``.
    name: what the operator wrote, for messages and to tell observations apart, hence no other LUN's (see find_luns).
    paths: device files, one an I_T nexus (``/dev/sdX``; ``/dev/sgN`` where no disk driver is bound).
    multipath: ``/dev/mapper/NAME`` of the map over these paths, or None.
    block_name: kernel name of what is to be read and mounted (``dm-3``, ``sdb``), empty where no disk driver is bound.
    """

    wwid: str
    name: str
    paths: tuple[str, ...]
    multipath: str | None
    block_name: str

    def __str__(self) -> str:
        return self.name


class SharedLuns(NamedTuple):
    """The LUNs of one call, sorted by WWID, so that every node arbitrates on the same first one.

    iscsi: ``iscsi://portal/iqn/lun`` entries, untouched, in the order written; they have no device on this node.
    missing: one sentence for each thing that a physical volume lies on and whose LUN is not known: an array's member,
    a disk that has gone.
    """

    luns: tuple[Lun, ...]
    iscsi: tuple[str, ...]
    missing: tuple[str, ...] = ()


def find_luns(
    entries: Iterable[str],
    devices: BlockDevices,
    *,
    physical_volumes: Iterable[str] = (),
    no_scsi_remedy: str = _NO_SCSI_REMEDY,
) -> SharedLuns:
    """Looks up the entries of option ``devices`` and the physical volumes of option ``vg``.

    An entry is a disk or multipath map by any of its device files (``/dev/sdX``, ``/dev/sgN``, ``/dev/mapper/mpathX``,
    ``/dev/dm-N``, links below ``/dev/disk``), a bare WWID (``naa.…``, ``wwn-0x…``, ``3600…``), or an iSCSI URL; an
    operator may not use all of them (fencer.storage.lun_names). A disk that is a path of a multipath map stands for
    the whole map: a path left out would be one that cannot write. A physical volume may also be a partition, or lie
    on md, crypt or other mapped devices: the LUNs below are meant, and where they are several each is named with one
    of its paths, too: ``/dev/md0 (sdb)``.

    no_scsi_remedy: for messages, what to do about a disk that knows no reservations.

    Raises UsageError for what is missing here, is no whole SCSI disk, or is given twice; StorageError for a map
    without any path.
    """
    found: dict[str, Lun] = {}
    iscsi: list[str] = []
    missing: list[str] = []
    for entry in (text.strip() for text in entries):
        if entry.startswith(ISCSI_PREFIX):
            if entry in iscsi:
                raise UsageError(f"devices: {entry} is given twice: give it once")
            iscsi.append(entry)
        elif entry:
            lun = _Lookup(devices, "devices", entry, no_scsi_remedy).lun()
            if twin := found.get(lun.wwid):
                raise UsageError(
                    f"devices: {twin.name} and {entry} are the same LUN {lun.wwid}: "
                    "give it once, by its multipath map or its WWID if it has more than one path"
                )
            found[lun.wwid] = lun
    for volume in physical_volumes:
        for lun in _Lookup(devices, "vg", volume, no_scsi_remedy).luns_below(missing):
            twin = found.setdefault(lun.wwid, lun)
            if twin.paths != lun.paths:
                raise UsageError(
                    f"vg: {twin.name} and {volume} are the same LUN {lun.wwid} by different paths: "
                    "set up multipath for it"
                )
    return SharedLuns(_told_apart([found[wwid] for wwid in sorted(found)]), tuple(iscsi), tuple(missing))


def _told_apart(luns: list[Lun]) -> tuple[Lun, ...]:
    """The same LUNs, each with a name that no other has: with one of its paths where that is enough, else its WWID."""
    names = [lun.name for lun in luns]
    if len(set(names)) == len(names):
        return tuple(luns)
    with_path = [f"{lun.name} ({lun.paths[0].rpartition('/')[2]})" if lun.paths else lun.name for lun in luns]
    taken = names + with_path
    return tuple(
        lun
        if names.count(lun.name) == 1
        else lun._replace(name=longer if taken.count(longer) == 1 else f"{lun.name} ({lun.wwid})")
        for lun, longer in zip(luns, with_path, strict=True)
    )


def holders_active(lun: Lun, devices: BlockDevices) -> bool:
    """Whether a logical volume on this LUN is active on this node, which makes it the node that does the work.

    Follows sysfs ``holders`` up from the disk or map and its partitions to a device-mapper UUID of LVM.
    """
    names = [lun.block_name, *(path.rpartition("/")[2] for path in lun.paths)]
    seen: set[str] = set()
    while names:
        name = names.pop()
        device = devices.from_name(name) if name and name not in seen else None
        seen.add(name)
        if device is None:
            continue
        if _dm_uuid(device).startswith("LVM-"):
            return True
        names += listing(f"{device.sys_path}/holders")
        names += [
            child
            for child in listing(device.sys_path)
            if child.startswith(name) and os.path.exists(f"{device.sys_path}/{child}/partition")
        ]
    return False


class _Lookup(NamedTuple):
    """One entry being looked up. option, entry and no_scsi_remedy are for messages."""

    devices: BlockDevices
    option: str
    entry: str
    no_scsi_remedy: str

    def lun(self) -> Lun:
        """The LUN that an entry of ``devices`` names. Only whole disks and multipath maps are valid."""
        device = self._device()
        if device is None:
            return self._lun_by_wwid()
        if _is_partition(device):
            raise self._wrong("is a partition: give the whole disk")
        uuid = _dm_uuid(device)
        if uuid.startswith("LVM-"):
            raise self._wrong("is a logical volume: give vg= or the disk")
        if uuid.startswith("part") and uuid[4:].partition("-")[0].isdigit():
            raise self._wrong("is a partition: give the whole disk")
        if _is_stacked(device) and not uuid.startswith("mpath-"):
            raise self._wrong("is a mapped device, not a disk: give the SCSI disk below it")
        return self._disk(device)

    def luns_below(self, missing: list[str]) -> tuple[Lun, ...]:
        """All LUNs that a physical volume lies on. Adds to missing: see SharedLuns."""
        device = self._device()
        if device is None:
            return (self._lun_by_wwid(),)
        luns: dict[str, Lun] = {}
        pending, seen = [device], set()
        while pending:
            device = pending.pop()
            if device.name in seen:
                continue
            seen.add(device.name)
            if _is_partition(device):
                pending += self._below([os.path.basename(os.path.dirname(os.path.realpath(device.sys_path)))], missing)
            elif _is_stacked(device) and not _dm_uuid(device).startswith("mpath-"):
                names = {*listing(f"{device.sys_path}/slaves"), *_members(device)}
                if not names:
                    raise self._wrong("lies on no disk: " + self.no_scsi_remedy)
                if lacking := _members_lacking(device):
                    missing.append(
                        f"{self.entry}: array {device.name} lacks {lacking} of its members, so that not all LUNs below "
                        "it are known: add them (mdadm --re-add), or take them out for good (mdadm --grow)"
                    )
                pending += self._below(sorted(names), missing)
            else:
                lun = self._disk(device)
                luns[lun.wwid] = lun
        if not luns:
            raise StorageError(f"{self.entry}: no disk on which it lies is on this node", "connect the storage")
        return tuple(luns.values())

    def _below(self, names: Iterable[str], missing: list[str]) -> list[KernelDevice]:
        """The devices of these names. One that has gone leads to a LUN that is not known: md may hold it as a member,
        until it next uses it."""
        found = []
        for name in names:
            if (device := self.devices.from_name(name)) is not None:
                found.append(device)
            else:
                missing.append(
                    f"{self.entry}: {name}, on which it lies, has gone from this node, so that not all LUNs below it "
                    "are known: connect it, or take it out for good"
                )
        return found

    def _device(self) -> KernelDevice | None:
        """What the entry names; None when it is no path, or a link by WWID that udevd has not made."""
        if not self.entry.startswith("/"):
            return None
        try:
            return self.devices.from_device_file(self.entry)
        except ValueError as error:
            raise self._wrong("is not a path: correct it") from error
        except OSError as error:
            if error.errno == errno.ENOENT and wwid_from_name(self.entry.removeprefix(BY_ID)):
                return None
            if error.errno == errno.ENOENT:
                raise self._wrong("does not exist on this node: connect the storage, or correct the name") from error
            if error.errno == errno.ENOTBLK:
                raise self._wrong("is not a block device: " + self.no_scsi_remedy) from error
            raise self._wrong(f"cannot be looked up ({error.strerror}): connect the storage, or correct it") from error

    def _lun_by_wwid(self) -> Lun:
        wwid = wwid_from_name(self.entry.removeprefix(BY_ID))
        if wwid is None:
            raise self._wrong("is neither a path nor a WWID: give /dev/..., naa.HEX, wwn-0xHEX or iscsi://...")
        disks = [device for device in self.devices.all() if _is_scsi_disk(device) and _is_of(device, wwid)]
        if not disks:
            raise self._wrong("is not visible on this node: connect the storage, or correct the WWID")
        for disk in disks:
            if (multipath := self._map_over(disk)) is not None:
                return self._multipath(multipath)
        return self._plain(disks)

    def _disk(self, device: KernelDevice) -> Lun:
        """The LUN of a multipath map, a disk, or a SCSI generic device."""
        if _dm_uuid(device).startswith("mpath-"):
            return self._multipath(device)
        if device.subsystem == "scsi_generic":
            bound = self._named(listing(f"{device.sys_path}/device/block"))
            if bound:
                device = bound[0]
        elif device.subsystem != "block":
            raise self._wrong("is not a block device: " + self.no_scsi_remedy)
        if not _is_scsi_disk(device):
            raise self._wrong("is not a SCSI disk: " + self.no_scsi_remedy)
        multipath = self._map_over(device)
        return self._plain([device]) if multipath is None else self._multipath(multipath)

    def _plain(self, disks: list[KernelDevice]) -> Lun:
        disks = sorted(disks, key=_natural)
        block_name = disks[0].name if disks[0].subsystem == "block" else ""
        return Lun(self._wwid(disks), self.entry, tuple(disk.node for disk in disks), None, block_name)

    def _multipath(self, device: KernelDevice) -> Lun:
        slaves = sorted(self._named(listing(f"{device.sys_path}/slaves")), key=_natural)
        if not slaves:
            raise StorageError(
                f"{self.entry}: multipath map {device.name} has no path on this node", "mend its paths, then call again"
            )
        if not all(_is_scsi_disk(slave) for slave in slaves):
            raise self._wrong("is a multipath map over other than SCSI disks: " + self.no_scsi_remedy)
        name = read_attribute(f"{device.sys_path}/dm/name") or device.properties.get("DM_NAME", "")
        node = f"/dev/mapper/{name}" if name else device.node
        return Lun(self._wwid(slaves), self.entry, tuple(slave.node for slave in slaves), node, device.name)

    def _wwid(self, paths: list[KernelDevice]) -> str:
        """The one WWID of all paths. Raises UsageError where paths have different WWIDs."""
        wwids = {path.node: _wwid(path) for path in paths}
        known = sorted({wwid for wwid in wwids.values() if wwid})
        if len(known) > 1:
            listed = ", ".join(f"{node} {wwid}" for node, wwid in wwids.items())
            raise self._wrong(f"has paths to different LUNs ({listed}): correct the multipath configuration")
        if not known:
            raise self._wrong("has no WWID, so nodes cannot agree on it: give the LUN a serial number at the target")
        return known[0]

    def _map_over(self, disk: KernelDevice) -> KernelDevice | None:
        for holder in self._named(listing(f"{disk.sys_path}/holders")):
            if _dm_uuid(holder).startswith("mpath-"):
                return holder
        return None

    def _named(self, names: Iterable[str]) -> list[KernelDevice]:
        """The devices that are still there: a path may go away during the lookup."""
        return [device for name in names if (device := self.devices.from_name(name)) is not None]

    def _wrong(self, what_and_remedy: str) -> UsageError:
        shown = "a URL" if "://" in self.entry else self.entry  # which may hold a password
        return UsageError(f"{self.option}: {shown} {what_and_remedy}")


def _natural(device: KernelDevice) -> tuple[int, str]:
    return len(device.name), device.name


def _is_partition(device: KernelDevice) -> bool:
    return device.subsystem == "block" and os.path.exists(f"{device.sys_path}/partition")


def _is_stacked(device: KernelDevice) -> bool:
    """Device-mapper or md. Only these have something below."""
    return any(os.path.isdir(f"{device.sys_path}/{kind}") for kind in ("dm", "md"))


def _members(device: KernelDevice) -> list[str]:
    """The members of an md array, by kernel name: ``md/dev-sdb`` (md(4)). md goes on where it cannot make the links in
    ``slaves``."""
    return [name.removeprefix("dev-") for name in listing(f"{device.sys_path}/md") if name.startswith("dev-")]


def _members_lacking(device: KernelDevice) -> str:
    """How many slots of an md array have no member; "" for none, and where the device is no array.

    By the members' ``slot``, not by ``md/degraded``: that also counts a member that is only being rebuilt, and levels
    without redundancy have none. ``md/raid_disks`` shows two numbers while the array is being reshaped: ``3 (2)``.
    """
    array = f"{device.sys_path}/md"
    if not os.path.isdir(array):
        return ""
    numbers = [text.strip("()") for text in read_attribute(f"{array}/raid_disks").split()]
    if not numbers or not all(number.isdecimal() for number in numbers):
        return "an unknown number"
    slots = set(map(str, range(max(map(int, numbers)))))
    lacking = slots - {read_attribute(f"{array}/dev-{name}/slot") for name in _members(device)}
    return str(len(lacking)) if lacking else ""


def _is_scsi_disk(device: KernelDevice) -> bool:
    """Also for a SCSI generic device. Partitions have no ``device``."""
    scsi = f"{device.sys_path}/device"
    return subsystem_of(scsi) == "scsi" and read_attribute(f"{scsi}/type") in _DISK_TYPES


def _dm_uuid(device: KernelDevice) -> str:
    directory = f"{device.sys_path}/dm"
    if not os.path.isdir(directory):
        return ""
    return read_attribute(f"{directory}/uuid") or device.properties.get("DM_UUID", "")


def _wwid(device: KernelDevice) -> str | None:
    """From the kernel's cached VPD page 83h, hence no I/O; where a kernel has none, from what udev once read."""
    if wwid := read_attribute(f"{device.sys_path}/device/wwid"):
        return wwid
    names = (device.properties.get(name, "") for name in ("ID_WWN_WITH_EXTENSION", "ID_SERIAL"))
    return next((known for name in names if (known := wwid_from_name(name))), None)


def _is_of(device: KernelDevice, wwid: str) -> bool:
    """Whether a disk has this WWID. One that sysfs has from a SCSI name string may be in capitals."""
    found = _wwid(device)
    return found is not None and wwid in (found, wwid_from_name(found))
