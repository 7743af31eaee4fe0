"""Opens the shared LUNs: names to disks, disks to paths, paths to nexuses. Runs in the storage worker."""

import os
import threading
import zlib

from fencer.errors import StorageError, UsageError
from fencer.model import Deadline
from fencer.observations import LunFailed
from fencer.request import StorageSettings
from fencer.storage import inquiry
from fencer.storage.lun import ISCSI_PREFIX, Lun, SharedLuns, UdevDevices, find_luns, holders_active
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.reservations import LogicalUnit

OPEN_S = 5.0
"""How long opening one path may take: a target that is up answers in milliseconds."""

LVM_S = 10.0


def open_luns(settings: StorageSettings, deadline: Deadline, *, only_looks: bool = False) -> Opened:
    """Raises UsageError when an entry is no shared disk or names one twice, StorageError when LVM does not answer.

    only_looks: the caller will write nothing, so it must not take the registered iSCSI session from one that does.
    """
    shared, luns = SharedLuns((), tuple(settings.devices)), []
    if settings.volume_group is not None or any(not entry.startswith(ISCSI_PREFIX) for entry in settings.devices):
        devices = UdevDevices()
        shared = find_luns(settings.devices, devices, physical_volumes=_physical_volumes(settings, deadline))
        # The rank is taken on the first LUN, by WWID; nobody asks the others.
        luns = [_disk(lun, number == 0 and holders_active(lun, devices)) for number, lun in enumerate(shared.luns)]
    opening = [
        _Opening(url, settings.initiator, _isid(settings.initiator, only_looks), deadline) for url in shared.iscsi
    ]
    for one in opening:
        one.start()
    for one in opening:
        one.join(deadline.remaining_s)
    luns += [one.lun for one in opening if one.lun is not None]
    _refuse_twins(luns)
    unknown = tuple(LunFailed(one.entry, one.reason) for one in opening if one.lun is None)
    return Opened(tuple(luns), unknown)


def _physical_volumes(settings: StorageSettings, deadline: Deadline) -> tuple[str, ...]:
    if settings.volume_group is None:
        return ()
    from fencer.storage.volume_group import physical_volumes  # noqa: PLC0415 - brings subprocess

    return physical_volumes(settings.volume_group, timeout_s=min(LVM_S, deadline.remaining_s))


def _disk(lun: Lun, active_here: bool) -> LogicalUnit:
    from fencer.storage.sgutils import SgTransport  # noqa: PLC0415 - brings ctypes

    nexuses = []
    for path in lun.paths:
        try:
            nexuses.append(Nexus(SgTransport(path)))
        except StorageError:
            continue  # a dead path of a living LUN; a LUN without any path says so when it is asked
    return LogicalUnit(lun.wwid, lun.name, nexuses, active_here)


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
    from fencer.storage.libiscsi import IscsiTransport, IscsiUrl  # noqa: PLC0415 - brings ctypes

    transport = IscsiTransport(IscsiUrl.parse(entry), initiator=initiator, isid=isid, deadline=deadline.within(OPEN_S))
    nexus = Nexus(transport)
    if nexus.device_type(deadline) != inquiry.DISK:
        raise StorageError(f"{entry}: not a disk: name a LUN that is one in devices")
    wwid = nexus.wwid(deadline)
    if wwid is None:
        raise StorageError(f"{entry}: the LUN has no worldwide name (VPD page 83h), so nodes cannot agree on it")
    return LogicalUnit(wwid, entry, (nexus,), private=True)  # nobody's data pass through our own session


def _refuse_twins(luns: list[LogicalUnit]) -> None:
    seen: dict[str, str] = {}
    for lun in luns:
        if lun.wwid in seen:
            raise UsageError(f"devices: {seen[lun.wwid]} and {lun.name} are one LUN ({lun.wwid}): name it once")
        seen[lun.wwid] = lun.name
