# SPDX-License-Identifier: Apache-2.0
"""Opens iSCSI LUNs through sessions of our own, side by side. Runs in the storage worker."""

import os
import threading
import zlib
from collections.abc import Callable, Sequence

from fencer._typing import Final
from fencer.errors import StorageError, TransportError
from fencer.model import Deadline
from fencer.observations import LunFailed
from fencer.storage import inquiry
from fencer.storage.libiscsi import IscsiTransport, IscsiUrl
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.transport import ScsiReply, ScsiTransport

GIVE_SERIAL = "give it a serial number at the target, or another LUN"

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
        self.reason = f"{entry}: no answer before the deadline: look at the portal, the network and the target"
        self._initiator = initiator
        self._isid = isid
        self._deadline = deadline

    def run(self) -> None:
        try:
            self.lun = _iscsi(self.entry, self._initiator, self._isid, self._deadline)
        except StorageError as error:
            self.reason = error.with_remedy


def _isid(initiator: str, only_looks: bool) -> int:
    """24 bits. A fixed one makes the next process the same I_T nexus, so that the registration is found again; but two
    sessions with one ISID throw each other out (RFC 7143 6.3.5), and a monitor must not do that to a fence."""
    half = 1 << 23
    return half | os.getpid() % half if only_looks else zlib.crc32(initiator.encode()) % half


class RenewedSession:
    """ScsiTransport that logs in anew with the first command after the session was lost.

    The command during which it was lost is not sent again: its caller reads, and decides. With its fixed ISID the new
    session is the same I_T nexus; a target that forgot the registration with the session answers a conflict.
    """

    def __init__(self, name: str, login: Callable[[Deadline], ScsiTransport]) -> None:
        self.name: Final = name
        self._login: Final = login
        self._session: ScsiTransport | None = None

    def open(self, deadline: Deadline) -> ScsiTransport:
        """Logs in by the deadline, unless it is. Raises StorageError."""
        if self._session is None:
            self._session = self._login(deadline)
        return self._session

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        """See ScsiTransport."""
        session = self.open(Deadline.after(timeout_s))
        try:
            return session.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=timeout_s)
        except TransportError:
            self.close()
            raise

    def close(self) -> None:
        """Logs out. Never raises."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _iscsi(entry: str, initiator: str, isid: int, deadline: Deadline) -> LogicalUnit:
    url = IscsiUrl.parse(entry)

    def login(by: Deadline) -> IscsiTransport:
        return IscsiTransport(url, initiator=initiator, isid=isid, deadline=by)

    session = RenewedSession(entry, login)
    session.open(deadline.within(OPEN_S))
    nexus = Nexus(session)
    if nexus.device_type(deadline) != inquiry.DISK:
        raise StorageError(f"{entry}: not a disk: name a LUN that is one in devices", "")
    wwid = nexus.wwid(deadline)
    if wwid is None:
        raise StorageError(
            f"{entry}: the LUN has no worldwide name (VPD page 83h), so nodes cannot agree on it", GIVE_SERIAL
        )
    nexus = Nexus(session, wwid=wwid)  # a later login may find another LUN under this number
    return LogicalUnit(wwid, entry, (nexus,), private=True)  # no data pass through our own session
