# SPDX-License-Identifier: Apache-2.0
"""This node's block devices, by sysfs and udev's database.

sysfs is the kernel's word and is there without udevd; udev's database is asked only where sysfs does not say. Paths are
plain text: pathlib is slow to load.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping

from fencer._typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyudev

_PROPERTIES = ("DM_UUID", "DM_NAME", "ID_WWN_WITH_EXTENSION", "ID_SERIAL")
_PAGE_BYTES = 4096  # the most that an attribute of sysfs holds


class KernelDevice(NamedTuple):
    """A device as the kernel knows it. name: ``sdb``; node: ``/dev/sdb``; properties: those we use."""

    name: str
    subsystem: str
    node: str
    sys_path: str
    properties: Mapping[str, str]


class BlockDevices(Protocol):
    """Finds devices of this node."""

    def from_device_file(self, path: str) -> KernelDevice:
        """Follows symbolic links. Raises OSError: ENOENT, ENOTBLK for what is no device file, ENODEV for a dead one."""

    def from_name(self, name: str) -> KernelDevice | None:
        """The block device of that kernel name, or None."""

    def all(self) -> Iterator[KernelDevice]:
        """All block devices, partitions included."""


def read_attribute(path: str) -> str:
    """A sysfs attribute, or nothing: attributes come and go, and reading one may fail with any errno."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, _PAGE_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def listing(path: str) -> list[str]:
    """The names in a directory, sorted; empty where it does not exist."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def subsystem_of(sys_path: str) -> str:
    """The subsystem of a sysfs directory: ``block``, ``scsi``; "" where there is none."""
    try:
        return os.path.basename(os.readlink(f"{sys_path}/subsystem"))
    except OSError:
        return ""


def is_running(node: str) -> bool:
    """Whether the kernel holds a disk's path for usable (``running``); also where it does not say. node: /dev/sdX.

    Blocked, offline and transport-offline paths answer late or never. No I/O.
    """
    name = node.rpartition("/")[2]
    kind = "scsi_generic" if name.startswith("sg") else "block"
    return read_attribute(f"/sys/class/{kind}/{name}/device/state") in ("running", "")


class UdevDevices:
    """BlockDevices by sysfs. libudev is asked only for properties, and only when one is read: loading pyudev
    costs a fence more than its lookups do. Without libudev there are no properties.

    asks_udev: False in a process that may not load anything: there are no properties."""

    def __init__(self, *, asks_udev: bool = True) -> None:
        self._asks_udev = asks_udev
        self._context: pyudev.Context | None = None

    def from_device_file(self, path: str) -> KernelDevice:
        status = os.stat(path)  # the text is the operator's; Path would normalise it
        if not (stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode)):
            raise OSError(errno.ENOTBLK, os.strerror(errno.ENOTBLK), path)
        kind = "block" if stat.S_ISBLK(status.st_mode) else "char"
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        device = self._kernel_device(f"/sys/dev/{kind}/{number}")
        if device is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), path)
        return device

    def from_name(self, name: str) -> KernelDevice | None:
        # The kernel writes "/" of a device's name as "!" in sysfs: cciss!c0d0.
        return self._kernel_device("/sys/class/block/" + name.replace("/", "!")) if name else None

    def all(self) -> Iterator[KernelDevice]:
        found = (self.from_name(name) for name in listing("/sys/class/block"))
        return (device for device in found if device is not None)

    def _kernel_device(self, link: str) -> KernelDevice | None:
        """The device that a link of sysfs stands for, None when there is none."""
        try:
            target = os.readlink(link)
        except OSError:
            return None
        sys_path = os.path.normpath(f"{link}/../{target}")
        name = os.path.basename(sys_path).replace("!", "/")
        subsystem = subsystem_of(sys_path)
        return KernelDevice(name, subsystem, f"/dev/{name}", sys_path, _UdevProperties(self, sys_path))

    def udev_property(self, sys_path: str, name: str) -> str:
        """One property out of udev's database, "" where there is none."""
        if not self._asks_udev:
            return ""
        try:
            import pyudev
        except (ImportError, OSError):  # OSError: no libudev
            return ""
        try:
            self._context = self._context or pyudev.Context()
            return pyudev.Devices.from_sys_path(self._context, sys_path).properties.get(name) or ""
        except (pyudev.DeviceNotFoundError, OSError):
            return ""
        except UnicodeDecodeError:  # pyudev decodes strictly, and some of it is what a disk says of itself
            return ""


class _UdevProperties(Mapping[str, str]):
    """The properties of a device that are in _PROPERTIES. Each is read when it is first used."""

    __slots__ = ("_devices", "_sys_path")

    def __init__(self, devices: UdevDevices, sys_path: str) -> None:
        self._devices = devices
        self._sys_path = sys_path

    def __getitem__(self, name: str) -> str:
        if name in _PROPERTIES and (value := self._devices.udev_property(self._sys_path, name)):
            return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in _PROPERTIES if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
