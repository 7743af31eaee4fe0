# SPDX-License-Identifier: Apache-2.0
"""A logical unit in memory that speaks SCSI and keeps persistent reservations as SPC-4 5.13 says.

Several initiators reach it, each through one I_T nexus; every command is atomic, so threads may race on it.

    target = FakeTarget()
    a = Nexus(target.nexus("a"))
    a.register_and_ignore(key, False, deadline)
    target.write("b") is ScsiStatus.RESERVATION_CONFLICT
"""

import itertools
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fencer.errors import TransportError
from fencer.model import ReservationType
from fencer.storage.pr import (
    ALL_REGISTRANTS_TYPES,
    REGISTRATIONS_PREEMPTED,
    RESERVATIONS_PREEMPTED,
    RESERVATIONS_RELEASED,
    InAction,
    OutAction,
)
from fencer.storage.transport import ScsiReply, ScsiStatus, ScsiTransport, Sense

INVALID_OPCODE = Sense(5, 0x20, 0x00)
INVALID_FIELD_IN_CDB = Sense(5, 0x24, 0x00)
INVALID_FIELD_IN_PARAMETER_LIST = Sense(5, 0x26, 0x00)
INVALID_RELEASE = Sense(5, 0x26, 0x04)
RESET = Sense(6, 0x29, 0x00)

_EXCLUSIVE_ACCESS = {
    ReservationType.EXCLUSIVE_ACCESS,
    ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
    ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
}
_HOLDER_ONLY = {ReservationType.WRITE_EXCLUSIVE, ReservationType.EXCLUSIVE_ACCESS}
_GENERATION_STEPS = set(OutAction) - {OutAction.RESERVE, OutAction.RELEASE}

_INQUIRY, _READ_10, _WRITE_10 = 0x12, 0x28, 0x2A


@dataclass(eq=False)
class Session:
    """One I_T nexus: it lives from login to relogin."""

    initiator: str
    isid: int
    attentions: deque[Sense] = field(default_factory=deque)


@dataclass(frozen=True)
class FakeReservation:
    """holder is None for the all-registrants types."""

    type: ReservationType
    holder: Session | None


class FakeTransport:
    """A ScsiTransport of one initiator. It goes on after a relogin, as /dev/sdX does."""

    def __init__(self, target: "FakeTarget", initiator: str) -> None:
        self._target, self._initiator = target, initiator
        self.closed = False

    @property
    def name(self) -> str:
        return f"fake:{self._target.wwid}:{self._initiator}"

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        if self.closed:
            raise TransportError(f"{self.name}: closed")
        return self._target.execute(self._initiator, cdb, data_out, data_in_length)

    def close(self) -> None:
        self.closed = True


class FakeTarget:
    """Knobs may be turned at any time.

    preempt_and_abort, capabilities, full_status, opcodes, aptpl: whether the target knows these.
    opcodes_blind: REPORT SUPPORTED OPERATION CODES looks at the operation code only and claims everything (tgtd).
    holder_leaves_steps: how far the generation moves when the holder unregisters (tgtd: 2).
    preempted: the unit attention for a nexus that lost its registration to a PREEMPT (LIO and SPC: 2A/05, tgtd: 2A/03).
    relogin_keeps_registration: a registration belongs to the initiator port, not to the session (LIO).
    cuts_lists: leaves out of a list what does not fit into the buffer, and says that the rest is all (LIO).
    reads_need_registration: PERSISTENT RESERVE IN conflicts for whoever is not registered.
    product: vendor and product of its INQUIRY data, 24 bytes.
    silent: initiators whose commands are lost: TransportError, not executed.
    deaf: initiators whose commands are executed and whose answers are lost: TransportError.
    busy: how many of the next commands are answered BUSY (or busy_status), all initiators together.
    log: every PERSISTENT RESERVE OUT that reached the target: initiator, service action, status.
    """

    def __init__(
        self,
        *,
        wwid: str = "naa.6001405000000000000000000000000a",
        preempt_and_abort: bool = True,
        capabilities: bool = True,
        full_status: bool = True,
        opcodes: bool = True,
        opcodes_blind: bool = False,
        aptpl: bool = True,
        compatible_reservation_handling: bool = True,
        holder_leaves_steps: int = 1,
        preempted: Sense = REGISTRATIONS_PREEMPTED,
        relogin_keeps_registration: bool = False,
        reads_need_registration: bool = False,
        cuts_lists: bool = False,
    ) -> None:
        self.wwid = wwid
        self.preempt_and_abort, self.capabilities, self.full_status = preempt_and_abort, capabilities, full_status
        self.opcodes, self.opcodes_blind, self.aptpl, self.preempted = opcodes, opcodes_blind, aptpl, preempted
        self.holder_leaves_steps = holder_leaves_steps
        self.compatible_reservation_handling = compatible_reservation_handling
        self.relogin_keeps_registration = relogin_keeps_registration
        self.reads_need_registration = reads_need_registration
        self.cuts_lists = cuts_lists
        self.product = b"FAKE    " + b"MEMORY          "
        self.silent: set[str] = set()
        self.deaf: set[str] = set()
        self.busy = 0
        self.busy_status = ScsiStatus.BUSY
        self.log: list[tuple[str, OutAction, ScsiStatus]] = []
        self.generation = 0
        self.registrations: dict[Session, int] = {}
        self.reservation: FakeReservation | None = None
        self.aptpl_active = False
        self._sessions: dict[str, Session] = {}
        self._isids = itertools.count(1)
        self._lock = threading.RLock()
        self._aborts: defaultdict[str, int] = defaultdict(int)

    # --- what tests do to it --------------------------------------------------------------------------------------

    def nexus(self, initiator: str) -> ScsiTransport:
        """The initiator's way in; logs it in if it is not."""
        with self._lock:
            self._session(initiator)
        return FakeTransport(self, initiator)

    def write(self, initiator: str) -> ScsiStatus:
        """WRITE(10) of one block, repeated through unit attentions, as an initiator's kernel would."""
        return self._insist(initiator, bytes((_WRITE_10,)) + bytes(9))

    def read(self, initiator: str) -> ScsiStatus:
        """READ(10) of one block, repeated through unit attentions."""
        return self._insist(initiator, bytes((_READ_10,)) + bytes(9))

    def relogin(self, initiator: str) -> None:
        """The initiator comes back with a new ISID: a new nexus, whose old registration stays listed."""
        with self._lock:
            old = self._session(initiator)
            if self.relogin_keeps_registration:
                old.attentions.clear()
            else:
                del self._sessions[initiator]
                self._session(initiator)

    def reset(self, lose_registrations: bool) -> None:
        """A power loss: a unit attention for everybody; without APTPL all registrations and the generation are lost."""
        with self._lock:
            if lose_registrations:
                self.registrations.clear()
                self.reservation = None
                self.generation = 0
            self._attend(self._sessions.values(), RESET)

    def inject(self, initiator: str, *attentions: Sense) -> None:
        """Queues unit attentions for the initiator's nexus."""
        with self._lock:
            self._session(initiator).attentions.extend(attentions)

    def abort_next(self, initiator: str, times: int = 1) -> None:
        """The initiator's next commands end with TASK ABORTED, not executed."""
        self._aborts[initiator] += times

    @property
    def keys(self) -> list[int]:
        """What is registered, in the target's order."""
        return list(self.registrations.values())

    # --- a command ------------------------------------------------------------------------------------------------

    def execute(self, initiator: str, cdb: bytes, data_out: bytes, data_in_length: int) -> ScsiReply:
        """What a FakeTransport calls."""
        if initiator in self.silent:
            raise TransportError(f"{initiator}: the target is silent")
        with self._lock:
            reply = self._serve(self._session(initiator), cdb, data_out, data_in_length)
        if initiator in self.deaf:
            raise TransportError(f"{initiator}: the answer was lost")
        return reply

    def _serve(self, session: Session, cdb: bytes, data_out: bytes, data_in_length: int) -> ScsiReply:
        if self.busy > 0:
            self.busy -= 1
            return _reply(self.busy_status)
        if self._aborts[session.initiator] > 0:
            self._aborts[session.initiator] -= 1
            return _reply(ScsiStatus.TASK_ABORTED)
        if session.attentions and cdb[0] != _INQUIRY:
            return _check(session.attentions.popleft())
        match cdb[0]:
            case 0x5E if self.reads_need_registration and session not in self.registrations:
                reply = _reply(ScsiStatus.RESERVATION_CONFLICT)
            case 0x5E:
                reply = self._persistent_reserve_in(cdb)
            case 0x5F:
                reply = self._persistent_reserve_out(session, cdb, data_out)
                if cdb[1] in set(OutAction):
                    self.log.append((session.initiator, OutAction(cdb[1]), reply.status))
            case 0x12:
                reply = self._inquiry(cdb)
            case 0xA3 if cdb[1] == 0x0C and self.opcodes:
                reply = self._supported(cdb)
            case 0x00:  # TEST UNIT READY
                reply = _good()
            case 0x28 | 0x2A:
                reply = _reply(ScsiStatus.GOOD if self._admits(session, cdb[0]) else ScsiStatus.RESERVATION_CONFLICT)
            case _:
                reply = _check(INVALID_OPCODE)
        return ScsiReply(reply.status, reply.sense, reply.data[:data_in_length])

    def _insist(self, initiator: str, cdb: bytes) -> ScsiStatus:
        while (reply := self.execute(initiator, cdb, b"", 0)).sense is not None and reply.sense.key == 6:
            pass
        return reply.status

    def _session(self, initiator: str) -> Session:
        if initiator not in self._sessions:
            self._sessions[initiator] = Session(initiator, next(self._isids))
        return self._sessions[initiator]

    def _admits(self, session: Session, opcode: int) -> bool:
        """SPC-4 table 45, as far as READ and WRITE go."""
        held = self.reservation
        if held is None or held.holder is session:
            return True
        if opcode == _READ_10 and held.type not in _EXCLUSIVE_ACCESS:
            return True
        return held.type not in _HOLDER_ONLY and session in self.registrations

    def _inquiry(self, cdb: bytes) -> ScsiReply:
        if not cdb[1] & 1:
            return _good(bytes((0, 0, 6, 2, 31, 0, 0, 0)) + self.product + b"1   ")
        if cdb[2] != 0x83:
            return _check(INVALID_FIELD_IN_CDB)
        designator = bytes.fromhex(self.wwid.removeprefix("naa."))
        page = struct.pack(">BBBB", 1, 3, 0, len(designator)) + designator
        return _good(struct.pack(">BBH", 0, 0x83, len(page)) + page)

    def _supported(self, cdb: bytes) -> ScsiReply:
        opcode, service_action = cdb[3], int.from_bytes(cdb[4:6])
        known = (opcode == 0x5E and self._knows_in(service_action)) or (
            opcode == 0x5F and self._knows_out(service_action)
        )
        known = known or self.opcodes_blind
        return _good(
            struct.pack(">BBH", 0, 3, 10) + bytes((opcode, service_action)) + bytes(8) if known else b"\0\1\0\0"
        )

    def _knows_in(self, action: int) -> bool:
        missing = {InAction.REPORT_CAPABILITIES: not self.capabilities, InAction.READ_FULL_STATUS: not self.full_status}
        return action in set(InAction) and not missing.get(InAction(action), False)

    def _knows_out(self, action: int) -> bool:
        if action == OutAction.PREEMPT_AND_ABORT:
            return self.preempt_and_abort
        return action in set(OutAction) and action != OutAction.REGISTER_AND_MOVE

    # --- PERSISTENT RESERVE IN ------------------------------------------------------------------------------------

    def _persistent_reserve_in(self, cdb: bytes) -> ScsiReply:
        if not self._knows_in(cdb[1]):
            return _check(INVALID_FIELD_IN_CDB)
        match InAction(cdb[1]):
            case InAction.READ_KEYS:
                body = self._list([struct.pack(">Q", key) for key in self.registrations.values()], cdb)
            case InAction.READ_RESERVATION:
                body = b""
                if self.reservation is not None:
                    holder = self.reservation.holder
                    key = self.registrations[holder] if holder is not None else 0
                    body = struct.pack(">Q5xB2x", key, self.reservation.type)
            case InAction.REPORT_CAPABILITIES:
                data = struct.pack(
                    ">HBBBBxx",
                    8,
                    self.compatible_reservation_handling << 4 | self.aptpl,
                    0x80 | self.aptpl_active,
                    0xEA,
                    0x01,
                )
                return _good(data[: int.from_bytes(cdb[7:9])])
            case InAction.READ_FULL_STATUS:
                body = self._list([self._full_status(*item) for item in self.registrations.items()], cdb)
        data = struct.pack(">II", self.generation, len(body)) + body
        return _good(data[: int.from_bytes(cdb[7:9])])

    def _list(self, entries: list[bytes], cdb: bytes) -> bytes:
        room = int.from_bytes(cdb[7:9]) - 8
        lengths = itertools.accumulate(map(len, entries))
        return b"".join(each for each, end in zip(entries, lengths, strict=True) if end <= room or not self.cuts_lists)

    def _full_status(self, session: Session, key: int) -> bytes:
        # a1 and a2 are sessions of one initiator, a: two paths of a node.
        name = f"{session.initiator.rstrip('0123456789')},i,0x{session.isid:012x}".encode() + b"\0"
        name += bytes(max(20, len(name) + 3 & ~3) - len(name))
        transport_id = struct.pack(">BBH", 0x45, 0, len(name)) + name
        held = self.reservation
        holds = held is not None and held.holder in (session, None)
        return (
            struct.pack(">Q4xBB4xHI", key, holds, held.type if held and holds else 0, 1, len(transport_id))
            + transport_id
        )

    # --- PERSISTENT RESERVE OUT -----------------------------------------------------------------------------------

    def _persistent_reserve_out(self, session: Session, cdb: bytes, data_out: bytes) -> ScsiReply:
        if not self._knows_out(cdb[1]):
            return _check(INVALID_FIELD_IN_CDB)
        if len(data_out) != 24 or int.from_bytes(cdb[5:9]) != 24:
            return _check(Sense(5, 0x1A, 0))  # parameter list length error
        action = OutAction(cdb[1])
        key, service_key, flags = struct.unpack(">QQ4xB3x", data_out)
        if flags & 1 and not self.aptpl:
            return _check(INVALID_FIELD_IN_PARAMETER_LIST)
        type_ = None
        if action in (OutAction.RESERVE, OutAction.RELEASE, OutAction.PREEMPT, OutAction.PREEMPT_AND_ABORT):
            if cdb[2] not in set(ReservationType):
                return _check(INVALID_FIELD_IN_CDB)
            type_ = ReservationType(cdb[2])
        own = self.registrations.get(session)
        if action is not OutAction.REGISTER_AND_IGNORE_EXISTING_KEY and key != (own or 0):
            return _reply(ScsiStatus.RESERVATION_CONFLICT)
        if own is None and action not in (OutAction.REGISTER, OutAction.REGISTER_AND_IGNORE_EXISTING_KEY):
            return _reply(ScsiStatus.RESERVATION_CONFLICT)
        match action:
            case OutAction.REGISTER | OutAction.REGISTER_AND_IGNORE_EXISTING_KEY:
                self.aptpl_active = bool(flags & 1)
                reply = self._register(session, service_key)
            case OutAction.RESERVE if type_:
                reply = self._reserve(session, type_)
            case OutAction.RELEASE if type_:
                reply = self._release(session, type_)
            case OutAction.CLEAR:
                self._attend(set(self.registrations) - {session}, RESERVATIONS_PREEMPTED)
                self.registrations.clear()
                self.reservation = None
                reply = _good()
            case _:
                assert type_ is not None
                reply = self._preempt(session, service_key, type_)
        if reply.status is ScsiStatus.GOOD and action in _GENERATION_STEPS:
            self.generation = (self.generation + 1) % (1 << 32)
        return reply

    def _register(self, session: Session, key: int) -> ScsiReply:
        if key:
            self.registrations[session] = key
        else:
            if self.reservation is not None and self.reservation.holder is session:
                self.generation += self.holder_leaves_steps - 1
            self._unregister([session], attention=None)
        return _good()

    def _reserve(self, session: Session, type_: ReservationType) -> ScsiReply:
        holder = None if type_ in ALL_REGISTRANTS_TYPES else session
        if self.reservation is None:
            self.reservation = FakeReservation(type_, holder)
        same = self.reservation == FakeReservation(type_, holder)
        return _reply(ScsiStatus.GOOD if same else ScsiStatus.RESERVATION_CONFLICT)

    def _release(self, session: Session, type_: ReservationType) -> ScsiReply:
        held = self.reservation
        if held is None or held.holder not in (session, None):
            return _good()
        if held.type is not type_:
            return _check(INVALID_RELEASE)
        self._drop_reservation(by=session)
        return _good()

    def _preempt(self, session: Session, victim: int, type_: ReservationType) -> ScsiReply:
        """SPC-4 5.13.11.2: one atomic step."""
        held = self.reservation
        if held is not None and held.holder is None and victim == 0:  # all registrants: takes the place of everybody
            victims = [s for s in self.registrations if s is not session]
            takes_over = True
        elif victim == 0:
            return _check(INVALID_FIELD_IN_PARAMETER_LIST)
        else:
            victims = [s for s, key in self.registrations.items() if key == victim]
            takes_over = held is not None and held.holder in victims
        if not victims and not takes_over:
            return _reply(ScsiStatus.RESERVATION_CONFLICT)
        if not takes_over:
            self._unregister(victims, attention=self.preempted, by=session)
            return _good()
        self.reservation = FakeReservation(type_, None if type_ in ALL_REGISTRANTS_TYPES else session)
        self._unregister([s for s in victims if s is not session], attention=self.preempted, by=session)
        if held is not None and held.type is not type_:
            self._attend(set(self.registrations) - {session}, RESERVATIONS_RELEASED)
        return _good()

    def _unregister(self, victims: list[Session], *, attention: Sense | None, by: Session | None = None) -> None:
        for session in victims:
            if self.registrations.pop(session, None) is None:
                continue
            if attention is not None and session is not by:
                self._attend([session], attention)
            held = self.reservation
            if held is not None and (held.holder is session or not self.registrations):
                self._drop_reservation(by=session)

    def _drop_reservation(self, by: Session) -> None:
        """The reservation ends; those who could use it hear of it (SPC-4 5.13.11.1.2)."""
        if self.reservation is not None and self.reservation.type not in _HOLDER_ONLY:
            self._attend(set(self.registrations) - {by}, RESERVATIONS_RELEASED)
        self.reservation = None

    def _attend(self, sessions: Iterable[Session], attention: Sense) -> None:
        for session in sessions:
            if attention not in session.attentions and self._sessions.get(session.initiator) is session:
                session.attentions.append(attention)


def _reply(status: ScsiStatus) -> ScsiReply:
    return ScsiReply(status, None, b"")


def _good(data: bytes = b"") -> ScsiReply:
    return ScsiReply(ScsiStatus.GOOD, None, data)


def _check(sense: Sense) -> ScsiReply:
    return ScsiReply(ScsiStatus.CHECK_CONDITION, sense, b"")
