# SPDX-License-Identifier: Apache-2.0
"""Persistent reservation commands through one I_T nexus, under a deadline, retried only where SPC says it is safe.

What is retried, and why that is safe:

- unit attention: the command was not executed, it only reported an event (SAM-5 5.14);
- BUSY, TASK SET FULL, NOT READY 04/01 and 04/0A (becoming ready, ALUA transition): it was not executed;
- TASK ABORTED and ABORTED COMMAND: it may have been executed, so only for commands that change nothing.

Where the LUN has other paths, such an answer is waited out for a moment only: the next path may be well.

Two answers end a PERSISTENT RESERVE OUT without a second try: no status at all, and a unit attention that says that
registrations were preempted: ours may be gone, and the caller must look before anything is written again.
"""

import time
from collections import deque
from collections.abc import Callable

from fencer._enum import Enum, auto
from fencer._typing import Final, TypeVar
from fencer.errors import (
    CommandFailed,
    MalformedAnswer,
    NotRegistered,
    StorageError,
    StorageRefused,
    TransportError,
)
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.storage import inquiry, pr
from fencer.storage.bounded_transport import BoundedTransport
from fencer.storage.pr import InAction, OutAction
from fencer.storage.transport import ScsiReply, ScsiStatus, ScsiTransport, Sense

_FIRST_ALLOCATION_LENGTH_BYTES = 2048  # 255 keys
_FULL_STATUS_LENGTH_BYTES = 0x4000  # room for 180 registrations
_LONGEST_ENTRY_BYTES = 512  # of a list: a key has 8, a registration by iSCSI with the longest name some 290
_MAX_READS_OF_ONE_ANSWER = 8  # it may grow while we ask for more
_UNIT_ATTENTIONS_AT_ONCE = 8  # more than a target queues for one nexus; beyond that pause
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.2
_REMEMBERED_UNIT_ATTENTIONS = 64

PATH_S = 1.0
"""For how long one of several paths may be silent before another one is asked."""

PASSING_S = 0.25
"""For how long one of several paths may ask us to wait (busy, becoming ready) before another one is asked."""

RESCAN = (
    "map the LUN there again at the array; or delete this disk (echo 1 >/sys/block/sdX/device/delete) and rescan, then "
    "call again"
)

_RECOVERED_ERROR, _NOT_READY, _ABORTED_COMMAND = 0x1, 0x2, 0xB
_T = TypeVar("_T")

_PASSING_NOT_READY = ((0x04, 0x01), (0x04, 0x0A))


class Outcome(Enum):
    """How the target answered a PERSISTENT RESERVE OUT."""

    DONE = auto()
    CONFLICT = auto()  # RESERVATION CONFLICT: not registered with this key on this nexus, or nothing to preempt
    UNSUPPORTED = auto()  # illegal request: the target does not know the service action or a field of it
    CHANGED = auto()  # not executed: registrations were preempted meanwhile, read again before anything else


class Nexus:
    """The commands of one nexus. Not for use by several threads at once.

    command_timeout_s: the most that a single command may take; no method waits past the deadline it is given.
    patience_s: for how long an answer that asks us to wait is waited out; None: until the deadline.
    sleep: for tests; the clock is the deadline's.
    wwid: as sysfs writes it, of the LUN that this nexus is to lead to; None: not known. The target is asked before the
    first command, and again after a unit attention that may announce another LUN under the same number. The kernel
    keeps what it read when it found the disk, and an array or a restarted target may have mapped another LUN since.
    guarding: told when a registration under a guard key begins (True) and ends (see register_under_guard).
    failed: the latest command had no answer, or one that says that this path does not work now.

    Each method raises TransportError (no status, or the deadline has passed), CommandFailed (a status that no retry
    mends, or that lasted) and, where data are read, MalformedAnswer; PERSISTENT RESERVE IN also NotRegistered.
    """

    def __init__(
        self,
        transport: ScsiTransport,
        *,
        command_timeout_s: float = 2.0,
        patience_s: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        wwid: str | None = None,
    ) -> None:
        self._transport: Final = transport
        self._bounded: Final = transport if isinstance(transport, BoundedTransport) else None
        self._command_timeout_s: Final = command_timeout_s
        self._patience_s: Final = patience_s
        self.sleep: Final = sleep
        self.guarding: Callable[[bool], None] = lambda _begins: None
        self.failed = False
        self._wwid: Final = wwid
        self._is_identified = wwid is None
        self._unit_attentions: Final[deque[Sense]] = deque(maxlen=_REMEMBERED_UNIT_ATTENTIONS)

    @property
    def name(self) -> str:
        """What an operator would type."""
        return self._transport.name

    @property
    def unit_attentions(self) -> tuple[Sense, ...]:
        """The latest unit attentions this nexus received, oldest first (at most 64)."""
        return tuple(self._unit_attentions)

    def as_one_of_several(self, bound: Callable[[ScsiTransport], ScsiTransport]) -> "Nexus":
        """The same path as one of several: it has PATH_S and PASSING_S at a time. bound: wraps the
        transport into one that never waits past its timeout."""
        return Nexus(
            bound(self._transport), command_timeout_s=PATH_S, patience_s=PASSING_S, sleep=self.sleep, wwid=self._wwid
        )

    def of_lun(self, wwid: str) -> "Nexus":
        """The same path, which has to lead to this LUN."""
        return Nexus(
            self._transport,
            command_timeout_s=self._command_timeout_s,
            patience_s=self._patience_s,
            sleep=self.sleep,
            wwid=wwid,
        )

    def bounded(self, read: Callable[["Nexus"], _T], timeout_s: float) -> _T:
        """Reads by several commands at one change of threads, where it is bounded (see BoundedTransport.bounded)."""
        return read(self) if self._bounded is None else self._bounded.bounded(lambda: read(self), timeout_s)

    def here(self, read: Callable[["Nexus"], _T]) -> _T:
        """Reads in the calling thread, which hangs when the path does (see BoundedTransport.here)."""
        return read(self) if self._bounded is None else self._bounded.here(lambda: read(self))

    def close(self) -> None:
        """Closes the nexus. Registrations stay. Never raises."""
        self._transport.close()

    def forget_unit_attentions(self) -> None:
        """Empties unit_attentions, before a step whose own events matter."""
        self._unit_attentions.clear()

    # --- what is this ---------------------------------------------------------------------------------------------

    def standard_inquiry(self, deadline: Deadline) -> inquiry.StandardInquiry:
        """Standard INQUIRY data."""
        length = inquiry.STANDARD_INQUIRY_LENGTH_BYTES
        reply = self._read("INQUIRY", inquiry.inquiry_cdb(length), length, deadline)
        return self._named(inquiry.decode_standard_inquiry, reply.data)

    def device_type(self, deadline: Deadline) -> int:
        """Peripheral device type; ``inquiry.DISK`` is 0."""
        return self.standard_inquiry(deadline).peripheral_device_type

    def wwid(self, deadline: Deadline) -> str | None:
        """The logical unit's name as Linux's sysfs writes it; None if it has no usable designator or no page 83h."""
        try:
            page = self._identification(deadline)
        except _Unsupported:
            return None
        return self._named(inquiry.decode_wwid, page)

    def require_wwid(self, deadline: Deadline) -> None:
        """Raises StorageError unless the target says that this is the LUN of wwid; nothing where that is not known.

        Any of the LUN's designators may be it: kernels before 5.11 chose another one.
        """
        self._is_identified = True  # for the command that asks
        if self._wwid is None or not self._wwid.isascii() or "\\" in self._wwid:  # what the kernel could not write
            return
        try:
            names = self._named(inquiry.decode_names, self._identification(deadline))
        except _Unsupported:
            names = ()
        except StorageError:
            self._is_identified = False
            raise
        if self._wwid.strip().lower() not in (name.strip().lower() for name in names):
            self._is_identified = False
            if not names:  # as from a target that is starting
                raise StorageError(f"{self.name}: the target gives no name for this LUN, which was {self._wwid}")
            found = ", ".join(names)
            raise StorageRefused(
                f"{self.name}: it is another LUN now, {found}, and was {self._wwid} when the kernel found it", RESCAN
            )

    def _identification(self, deadline: Deadline) -> bytes:
        return self._read_whole(
            "INQUIRY page 83h",
            inquiry.device_identification_cdb,
            inquiry.page_length_bytes,
            deadline,
            inquiry.FIRST_PAGE_LENGTH_BYTES,
        )

    def supports(self, service_action: InAction | OutAction, deadline: Deadline) -> bool | None:
        """By REPORT SUPPORTED OPERATION CODES: True, False, or None when the target cannot tell.

        tgtd 1.0.85 looks only at the operation code and claims every service action, also those that it refuses. So a
        yes counts only if the target denies a reserved service action.
        """
        try:
            claimed = self._claims(service_action.opcode, service_action, deadline)
            if claimed and self._claims(service_action.opcode, pr.RESERVED_ACTION, deadline):
                return None
        except _Unsupported:
            return None
        return claimed

    def _claims(self, opcode: int, service_action: int, deadline: Deadline) -> bool | None:
        length = inquiry.SUPPORTED_OPCODES_LENGTH_BYTES
        cdb = inquiry.supported_opcodes_cdb(opcode, service_action, length)
        reply = self._read("REPORT SUPPORTED OPERATION CODES", cdb, length, deadline)
        return self._named(inquiry.decode_supported, reply.data)

    # --- PERSISTENT RESERVE IN ------------------------------------------------------------------------------------

    def read_keys(self, deadline: Deadline) -> pr.RegisteredKeys:
        """Every registered key; the buffer grows until all fit."""
        return self._named(pr.decode_keys, self._persistent_reserve_in(InAction.READ_KEYS, deadline))

    def read_reservation(self, deadline: Deadline) -> pr.Reservation:
        """The reservation; its type is None when none is held."""
        return self._named(pr.decode_reservation, self._persistent_reserve_in(InAction.READ_RESERVATION, deadline))

    def report_capabilities(self, deadline: Deadline) -> pr.Capabilities | None:
        """None if the target lacks the service action."""
        try:
            return self._named(
                pr.decode_capabilities, self._persistent_reserve_in(InAction.REPORT_CAPABILITIES, deadline)
            )
        except _Unsupported:
            return None

    def read_full_status(self, deadline: Deadline) -> pr.FullStatus | None:
        """None if the target lacks the service action."""
        try:
            data = self._persistent_reserve_in(InAction.READ_FULL_STATUS, deadline, _FULL_STATUS_LENGTH_BYTES)
            return self._named(pr.decode_full_status, data)
        except _Unsupported:
            return None

    # --- PERSISTENT RESERVE OUT -----------------------------------------------------------------------------------
    #
    # After a TransportError it is unknown whether the command was executed: it is never sent again here. Read, decide.

    def register(
        self, old: ReservationKey | None, new: ReservationKey | None, aptpl: bool, deadline: Deadline
    ) -> Outcome:
        """REGISTER: from key old (None: not registered on this nexus) to key new (None: unregister)."""
        return self._persistent_reserve_out(OutAction.REGISTER, pr.parameter_list(old, new, aptpl=aptpl), deadline)

    def register_and_ignore(self, new: ReservationKey | None, aptpl: bool, deadline: Deadline) -> Outcome:
        """REGISTER AND IGNORE EXISTING KEY: sets the key of this nexus to new (None: unregister)."""
        action = OutAction.REGISTER_AND_IGNORE_EXISTING_KEY
        return self._persistent_reserve_out(action, pr.parameter_list(None, new, aptpl=aptpl), deadline)

    def reserve(self, key: ReservationKey, type_: ReservationType, deadline: Deadline) -> Outcome:
        """RESERVE. DONE also when this nexus holds that very reservation already."""
        return self._persistent_reserve_out(OutAction.RESERVE, pr.parameter_list(key, None), deadline, type_)

    def release(self, key: ReservationKey, type_: ReservationType, deadline: Deadline) -> Outcome:
        """RELEASE. DONE also when this nexus is registered but holds nothing."""
        return self._persistent_reserve_out(OutAction.RELEASE, pr.parameter_list(key, None), deadline, type_)

    def clear(self, key: ReservationKey, deadline: Deadline) -> Outcome:
        """CLEAR: removes the reservation and every registration."""
        return self._persistent_reserve_out(OutAction.CLEAR, pr.parameter_list(key, None), deadline)

    def preempt(
        self, key: ReservationKey, victim: ReservationKey, type_: ReservationType, deadline: Deadline
    ) -> Outcome:
        """PREEMPT: removes every registration with key victim, atomically, and takes over what it held.

        Commands that the victim has queued already may still be executed.
        """
        return self._persistent_reserve_out(OutAction.PREEMPT, pr.parameter_list(key, victim), deadline, type_)

    def preempt_and_abort(
        self, key: ReservationKey, victim: ReservationKey, type_: ReservationType, deadline: Deadline
    ) -> Outcome:
        """PREEMPT AND ABORT: as PREEMPT, and the victim's queued commands are aborted."""
        return self._persistent_reserve_out(
            OutAction.PREEMPT_AND_ABORT, pr.parameter_list(key, victim), deadline, type_
        )

    # --- how ------------------------------------------------------------------------------------------------------

    def _persistent_reserve_out(
        self, action: OutAction, parameters: bytes, deadline: Deadline, type_: ReservationType | None = None
    ) -> Outcome:
        operation = str(action)
        cdb = pr.out_cdb(action, type_, len(parameters))
        reply = self._execute(operation, cdb, deadline, data_out=parameters, changes_state=True)
        match reply.status:
            case ScsiStatus.GOOD:
                return Outcome.DONE
            case ScsiStatus.RESERVATION_CONFLICT:
                return Outcome.CONFLICT
            case _ if pr.says_preempted(reply.sense):
                return Outcome.CHANGED
            case _ if pr.is_unsupported(reply.sense):
                return Outcome.UNSUPPORTED
            case _:
                raise self._failed(operation, reply)

    def _persistent_reserve_in(
        self, action: InAction, deadline: Deadline, allocation_length_bytes: int = _FIRST_ALLOCATION_LENGTH_BYTES
    ) -> bytes:
        return self._read_whole(
            str(action),
            lambda length_bytes: pr.in_cdb(action, length_bytes),
            lambda data: pr.answer_length_bytes(action, data),
            deadline,
            allocation_length_bytes,
            _LONGEST_ENTRY_BYTES,
        )

    def _read_whole(
        self,
        operation: str,
        cdb: Callable[[int], bytes],
        length_of: Callable[[bytes], int],
        deadline: Deadline,
        allocation: int,
        spare_bytes: int = 0,
    ) -> bytes:
        """Reads until the buffer holds all that the target has. A part of an answer is never returned.

        spare_bytes: an answer that leaves less of the buffer is read again with the largest one.
        LIO leaves out of READ FULL STATUS what does not fit (older kernels: of READ KEYS, too), and says that the
        rest is all. So there has to be room for another entry.
        """
        for _ in range(_MAX_READS_OF_ONE_ANSWER):
            data = self._read(operation, cdb(allocation), allocation, deadline).data
            needed = self._named(length_of, data)
            if needed <= len(data):
                if needed + spare_bytes <= allocation or allocation == pr.MAX_ALLOCATION_LENGTH_BYTES:
                    return data
                allocation = pr.MAX_ALLOCATION_LENGTH_BYTES
                continue
            if needed <= allocation or allocation == pr.MAX_ALLOCATION_LENGTH_BYTES:
                raise MalformedAnswer(f"{self.name}: {operation}: {len(data)} of {needed} bytes: incomplete")
            allocation = min(needed + 7 & ~7, pr.MAX_ALLOCATION_LENGTH_BYTES)
        raise MalformedAnswer(f"{self.name}: {operation}: the answer grows faster than it can be read")

    def _read(self, operation: str, cdb: bytes, length_bytes: int, deadline: Deadline) -> ScsiReply:
        reply = self._execute(operation, cdb, deadline, data_in_length=length_bytes, changes_state=False)
        if reply.status is ScsiStatus.GOOD:
            return reply
        if pr.is_unsupported(reply.sense):
            raise _Unsupported(str(self._failed(operation, reply)))
        if reply.status is ScsiStatus.RESERVATION_CONFLICT and cdb[0] == InAction.READ_KEYS.opcode:
            raise NotRegistered(str(self._failed(operation, reply)))
        raise self._failed(operation, reply)

    def _execute(
        self,
        operation: str,
        cdb: bytes,
        deadline: Deadline,
        *,
        data_out: bytes = b"",
        data_in_length: int = 0,
        changes_state: bool,
    ) -> ScsiReply:
        """Sends one command until the target really deals with it. See the module's docstring for the rules."""
        if not self._is_identified:
            self.require_wwid(deadline)
        self.failed = True
        reply = self._insist(operation, cdb, deadline, data_out, data_in_length, changes_state)
        self.failed = reply.status is ScsiStatus.CHECK_CONDITION and not (
            pr.is_unit_attention(reply.sense) or pr.is_unsupported(reply.sense)
        )
        return reply

    def _insist(
        self,
        operation: str,
        cdb: bytes,
        deadline: Deadline,
        data_out: bytes,
        data_in_length: int,
        changes_state: bool,
    ) -> ScsiReply:
        unit_attentions, pause_s = 0, _FIRST_PAUSE_S
        patience = deadline if self._patience_s is None else deadline.within(self._patience_s)
        reply: ScsiReply | None = None
        while not deadline.passed:
            timeout_s = min(deadline.remaining_s, self._command_timeout_s)
            reply = self._transport.execute(cdb, data_out=data_out, data_in_length=data_in_length, timeout_s=timeout_s)
            sense = reply.sense if reply.status is ScsiStatus.CHECK_CONDITION else None
            if sense is not None and sense.key == _RECOVERED_ERROR:  # executed, with a remark
                return ScsiReply(ScsiStatus.GOOD, sense, reply.data)
            if sense is not None and pr.is_unit_attention(sense):
                self._unit_attentions.append(sense)
                if changes_state and pr.says_preempted(sense):
                    return reply
                if self._wwid is not None and pr.may_be_another_lun(sense) and cdb[0] != inquiry.OPCODE:
                    self.require_wwid(deadline)
                unit_attentions += 1
                if unit_attentions <= _UNIT_ATTENTIONS_AT_ONCE:
                    continue
            elif _is_aborted(reply):
                if changes_state:
                    raise TransportError(
                        f"{self.name}: {operation}: aborted by the target; whether it was executed is unknown"
                    )
            elif not (reply.status in (ScsiStatus.BUSY, ScsiStatus.TASK_SET_FULL) or _is_passing(sense)):
                return reply
            if patience.passed:
                break
            self.sleep(min(pause_s, patience.remaining_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if reply is None:
            raise TransportError(f"{self.name}: {operation}: not sent, the deadline has passed")
        until = "until the deadline" if deadline.passed else f"for {self._patience_s:g} s"
        text = f"{self.name}: {operation}: {_describe(reply)} {until}"
        has_sense = reply.status is ScsiStatus.CHECK_CONDITION
        raise CommandFailed(text) if has_sense and _is_aborted(reply) else AskedToWait(text)

    def _failed(self, operation: str, reply: ScsiReply) -> CommandFailed:
        return CommandFailed(f"{self.name}: {operation}: {_describe(reply)}")

    def _named(self, decode: Callable[[bytes], _T], data: bytes) -> _T:
        try:
            return decode(data)
        except MalformedAnswer as error:
            raise MalformedAnswer(f"{self.name}: {error}") from error


class AskedToWait(CommandFailed):
    """The target asked to wait (busy, becoming ready), or ended the task, for as long as this path may take. That says
    nothing of the command. ABORTED COMMAND may: some targets answer so to what they do not know."""


class _Unsupported(CommandFailed, StorageRefused):
    """The target does not know the command. Never leaves a method whose answer can be None."""


def _is_aborted(reply: ScsiReply) -> bool:
    sense = reply.sense if reply.status is ScsiStatus.CHECK_CONDITION else None
    return reply.status is ScsiStatus.TASK_ABORTED or (sense is not None and sense.key == _ABORTED_COMMAND)


def _is_passing(sense: Sense | None) -> bool:
    return sense is not None and sense.key == _NOT_READY and (sense.asc, sense.ascq) in _PASSING_NOT_READY


def _describe(reply: ScsiReply) -> str:
    if reply.status is ScsiStatus.CHECK_CONDITION:
        return pr.describe_sense(reply.sense) if reply.sense else "check condition without sense data"
    return reply.status.name.lower().replace("_", " ")
