"""What the two workers run: adapters meet procedures here, in an expendable child."""

import signal
from collections.abc import Callable, Iterable
from types import FrameType

from fencer.cli.luns import open_luns
from fencer.errors import StorageError
from fencer.fence import Gate
from fencer.model import Deadline, ReservationKey
from fencer.observations import LunFailed, LunRegistered, LunsIdentified, Observation
from fencer.plan import Plan
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.procedure import PowerGoal, PowerTiming
from fencer.power.procedure import run as run_power
from fencer.request import StorageSettings
from fencer.storage import procedure
from fencer.storage.goal import StorageGoal
from fencer.storage.marker import EarlierBootMarker, LunMark, Marker, UnreadableMarker, read_marker, write_marker
from fencer.storage.procedure import Opened
from fencer.storage.registration import History, Past
from fencer.storage.reservations import LogicalUnit
from fencer.worker import Channel


class _Told(BaseException):
    """SIGTERM from the parent. Not an Exception: pyghmi swallows those."""


def power_job(plan: Plan) -> Callable[[Channel, PowerGoal, bool], None]:
    """The power worker: logs in, waits for the go where it is gated, pursues its goal. Raises UsageError for
    credentials that IPMI cannot carry."""
    settings = plan.request.bmc
    assert settings is not None  # noqa: S101 - a plan with a power goal has a BMC
    chassis = IpmiChassisPower(settings)

    def job(channel: Channel, goal: PowerGoal, gated: bool) -> None:
        import fencer.power.ipmi_session  # noqa: F401, PLC0415 - pyghmi takes 40 ms: load it while the LUNs are opened

        def told(_number: int, _frame: FrameType | None) -> None:
            raise _Told

        signal.signal(signal.SIGTERM, told)
        timing = plan.request.timing
        if gated and channel.receive() is not Gate.LOGIN:
            return
        try:
            run_power(
                chassis,
                goal,
                channel.send,
                lambda: not gated or channel.receive() is Gate.GO,
                PowerTiming(
                    power_timeout_s=timing.power_timeout_s,
                    status_sleep_s=timing.status_sleep_s,
                    power_wait_s=timing.power_wait_s,
                    on_tries=max(1, timing.retry_on),
                ),
            )
        except _Told:
            return  # the procedure has logged out on its way here

    return job


def storage_job(plan: Plan, deadline: Deadline) -> Callable[[Channel], None]:
    """The storage worker: opens the LUNs, then fences, registers, reads or monitors."""

    def job(channel: Channel) -> None:
        settings = plan.request.storage
        assert settings is not None  # noqa: S101 - a plan with a storage goal has LUNs
        opened = open_luns(settings, deadline)
        channel.send(LunsIdentified(tuple(lun.name for lun in opened.in_order)))
        emit = channel.send
        match plan.storage:
            case StorageGoal.FENCE:
                assert settings.own_key is not None  # noqa: S101 - refused when the request was built
                assert settings.target_key is not None  # noqa: S101
                slot_s = plan.request.timing.rank_slot_s
                procedure.fence(opened, settings, settings.own_key, settings.target_key, slot_s, emit, deadline)
            case StorageGoal.REGISTER:
                assert settings.own_key is not None  # noqa: S101 - refused when the request was built
                unfence(opened, settings, settings.own_key, emit, deadline)
            case StorageGoal.STATUS:
                assert settings.target_key is not None  # noqa: S101
                procedure.status(opened, settings.target_key, emit, deadline)
            case StorageGoal.MONITOR:
                found = read_marker(settings.state_dir)
                procedure.monitor(opened, settings, settings.own_key, lambda wwid: past(found, wwid), emit, deadline)
            case None:
                raise AssertionError("a storage worker without a goal")
        for lun in opened.luns:
            lun.close()

    return job


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

    def note(what: Observation) -> None:
        if isinstance(what, LunRegistered):
            done.add(what.lun)
        emit(what)

    readable = Opened(tuple(lun for lun in opened.luns if lun.wwid in generations), (*opened.unknown, *silent))
    procedure.unfence(readable, settings, own, lambda wwid: past(found, wwid), note, deadline)
    registered = tuple(lun for lun in readable.luns if lun.name in done)
    if trusted or len(registered) == opened.count:
        after, _ = _generations(registered, deadline)
        marks |= {wwid: LunMark(wwid, generation, registered=True) for wwid, generation in after.items()}
        write_marker(settings.state_dir, Marker(own, tuple(marks.values())))


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
