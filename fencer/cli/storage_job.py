"""What the storage worker runs, in an expendable child: opens the LUNs, then fences, registers, reads or monitors."""

from collections.abc import Iterable

from fencer.cli.luns import open_luns
from fencer.errors import StorageError
from fencer.fence import StorageOrder
from fencer.model import Deadline, ReservationKey
from fencer.observations import LunFailed, LunRegistered, LunsIdentified, Observation, StorageDone
from fencer.request import StorageSettings
from fencer.storage import procedure
from fencer.storage.goal import StorageGoal
from fencer.storage.marker import EarlierBootMarker, LunMark, Marker, UnreadableMarker, read_marker, write_marker
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past
from fencer.storage.reservations import LogicalUnit
from fencer.worker import Channel


def storage_job(channel: Channel) -> None:
    """Waits for its order, so that loading all this overlaps with the parent's reading of options."""
    order = channel.receive()
    if not isinstance(order, StorageOrder):
        return
    only_looks = order.goal in (StorageGoal.STATUS, StorageGoal.MONITOR)
    opened = open_luns(order.settings, order.deadline, only_looks=only_looks)
    channel.send(LunsIdentified(tuple(lun.name for lun in opened.in_order)))
    _pursue(order, opened, channel.send)
    for lun in opened.luns:
        lun.close()


def _pursue(order: StorageOrder, opened: Opened, emit: procedure.Emit) -> None:
    settings, deadline = order.settings, order.deadline
    own, target = settings.own_key, settings.target_key
    match order.goal:
        case StorageGoal.FENCE if own is not None and target is not None:
            procedure.fence(opened, settings, own, target, order.slot_s, emit, deadline, order.repair)
        case StorageGoal.REGISTER if own is not None:
            unfence(opened, settings, own, emit, deadline)
        case StorageGoal.STATUS if target is not None:
            procedure.status(opened, target, emit, deadline)
        case StorageGoal.MONITOR:
            found = read_marker(settings.state_dir)
            procedure.monitor(opened, settings, own, lambda wwid: past(found, wwid), emit, deadline)
        case _:
            raise StorageError(f"{settings.where}: no key to {order.goal.name.lower()} with")


def past(found: Marker | EarlierBootMarker | UnreadableMarker | None, wwid: str) -> Past:
    """What this boot's marker says about one LUN."""
    match found:
        case UnreadableMarker():
            return Past(History.UNKNOWN)
        case Marker(key) if (mark := found.of(wwid)) is not None:
            return Past(History.REGISTERED if mark.registered else History.BEGUN, mark.generation, key)
        case _:
            return Past(History.NEVER)


def unfence(
    opened: Opened, settings: StorageSettings, own: ReservationKey, emit: procedure.Emit, deadline: Deadline
) -> None:
    """Registers this node, between two writings of the marker. A LUN that cannot be read is not touched."""
    found = read_marker(settings.state_dir)
    generations, silent = _generations(opened.luns, deadline)
    before = {mark.wwid: mark for mark in found.luns} if isinstance(found, Marker) else {}
    marks = {wwid: LunMark(wwid, generation, registered=False) for wwid, generation in generations.items()} | before
    trusted = settings.re_register or not isinstance(found, UnreadableMarker)
    if trusted:
        write_marker(settings.state_dir, Marker(own, tuple(marks.values())))
    done: set[str] = set()
    ends: list[Observation] = []

    def note(what: Observation) -> None:
        if isinstance(what, LunRegistered):
            done.add(what.lun)
        if isinstance(what, StorageDone):
            ends.append(what)  # the parent ends us when it hears this, and the marker is not written yet
        else:
            emit(what)

    readable = Opened(tuple(lun for lun in opened.luns if lun.wwid in generations), (*opened.unknown, *silent))
    procedure.unfence(readable, settings, own, lambda wwid: past(found, wwid), note, deadline)
    registered = tuple(lun for lun in readable.luns if lun.name in done)
    if trusted or len(registered) == opened.count:
        after, _ = _generations(registered, deadline)
        marks |= {wwid: LunMark(wwid, generation, registered=True) for wwid, generation in after.items()}
        write_marker(settings.state_dir, Marker(own, tuple(marks.values())))
    for end in ends:
        emit(end)


def _generations(luns: Iterable[LogicalUnit], deadline: Deadline) -> tuple[dict[str, int], tuple[LunFailed, ...]]:
    """PRGENERATION by WWID, and the LUNs that cannot be read."""
    generations: dict[str, int] = {}
    silent: list[LunFailed] = []
    for lun in luns:
        try:
            generations[lun.wwid] = lun.look(deadline).generation
        except StorageError as error:
            silent.append(LunFailed(lun.name, str(error)))
    return generations, tuple(silent)
