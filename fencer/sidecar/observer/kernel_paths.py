# SPDX-License-Identifier: Apache-2.0
"""Lists the kernel's paths of a LUN by sysfs, and waits for changes. A uevent only says when to look again."""

import os
import select
import time
from _socket import AF_NETLINK, SOCK_DGRAM, socket  # as in fencer.worker
from collections.abc import Iterable, Mapping
from contextlib import suppress

from fencer._typing import Final, NamedTuple
from fencer.errors import UsageError

SYS_BLOCK = "/sys/block"


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

    def __init__(self, known: Mapping[str, Iterable[str]], sys_block: str = SYS_BLOCK) -> None:
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
        for name in sorted(os.listdir(self._root)):
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


class BlockEvents:
    """The kernel's uevents about block devices. The kernel's, not udev's: they also come without udevd.

    Source: lib/kobject_uevent.c: a datagram of texts that end in NUL, ``ACTION@DEVPATH`` first.
    """

    def __init__(self) -> None:
        """Raises UsageError where the kernel gives no socket."""
        try:
            self._socket = _listen()
        except OSError as error:
            raise UsageError(f"devices: uevents: {error.strerror}: allow AF_NETLINK to this service") from error
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._poll.register(self._socket, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Whether a block device came, went or changed within that time, or until wake(). A burst of events is one.

        So is a burst that was too long for the socket, as when hundreds of paths return: what was lost is seen by
        looking.
        """
        until_s = time.monotonic() + seconds
        while True:
            ready = [descriptor for descriptor, _ in self._poll.poll(max(0.0, until_s - time.monotonic()) * 1000)]
            if self._woken in ready:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._woken)
                ready.remove(self._woken)
                if not ready:
                    return False
            if not ready:
                return False
            if self._hears_of_blocks():
                return True

    def wake(self) -> None:
        """Makes wait() return. Called by any thread."""
        with suppress(BlockingIOError):
            os.eventfd_write(self._woken, 1)

    def _hears_of_blocks(self) -> bool:
        """Reads all waiting uevents. Returns whether one is about a block device, or some were lost."""
        found = False
        for _ in range(_EVENTS_AT_ONCE):
            try:
                found = b"\0SUBSYSTEM=block\0" in self._socket.recv(_UEVENT_BYTES) + b"\0" or found
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: some are lost
                found = True
        return found


_EVENTS_AT_ONCE = 10_000
_UEVENT_BYTES = 8192
_NETLINK_KOBJECT_UEVENT, _KERNEL_EVENTS = 15, 1
"""linux/netlink.h; the multicast group of the kernel's own events."""


def _listen() -> socket:
    """Raises OSError."""
    listener = socket(AF_NETLINK, SOCK_DGRAM, _NETLINK_KOBJECT_UEVENT)
    listener.setblocking(False)
    listener.bind((0, _KERNEL_EVENTS))
    return listener
