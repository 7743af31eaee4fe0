"""What the sidecar's other processes do. Imported by the attendant, so that its children find everything loaded."""

from collections.abc import Callable

from fencer.cli.luns import open_luns
from fencer.cli.watchdogd_config import read_config
from fencer.errors import FenceError, StorageError
from fencer.journal import Journal
from fencer.model import Deadline, ReservationKey
from fencer.request import StorageSettings
from fencer.storage.marker import Marker, write_marker
from fencer.storage.nexus import Outcome
from fencer.storage.procedure import Opened
from fencer.storage.reservations import LogicalUnit
from fencer.storage.unfencing import alone
from fencer.watchdog.attendant import Jobs
from fencer.watchdog.messages import Begin, Config, ConfigRefused, Configured, Predecessor, Unregister
from fencer.watchdog.observers import observe
from fencer.watchdog.scribe import Scribe
from fencer.watchdog.snapshot import PolicyState
from fencer.watchdog.snapshot_file import read_snapshot
from fencer.worker import Channel

UNREGISTER_S = 8.0


def jobs(boot_id: str, feeder_pid: int, log: int) -> Jobs:
    """log: the descriptor that lines go to; the children hold no standard streams."""
    return Jobs(_configure(boot_id), _observe, _write(boot_id, feeder_pid, log), unregister)


def _configure(boot_id: str) -> Callable[[str, Channel], None]:
    def configure(path: str, channel: Channel) -> None:
        try:
            config = read_config(path)
            channel.send(Configured(config, predecessor(config.settings.state_dir, boot_id)))
        except FenceError as error:
            channel.send(ConfigRefused(str(error)))

    return configure


def predecessor(state_dir: str, boot_id: str) -> Predecessor | None:
    """What an earlier sidecar of this boot has left; None when there is none that can be read."""
    try:
        before = read_snapshot(state_dir)
    except (OSError, ValueError):
        return None
    if before.boot_id != boot_id or (before.state is PolicyState.STOPPED and not before.watchdog.armed):
        return None
    return Predecessor(before.watchdog, before.paused_until_monotonic_s)


def _observe(config: Config, channel: Channel) -> None:
    observe(config.observer, channel)


def _write(boot_id: str, feeder_pid: int, log: int) -> Callable[[Begin, Channel], None]:
    def write(begin: Begin, channel: Channel) -> None:
        journal = Journal(f"{begin.config.settings.record_dir}/journal.db")
        Scribe(begin, boot_id, feeder_pid, log, journal.append).run(channel)

    return write


def unregister(order: Unregister, opening: Callable[[StorageSettings, Deadline], Opened] = open_luns) -> None:
    """Takes this node's key off every path of every LUN, and says in the marker that this was our own doing.

    Where this node holds a reservation the key stays, on all LUNs: a holder that unregisters releases it (SPC-4
    5.13.11), and whoever was proved fenced behind it writes again. Between the look and the REGISTER only a fence by
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
