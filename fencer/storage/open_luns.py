# SPDX-License-Identifier: Apache-2.0
"""Opens the shared LUNs: names to disks, disks to paths, paths to nexuses. Runs in the storage worker."""

from fencer._typing import NamedTuple
from fencer.errors import StorageError, UsageError
from fencer.model import Deadline
from fencer.observations import LunFailed
from fencer.storage.block_devices import UdevDevices, is_running
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.lun import ISCSI_PREFIX, Lun, SharedLuns, find_luns, holders_active
from fencer.storage.lun_names import refuse_names_of_one_node
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.settings import StorageSettings

LVM_S = 10.0
"""How long pvs may take."""

LVM_IN_DOUBT_S = 3.0
"""How long pvs may take where the race can be played without its answer."""


class _Volumes(NamedTuple):
    """The devices of a volume group. physical_volumes: device files, as LVM names them.

    wwids: of the last known list, where LVM did not answer; doubt: why that was needed.
    """

    physical_volumes: tuple[str, ...] = ()
    wwids: tuple[str, ...] = ()
    doubt: str = ""


def open_luns(
    settings: StorageSettings, deadline: Deadline, *, only_looks: bool = False, in_doubt: bool = False
) -> Opened:
    """Raises UsageError when an entry is no shared disk or names one twice, StorageError when LVM does not answer.

    only_looks: the caller will write nothing, so it must not take the registered iSCSI session from one that does.
    in_doubt: where LVM does not answer, the LUNs of the last good unfencing or monitor are opened (Opened.doubt).
    """
    shared, luns, doubt = SharedLuns((), tuple(settings.devices)), [], ""
    if settings.volume_group is not None or any(not entry.startswith(ISCSI_PREFIX) for entry in settings.devices):
        devices = UdevDevices()
        volumes = _volumes(settings, deadline, in_doubt=in_doubt)
        doubt = volumes.doubt
        try:
            entries = (*settings.devices, *volumes.wwids)
            shared = find_luns(entries, devices, physical_volumes=volumes.physical_volumes)
        except UsageError as error:
            if not doubt:
                raise
            raise StorageError(f"{doubt}; and of that list: {error}", "") from error
        if settings.devices:
            refuse_names_of_one_node(shared.luns)
        # The rank is taken on the first LUN, by WWID; the others do not matter.
        luns = [_disk(lun, number == 0 and holders_active(lun, devices)) for number, lun in enumerate(shared.luns)]
    unknown: tuple[LunFailed, ...] = ()
    if shared.iscsi:
        from fencer.storage.open_iscsi_luns import open_iscsi_luns  # brings threads

        sessions, unknown = open_iscsi_luns(shared.iscsi, settings.initiator, deadline, only_looks=only_looks)
        luns += sessions
    _refuse_twins(luns)
    return Opened(tuple(luns), unknown, doubt, shared.missing)


def _volumes(settings: StorageSettings, deadline: Deadline, *, in_doubt: bool) -> _Volumes:
    group = settings.volume_group
    if group is None:
        return _Volumes()
    from fencer.storage.volume_group import physical_volumes

    wwids: tuple[str, ...] = ()
    if in_doubt:
        from fencer.storage.known_luns import read_known

        wwids = read_known(settings.state_dir, group)
    patience_s = min(LVM_IN_DOUBT_S, deadline.remaining_s / 3) if wwids else min(LVM_S, deadline.remaining_s)
    try:
        return _Volumes(physical_volumes(group, timeout_s=patience_s))
    except StorageError as error:
        if not wwids:
            raise
        number = f"{len(wwids)} LUN{'s' if len(wwids) != 1 else ''}"
        return _Volumes(
            wwids=wwids,
            doubt=(
                f"{error}: the race is played on the {number} of the last good monitor or 'on'; whether the group has "
                "more cannot be told, so storage proves nothing: mend what holds up pvs, or give devices="
            ),
        )


def _disk(lun: Lun, active_here: bool) -> LogicalUnit:
    from fencer.storage.sgutils import SgTransport  # brings ctypes

    paths = lun.paths if len(lun.paths) == 1 else sorted(lun.paths, key=lambda path: not is_running(path))
    nexuses = [Nexus(SgTransport(path, wwid=lun.wwid), wwid=lun.wwid) for path in paths]
    return LogicalUnit(lun.wwid, lun.name, nexuses, active_here)


def _refuse_twins(luns: list[LogicalUnit]) -> None:
    seen: dict[str, str] = {}
    for lun in luns:
        if lun.wwid in seen:
            raise UsageError(f"devices: {seen[lun.wwid]} and {lun.name} are one LUN ({lun.wwid}): name it once")
        seen[lun.wwid] = lun.name
