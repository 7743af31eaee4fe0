"""Lists the kernel's paths of a LUN by sysfs, and waits for changes. A uevent only says when to look again."""

import functools
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from fencer.errors import UsageError

if TYPE_CHECKING:
    import pyudev

SYS_BLOCK = Path("/sys/block")


class KernelPath(NamedTuple):
    """One SCSI disk. name: ``sdb``. address: ``host:channel:target:lun``. node: its device file.

    identity: another one for each disk that ever had the name.
    """

    name: str
    address: str
    node: str
    identity: int


class PathLister:
    """Lists every path of some LUNs, members of multipath maps and disks that no map has taken up yet included.

    known: WWID to kernel names, as found at the start: for kernels whose sysfs does not show a WWID.
    """

    def __init__(self, known: Mapping[str, Iterable[str]], sys_block: Path = SYS_BLOCK) -> None:
        self._root: Final = sys_block
        self._wwids: Final = frozenset(known)
        self._wwid_of: dict[tuple[str, int], str] = {}
        for wwid, names in known.items():
            for name in names:
                with suppress(OSError):
                    self._wwid_of[name, self._identity(name)] = wwid

    def list(self) -> dict[str, dict[str, KernelPath]]:
        """By WWID and name. A disk's WWID is read once; disks come and go while we look."""
        found: dict[str, dict[str, KernelPath]] = {wwid: {} for wwid in self._wwids}
        wwid_of: dict[tuple[str, int], str] = {}
        for name in sorted(os.listdir(self._root)):  # every few seconds: no Path for each disk
            if not name.startswith("sd"):
                continue
            try:
                identity = self._identity(name)
                wwid = self._wwid_of.get((name, identity)) or self._read_wwid(name)
                wwid_of[name, identity] = wwid
                if wwid in found:
                    address = os.path.basename(os.readlink(f"{self._root}/{name}/device"))
                    found[wwid][name] = KernelPath(name, address, f"/dev/{name}", identity)
            except OSError:
                continue
        self._wwid_of = {disk: wwid for disk, wwid in wwid_of.items() if wwid}
        return found

    def _identity(self, name: str) -> int:
        """sysfs gives each object a number of its own."""
        return os.stat(f"{self._root}/{name}/device/").st_ino

    def _read_wwid(self, name: str) -> str:
        try:
            with open(f"{self._root}/{name}/device/wwid", encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return ""


@functools.cache
def load_udev() -> "pyudev.Context":
    """libudev, looked for on the disk once, by other programs. Raises UsageError when there is none."""
    try:
        import pyudev  # not in the feeding process

        return pyudev.Context()
    except (ImportError, OSError) as error:
        raise UsageError("devices: pyudev or libudev is not on this node: install libudev1 and pyudev") from error


class BlockEvents:
    """The kernel's uevents about block devices. The kernel's, not udev's: they also come without udevd."""

    def __init__(self) -> None:
        """Raises UsageError when there is no libudev."""
        try:
            self._context = load_udev()
            self._monitor = _listen(self._context)
        except OSError as error:
            raise UsageError(f"devices: uevents: {error.strerror}: allow AF_NETLINK to this service") from error

    def wait(self, seconds: float) -> bool:
        """Whether a block device came, went or changed within that time. A burst of events is one.

        So is a burst that was too long for the socket, as when hundreds of paths return: what was lost is seen by
        looking. pyudev's poll never gets over it.
        """
        try:
            if self._monitor.poll(seconds) is None:
                return False
            while self._monitor.poll(0) is not None:
                pass
        except OSError:
            with suppress(OSError):  # else the old one says so again, and it is tried again
                self._monitor = _listen(self._context)
        return True


def _listen(context: "pyudev.Context") -> "pyudev.Monitor":
    """The netlink socket of the kernel's uevents. Raises OSError."""
    import pyudev

    monitor = pyudev.Monitor.from_netlink(context, source="kernel")
    monitor.filter_by("block")
    monitor.start()
    return monitor
