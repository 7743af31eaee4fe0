# SPDX-License-Identifier: Apache-2.0
"""The jobs of the sidecar's processes beside the feeder. The supervisor imports it, so its children have it loaded."""

import time
from _pickle import dumps  # as in fencer.worker
from collections.abc import Callable

from fencer.errors import FenceError, StorageError, UsageError
from fencer.journal.file import Journal
from fencer.sidecar.children import Jobs
from fencer.sidecar.configuration import read_config
from fencer.sidecar.lun_list import FoundLun, LunList
from fencer.sidecar.messages import Begin, Config, ConfigRefused, Configured, Predecessor, Unregister
from fencer.sidecar.observer.observing import list_luns, load, observe
from fencer.sidecar.publisher import Publisher
from fencer.sidecar.realtime import keep_loaded
from fencer.sidecar.reports import LISTED
from fencer.sidecar.settings import Settings
from fencer.state.snapshot import Snapshot
from fencer.state.snapshot_file import read_snapshot
from fencer.storage.descriptor_limit import raise_descriptor_limit
from fencer.storage.unregistering import unregister
from fencer.worker import MESSAGE_BYTES, Channel

COMPLAINTS_CHARS = 16_000


def jobs(boot_id: str, feeder_pid: int, log: int) -> Jobs:
    """The jobs of the children. log: the descriptor for lines; the children hold no standard streams."""
    raise_descriptor_limit()
    load()
    keep_loaded()
    return Jobs(_configure(boot_id), _list_luns, observe, _write(boot_id, feeder_pid, log), _unregister)


def _configure(boot_id: str) -> Callable[[str, Channel], None]:
    def configure(path: str, channel: Channel) -> None:
        try:
            config = read_config(path)
            answer = Configured(config, predecessor(config.settings, boot_id))
            if len(dumps(answer)) > MESSAGE_BYTES:
                raise UsageError(f"{path}: more nodes or devices than one sidecar takes: name fewer")
            channel.send(answer)
        except FenceError as error:
            channel.send(ConfigRefused(str(error)[:COMPLAINTS_CHARS]))

    return configure


LUNS_BYTES = MESSAGE_BYTES // 2
"""Of a list of LUNs at most that goes with other things into one message."""


def predecessor(settings: Settings, boot_id: str) -> Predecessor | None:
    """What an earlier sidecar of this boot left in its snapshot; None where no such snapshot can be read.

    A pause goes on until its time, however the earlier one ended. After an orderly stop its watchdog is not armed,
    unless it could not be disarmed.
    """
    try:
        before = read_snapshot(settings.state_dir)
    except (OSError, ValueError):
        return None
    if before.boot_id != boot_id:
        return None
    until_s = before.paused_until_monotonic_s
    paused = until_s is not None and until_s > time.monotonic()
    generations = tuple((lun.wwid, lun.generation) for lun in before.luns if lun.registration in LISTED)
    taken_up = before.watchdog.armed and before.storage == settings.named_storage
    luns = _watched(before) if taken_up else None
    return Predecessor(before.watchdog, until_s if paused else None, generations, luns)


def _watched(before: Snapshot) -> LunList | None:
    """The LUNs, as the kernel names their paths; None when there are none. Which metadata named them is not known."""
    luns = tuple(FoundLun(lun.wwid, lun.name, tuple(path.name for path in lun.paths)) for lun in before.luns)
    if len(dumps(luns)) > LUNS_BYTES:
        luns = tuple(lun._replace(paths=()) for lun in luns)
    return LunList(luns) if luns and len(dumps(luns)) <= LUNS_BYTES else None


def _list_luns(config: Config) -> LunList:
    try:
        return list_luns(config.observer.storage)
    except StorageError as error:
        raise StorageError(f"{'vg' if config.settings.vg else 'devices'}: {error}") from error


def _write(boot_id: str, feeder_pid: int, log: int) -> Callable[[Begin, Channel], None]:
    def write(begin: Begin, channel: Channel) -> None:
        journal = Journal(f"{begin.config.settings.record_dir}/journal.db")
        Publisher(begin, boot_id, feeder_pid, log, journal.append).run(channel)

    return write


def _unregister(order: Unregister) -> None:
    unregister(order.observer.storage)
