# SPDX-License-Identifier: Apache-2.0
"""The job of the storage worker, an expendable child: opens the LUNs, then fences, registers, reads or monitors."""

import os
import time
from collections.abc import Callable

from fencer._typing import TYPE_CHECKING
from fencer.agent.orders import Guarding, LookAgain, Looked, Seen, StorageOrder
from fencer.errors import StorageError
from fencer.model import ArbitrationMode
from fencer.observations import Arbitrated, LunFailed, LunsIdentified, Noted, Observation, StorageDone
from fencer.state.directories import fenced_record as fenced_record_path
from fencer.storage import procedure
from fencer.storage.arbitration import Contest, RaceResult, slot_s
from fencer.storage.descriptor_limit import raise_descriptor_limit
from fencer.storage.goal import StorageGoal
from fencer.storage.open_luns import open_luns
from fencer.storage.procedure import Opened
from fencer.storage.registration import Terms
from fencer.storage.settings import StorageSettings
from fencer.worker import Channel

if TYPE_CHECKING:
    from fencer.cluster.contact import Contact
    from fencer.model import Deadline, ReservationKey

OBSERVATIONS_A_MESSAGE = 16
"""So many fit into one message (worker.MESSAGE_BYTES) even if each names dozens of failed paths."""

CONTACT_S = 2.0
"""Timeout for corosync to say whether this node has met its peer."""

GIVE_KEY = "give key=, or the node's name (plug, nodename) and a file that lists the nodes"


def emitter(channel: Channel) -> procedure.Emit:
    """Returns the function that sends observations to the parent."""

    def emit(*what: Observation) -> None:
        for start in range(0, len(what), OBSERVATIONS_A_MESSAGE):
            channel.send(Seen(what[start : start + OBSERVATIONS_A_MESSAGE]))

    return emit


def questions(channel: Channel) -> procedure.Questions:
    """Returns the function that waits for the parent's next question. That returns the function for the answer."""

    def wait() -> procedure.Answer | None:
        question = channel.receive()
        if not isinstance(question, LookAgain):
            return None

        def answer(end: RaceResult | None) -> None:
            result, reason = (end.result, end.reason) if end is not None else (None, "")
            channel.send(Looked(question.number, result, reason, time.monotonic()))

        return answer

    return wait


def _asking(deadline: "Deadline") -> "Callable[[], Contact]":
    """Returns the function that asks corosync."""

    def ask() -> "Contact":
        from fencer.child_program import run_without_waiting
        from fencer.cluster.contact import ask_contact

        return ask_contact(run_without_waiting, min(CONTACT_S, deadline.remaining_s / 4))

    return ask


def _guarding(channel: Channel, path: str) -> Callable[[bool], None]:
    return lambda begins: channel.send(Guarding(path, begins))


def storage_job(channel: Channel) -> None:
    """Waits for its order, then performs it. Meanwhile this module is loaded while the parent reads options."""
    raise_descriptor_limit()
    order = channel.receive()
    if not isinstance(order, StorageOrder):
        return
    try:
        _carry_out(order, channel)
    except StorageError as error:  # the parent gets only the text
        raise StorageError(error.with_remedy, "") from error


def _carry_out(order: StorageOrder, channel: Channel) -> None:
    only_looks = order.goal in (StorageGoal.STATUS, StorageGoal.MONITOR)
    in_doubt = order.goal is StorageGoal.FENCE
    settings = order.request.settings
    emit = emitter(channel)
    try:
        opened = open_luns(settings, order.deadline, only_looks=only_looks, in_doubt=in_doubt)
    except StorageError as error:
        if (refused := _refused_unseen(order, emit, error)) is None:
            raise
        return emit(refused)
    for lun in opened.luns:
        for nexus in lun.nexuses:
            nexus.guarding = _guarding(channel, nexus.name)
    if order.goal in (StorageGoal.REGISTER, StorageGoal.MONITOR) and settings.volume_group is not None:
        emit = _remembering(settings, opened, emit)
    emit(LunsIdentified(tuple(lun.name for lun in opened.in_order)))
    if opened.doubt:
        emit(LunFailed(settings.where, opened.doubt))
    if order.goal is StorageGoal.REGISTER:  # the others are to be used
        emit(*(Noted(reason) for reason in opened.missing))
    else:
        opened.unknown += tuple(LunFailed(reason.partition(": ")[0], reason) for reason in opened.missing)
    _pursue(order, opened, emit, questions(channel))
    for lun in opened.luns:
        lun.close()
    return None


def _remembering(settings: StorageSettings, opened: Opened, emit: procedure.Emit) -> procedure.Emit:
    """Returns an emit that stores the list of the group's LUNs when all of them succeeded.

    It stores the list before it sends StorageDone, because the parent then kills this worker.
    """
    well = not (opened.unknown or opened.missing)

    def remember(*what: Observation) -> None:
        nonlocal well
        well = well and not any(isinstance(each, LunFailed) for each in what)
        if well and any(isinstance(each, StorageDone) for each in what) and settings.volume_group is not None:
            from fencer.storage.known_luns import write_known

            try:
                write_known(settings.state_dir, settings.volume_group, [lun.wwid for lun in opened.luns])
            except OSError as error:
                emit(Noted(f"state_dir: {settings.state_dir}: the list of LUNs was not kept: {error.strerror}"))
        emit(*what)

    return remember


def _contest(order: StorageOrder, own: "ReservationKey", target: "ReservationKey", emit: procedure.Emit) -> Contest:
    settings = order.request.settings
    slot = slot_s(time.monotonic() - order.began_s) if order.slot_s is None else order.slot_s
    contest = Contest.on(settings, own, target, slot_s=slot, repair=order.repair)
    if not os.path.lexists(fenced_record_path(settings.persistent_dir)):
        return contest
    from fencer.storage import fenced_record

    return contest._replace(refusal=fenced_record.refusal(settings.persistent_dir, _asking(order.deadline), emit))


def _refused_unseen(order: StorageOrder, emit: procedure.Emit, error: StorageError) -> Arbitrated | None:
    """The end of a fence whose LUNs cannot be opened, where its race would have been refused; else None."""
    own, target = order.request.settings.own_key, order.request.target_key
    races = order.goal is StorageGoal.FENCE and order.request.arbitration is not ArbitrationMode.OFF
    if not races or own is None or target is None:
        return None
    end = _contest(order, own, target, emit).refused_unseen(error.with_remedy)
    return None if end is None else Arbitrated(end.result, order.request.settings.where, end.reason)


def _pursue(order: StorageOrder, opened: Opened, emit: procedure.Emit, asked: procedure.Questions) -> None:
    settings, deadline = order.request.settings, order.deadline
    own, target = settings.own_key, order.request.target_key
    match order.goal:
        case StorageGoal.FENCE if own is not None and target is not None:
            contest = _contest(order, own, target, emit)
            if os.path.lexists(fenced_record_path(settings.persistent_dir)):
                from fencer.storage import fenced_record

                emit = fenced_record.forget_once_won(settings.persistent_dir, emit)
            procedure.fence(opened, contest, order.request.arbitration, settings.where, emit, deadline, asked)
        case StorageGoal.REGISTER if own is not None:
            from fencer.storage.unfencing import unfence  # a fence needs none of it

            terms = Terms.on(settings, own, re_register=order.request.re_register)
            unfence(opened, terms, settings.state_dir, emit, deadline, _asking(deadline))
        case StorageGoal.STATUS if target is not None:
            contest = Contest.on(settings, own or target, target, slot_s=0.0, repair=False)
            procedure.status(opened, contest, emit, deadline)
        case StorageGoal.MONITOR:
            from fencer.storage.marker import read_marker
            from fencer.storage.registration import past

            found = read_marker(settings.state_dir)
            if os.path.lexists(fenced_record_path(settings.persistent_dir)):
                from fencer.storage import fenced_record

                fenced_record.note_refusal(settings.persistent_dir, _asking(deadline), emit)
            procedure.monitor(opened, settings, lambda wwid: past(found, wwid), emit, deadline, order.needed)
        case _:
            raise StorageError(f"{settings.where}: no key to {order.goal.name.lower()} with", GIVE_KEY)
