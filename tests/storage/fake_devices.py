# SPDX-License-Identifier: Apache-2.0
"""A node's block devices, made up below a directory."""

import errno
import itertools
from pathlib import Path

from fencer.storage.block_devices import KernelDevice
from fencer.storage.lun import Lun, find_luns

WWID_A = "naa.60014050000000000000000000000001"
WWID_B = "naa.60014050000000000000000000000002"
HEX_A = WWID_A.removeprefix("naa.")


class FakeDevices:
    """A node's devices: a sysfs tree with the kernel's layout below a directory, and the links of /dev in a dict."""

    def __init__(self, root: Path) -> None:
        self.sys = root / "sys"
        self.links: dict[str, str] = {}
        self.devices: dict[str, KernelDevice] = {}
        self.numbers = itertools.count()
        for bus in ("scsi", "virtio", "nvme"):
            (self.sys / "bus" / bus).mkdir(parents=True)

    def from_device_file(self, path: str) -> KernelDevice:
        if "\0" in path:
            raise ValueError("embedded null byte")
        name = self.links.get(path, path.removeprefix("/dev/"))
        if name == "file":
            raise OSError(errno.ENOTBLK, "Block device required")
        if name == "dead":
            raise OSError(errno.ENODEV, "No such device")
        if name not in self.devices:
            raise OSError(errno.ENOENT, "No such file or directory")
        return self.devices[name]

    def from_name(self, name):
        device = self.devices.get(name)
        return device if device and device.subsystem == "block" else None

    def all(self):
        return iter([device for device in self.devices.values() if device.subsystem == "block"])

    def _add(self, name, sys_path, subsystem="block", **properties):
        sys_path.mkdir(parents=True, exist_ok=True)
        for directory in ("holders", "slaves"):
            (sys_path / directory).mkdir(exist_ok=True)
        self.devices[name] = KernelDevice(name, subsystem, f"/dev/{name}", sys_path, properties)

    def disk(self, name, wwid=WWID_A, *, bus="scsi", scsi_type="0", sg=None, bound=True, **properties):
        unit = self.sys / "devices" / f"unit{next(self.numbers)}"
        unit.mkdir(parents=True)
        (unit / "subsystem").symlink_to(self.sys / "bus" / bus)
        (unit / "type").write_text(f"{scsi_type}\n")
        if wwid:
            (unit / "wwid").write_text(f"{wwid}\n")
        if bound:
            self._add(name, unit / "block" / name, **properties)
            (unit / "block" / name / "device").symlink_to(unit)
        if sg:
            self._add(sg, unit / "scsi_generic" / sg, subsystem="scsi_generic")
            (unit / "scsi_generic" / sg / "device").symlink_to(unit)

    def partition(self, disk, name):
        self._add(name, self.devices[disk].sys_path / name)
        (self.devices[name].sys_path / "partition").write_text("1\n")

    def mapped(self, name, dm_name, uuid, *below, in_sysfs=True):
        path = self.sys / "devices" / "virtual" / "block" / name
        self._add(name, path, **({} if in_sysfs else {"DM_UUID": uuid, "DM_NAME": dm_name}))
        (path / "dm").mkdir()
        if in_sysfs:
            (path / "dm" / "uuid").write_text(f"{uuid}\n")
            (path / "dm" / "name").write_text(f"{dm_name}\n")
        self.links[f"/dev/mapper/{dm_name}"] = name
        self.stack(name, *below)

    def array(self, name, *members, slots=None):
        """An md array. slots: how many it has; None: as many as members."""
        if name not in self.devices:
            self._add(name, self.sys / "devices" / "virtual" / "block" / name)
        path = self.devices[name].sys_path / "md"
        path.mkdir(exist_ok=True)
        (path / "raid_disks").write_text(f"{len(members) if slots is None else slots}\n")
        for slot, member in enumerate(members):
            (path / f"dev-{member}").mkdir()
            (path / f"dev-{member}" / "slot").write_text(f"{slot}\n")
        self.stack(name, *members)

    def stack(self, name, *below):
        for lower in below:
            (self.devices[name].sys_path / "slaves" / lower).symlink_to(self.devices[lower].sys_path)
            (self.devices[lower].sys_path / "holders" / name).symlink_to(self.devices[name].sys_path)


def two_luns(root: Path) -> FakeDevices:
    """LUN A at sdb (sg1); LUN B behind multipath map mpathb over sdc and sdd."""
    devices = FakeDevices(root)
    devices.disk("sdb", WWID_A, sg="sg1")
    devices.disk("sdc", WWID_B, sg="sg2")
    devices.disk("sdd", WWID_B, sg="sg3")
    devices.mapped("dm-0", "mpathb", "mpath-36001405", "sdc", "sdd")
    return devices


def one(node: FakeDevices, entry: str) -> Lun:
    """The only LUN that an entry of devices names."""
    (lun,) = find_luns([entry], node).luns
    return lun
