"""The jobs of the sidecar's processes beside the feeder. The supervisor imports it, so its children have it loaded."""

import time
from _pickle import dumps  # as in fencer.worker
from collections.abc import Callable
from contextlib import suppress

from fencer.errors import FenceError, StorageError, UsageError
from fencer.journal.file import Journal
from fencer.model import Deadline, ReservationKey
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
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.marker import Marker, write_marker
from fencer.storage.nexus import Outcome
from fencer.storage.open_luns import open_luns
from fencer.storage.procedure import Opened
from fencer.storage.settings import StorageSettings
from fencer.storage.unfencing import alone
from fencer.worker import MESSAGE_BYTES, Channel

UNREGISTER_S = 8.0
COMPLAINTS_CHARS = 16_000


def jobs(boot_id: str, feeder_pid: int, log: int) -> Jobs:
    """The jobs of the children. log: the descriptor for lines; the children hold no standard streams."""
    load()
    keep_loaded()
    return Jobs(_configure(boot_id), _list_luns, observe, _write(boot_id, feeder_pid, log), unregister)


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


def unregister(order: Unregister, opening: Callable[[StorageSettings, Deadline], Opened] = open_luns) -> None:
    """Takes this node's key off every path of every LUN, and notes in the marker that this node did it.

    Where this node holds a reservation the key stays, on all LUNs: a holder that unregisters releases it (SPC-4
    5.13.11), and a node that was fenced behind it could write again. Between the look and the REGISTER only a fence by
    this node itself makes it the holder. Of an all-registrants type every registrant is taken for the last one: two
    that stop together would each see the other.

    Killed in between, or where the key is gone already, the marker says "registered" and the key is gone: the node
    counts as fenced until it reboots. Raises StorageError, UsageError.
    """
    storage = order.observer.storage
    own = storage.own_key
    if own is None:
        return
    deadline = Deadline.after(UNREGISTER_S)
    with alone(storage.state_dir, deadline):
        opened = opening(storage, deadline)
        if opened.unknown:
            raise StorageError(opened.unknown[0].reason)
        for lun in opened.luns:
            if lun.look(deadline).held_by(own):
                reason = "this node holds the reservation, without which a node that was fenced could write again"
                raise StorageError(f"{lun.name}: {reason}")
        for lun in opened.luns:
            _unregister(lun, own, storage.aptpl, deadline)
        write_marker(storage.state_dir, Marker(own, ()))
        if storage.persistent_dir != storage.state_dir:
            with suppress(UsageError):  # a full disk; then the next boot takes this node for one that was fenced
                write_marker(storage.persistent_dir, Marker(own, ()))


def _unregister(lun: LogicalUnit, own: ReservationKey, aptpl: bool, deadline: Deadline) -> None:
    removed = False
    for nexus in lun.nexuses:
        # A conflict: this path is not registered under our key.
        outcome = nexus.register(own, None, aptpl, deadline)
        if outcome is Outcome.UNSUPPORTED and aptpl:
            outcome = nexus.register(own, None, False, deadline)
        removed = removed or outcome is Outcome.DONE
    if own in lun.look(deadline).keys:
        raise StorageError(f"{lun.name}: key {own} is still listed, on a path that is not there now")
    if not removed:  # the marker must go on saying "registered": this node may have been fenced
        raise StorageError(f"{lun.name}: key {own} was gone already")
