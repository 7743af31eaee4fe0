# SPDX-License-Identifier: Apache-2.0
"""Reads from the kernel what a read of a path does not show: read-only, or failed by its multipath map.

Source: linux/dm-ioctl.h (DM_TABLE_STATUS), drivers/md/dm-mpath.c (multipath_status), sysfs-block (ro).
"""

import fcntl
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterable

from fencer._typing import Final, NamedTuple
from fencer.storage.block_devices import listing, read_attribute

SYS_BLOCK = "/sys/block"
CONTROL = "/dev/mapper/control"
FAILED = "its multipath map has failed it"

_TABLE_STATUS = 0xC138FD0C  # _IOWR(0xfd, 12, struct dm_ioctl)
_HEADER = struct.Struct("=3I I I I i I I I Q 128s 129s 7s")
_VERSION, _NOFLUSH = (4, 0, 0), 1 << 11
_SPEC = struct.Struct("=Q Q i I 16s")
_BYTES = 16 << 10
_PATH = re.compile(rb"(\d+:\d+) ([AF])(?= )")


class Conditions(NamedTuple):
    """By kernel name of a disk. refused: why no data go this way. read_only: the device that takes no writes."""

    refused: dict[str, str]
    read_only: dict[str, str]


def failed_paths(status: bytes) -> frozenset[str]:
    """Device numbers (``8:16``) of failed paths in a multipath target's status line."""
    return frozenset(number.decode() for number, state in _PATH.findall(status) if state == b"F")


def map_status(number: str, control: str = CONTROL) -> bytes:
    """The status lines of a mapped device, ``major:minor``. Raises OSError. May wait for the device mapper's lock."""
    major, minor = map(int, number.split(":"))
    dev = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12  # huge_encode_dev
    request = bytearray(_BYTES)
    _HEADER.pack_into(
        request, 0, *_VERSION, _BYTES, _HEADER.size, 0, 0, _NOFLUSH, 0, 0, dev, b"", b"", b""
    )  # fmt: skip
    descriptor = os.open(control, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(descriptor, _TABLE_STATUS, request)
    finally:
        os.close(descriptor)
    fields = _HEADER.unpack_from(request)
    start, count = fields[4], fields[5]
    return bytes(request[start + _SPEC.size :]).partition(b"\0")[0] if count else b""


def look(names: Iterable[str], sys_block: str = SYS_BLOCK, status: Callable[[str], bytes] = map_status) -> Conditions:
    """The conditions of these disks (``sdb``). What cannot be read counts as unremarkable."""
    found = Conditions({}, {})
    failed: dict[str, frozenset[str]] = {}
    for name in names:
        if read_attribute(f"{sys_block}/{name}/ro") == "1":
            found.read_only[name] = name
        for holder in listing(f"{sys_block}/{name}/holders"):
            if not read_attribute(f"{sys_block}/{holder}/dm/uuid").startswith("mpath-"):
                continue
            if read_attribute(f"{sys_block}/{holder}/ro") == "1":
                found.read_only[name] = holder
            if holder not in failed:
                failed[holder] = _failed(read_attribute(f"{sys_block}/{holder}/dev"), status)
            if read_attribute(f"{sys_block}/{name}/dev") in failed[holder]:
                found.refused[name] = FAILED
    return found


def _failed(number: str, status: Callable[[str], bytes]) -> frozenset[str]:
    try:
        return failed_paths(status(number))
    except (OSError, ValueError):
        return frozenset()


class ConditionWatch:
    """Reads them periodically in a thread of its own: the device mapper may hang, and then there is no answer."""

    def __init__(
        self, interval_s: float, look: Callable[[Iterable[str]], Conditions] = look,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.names: tuple[str, ...] = ()
        self._interval_s: Final = interval_s
        self._look: Final = look
        self._clock: Final = clock
        self._latest: tuple[float, Conditions] = (0.0, Conditions({}, {}))

    @property
    def latest(self) -> Conditions:
        """The latest conditions; none when they are old."""
        began_s, found = self._latest
        return found if self._clock() - began_s < 3 * self._interval_s else Conditions({}, {})

    def run(self, ended: threading.Event) -> None:
        """Reads until ended."""
        while True:
            began_s = self._clock()
            self._latest = began_s, self._look(self.names)
            if ended.wait(self._interval_s):
                return
