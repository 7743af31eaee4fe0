"""Opens iSCSI LUNs through sessions of our own, side by side. Runs in the storage worker."""

import os
import threading
import zlib
from collections.abc import Sequence

from fencer.errors import StorageError
from fencer.model import Deadline
from fencer.observations import LunFailed
from fencer.storage import inquiry
from fencer.storage.libiscsi import IscsiTransport, IscsiUrl
from fencer.storage.nexus import Nexus
from fencer.storage.reservations import LogicalUnit

OPEN_S = 5.0
"""How long opening one path may take: a target that is up answers in milliseconds."""


def open_iscsi_luns(
    urls: Sequence[str], initiator: str, deadline: Deadline, *, only_looks: bool
) -> tuple[list[LogicalUnit], tuple[LunFailed, ...]]:
    """The LUNs that could be opened, and the entries that could not, with reasons. only_looks: see open_luns."""
    opening = [_Opening(url, initiator, _isid(initiator, only_looks), deadline) for url in urls]
    for one in opening:
        one.start()
    for one in opening:
        one.join(deadline.remaining_s)
    opened = [one.lun for one in opening if one.lun is not None]
    return opened, tuple(LunFailed(one.entry, one.reason) for one in opening if one.lun is None)


class _Opening(threading.Thread):
    """One iSCSI LUN being opened, beside the others."""

    def __init__(self, entry: str, initiator: str, isid: int, deadline: Deadline) -> None:
        super().__init__(daemon=True)
        self.entry = entry
        self.lun: LogicalUnit | None = None
        self.reason = f"{entry}: no answer before the deadline"
        self._initiator = initiator
        self._isid = isid
        self._deadline = deadline

    def run(self) -> None:
        try:
            self.lun = _iscsi(self.entry, self._initiator, self._isid, self._deadline)
        except StorageError as error:
            self.reason = str(error)


def _isid(initiator: str, only_looks: bool) -> int:
    """24 bits. A fixed one makes the next process the same I_T nexus, so that the registration is found again; but two
    sessions with one ISID throw each other out (RFC 7143 6.3.5), and a monitor must not do that to a fence."""
    half = 1 << 23
    return half | os.getpid() % half if only_looks else zlib.crc32(initiator.encode()) % half


def _iscsi(entry: str, initiator: str, isid: int, deadline: Deadline) -> LogicalUnit:
    transport = IscsiTransport(IscsiUrl.parse(entry), initiator=initiator, isid=isid, deadline=deadline.within(OPEN_S))
    nexus = Nexus(transport)
    if nexus.device_type(deadline) != inquiry.DISK:
        raise StorageError(f"{entry}: not a disk: name a LUN that is one in devices")
    wwid = nexus.wwid(deadline)
    if wwid is None:
        raise StorageError(f"{entry}: the LUN has no worldwide name (VPD page 83h), so nodes cannot agree on it")
    return LogicalUnit(wwid, entry, (nexus,), private=True)  # nobody's data pass through our own session
