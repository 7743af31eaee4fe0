"""Opens the shared LUNs: names to disks, disks to paths, paths to nexuses. Runs in the storage worker."""

from fencer.errors import UsageError
from fencer.model import Deadline
from fencer.observations import LunFailed
from fencer.request import StorageSettings
from fencer.storage.block_devices import UdevDevices, is_running
from fencer.storage.lun import ISCSI_PREFIX, Lun, SharedLuns, find_luns, holders_active
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.reservations import LogicalUnit

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
    unknown: tuple[LunFailed, ...] = ()
    if shared.iscsi:
        from fencer.cli.iscsi_luns import open_iscsi_luns  # brings threads

        sessions, unknown = open_iscsi_luns(shared.iscsi, settings.initiator, deadline, only_looks=only_looks)
        luns += sessions
    _refuse_twins(luns)
    return Opened(tuple(luns), unknown)


def _physical_volumes(settings: StorageSettings, deadline: Deadline) -> tuple[str, ...]:
    if settings.volume_group is None:
        return ()
    from fencer.storage.volume_group import physical_volumes  # brings subprocess

    return physical_volumes(settings.volume_group, timeout_s=min(LVM_S, deadline.remaining_s))


def _disk(lun: Lun, active_here: bool) -> LogicalUnit:
    from fencer.storage.sgutils import SgTransport  # brings ctypes

    paths = lun.paths if len(lun.paths) == 1 else sorted(lun.paths, key=lambda path: not is_running(path))
    return LogicalUnit(lun.wwid, lun.name, [Nexus(SgTransport(path, wwid=lun.wwid)) for path in paths], active_here)


def _refuse_twins(luns: list[LogicalUnit]) -> None:
    seen: dict[str, str] = {}
    for lun in luns:
        if lun.wwid in seen:
            raise UsageError(f"devices: {seen[lun.wwid]} and {lun.name} are one LUN ({lun.wwid}): name it once")
        seen[lun.wwid] = lun.name
