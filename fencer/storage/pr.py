# SPDX-License-Identifier: Apache-2.0
"""SCSI-3 persistent reservations as bytes: CDBs and parameter lists out, parameter data and sense in. No I/O.

A decoder returns a value or raises MalformedAnswer, for any bytes. An answer that is shorter than it says is
never decoded in part: a key that did not fit into the buffer must not look like a key that is not registered.

Source: SPC-4 r37, 6.15 (PERSISTENT RESERVE IN), 6.16 (PERSISTENT RESERVE OUT), 4.5 (sense data), 7.6.4 (TransportID).
"""

import struct

from fencer._enum import IntEnum
from fencer._typing import NamedTuple
from fencer.errors import MalformedAnswer
from fencer.model import ReservationKey, ReservationType
from fencer.storage.transport import Sense

MAX_ALLOCATION_LENGTH_BYTES = 0xFFF8  # 16 bits, kept to whole keys
_MAX_ANSWER_BYTES = 0xFFFF
RESERVED_ACTION = 0x1F  # no service action, IN or OUT, has this number

_HEADER = struct.Struct(">II")  # PRGENERATION, ADDITIONAL LENGTH
_RESERVATION = struct.Struct(">Q5xB2x")  # RESERVATION KEY, SCOPE and TYPE
_STATUS_DESCRIPTOR = struct.Struct(">Q4xBB4xHI")  # key, flags, scope and type, relative target port, additional length


class InAction(IntEnum):
    """PERSISTENT RESERVE IN service action (SPC-4 table 187)."""

    READ_KEYS = 0
    READ_RESERVATION = 1
    REPORT_CAPABILITIES = 2
    READ_FULL_STATUS = 3

    @property
    def opcode(self) -> int:
        return 0x5E

    def __str__(self) -> str:
        return self.name.replace("_", " ")


class OutAction(IntEnum):
    """PERSISTENT RESERVE OUT service action (SPC-4 table 199)."""

    REGISTER = 0
    RESERVE = 1
    RELEASE = 2
    CLEAR = 3
    PREEMPT = 4
    PREEMPT_AND_ABORT = 5
    REGISTER_AND_IGNORE_EXISTING_KEY = 6
    REGISTER_AND_MOVE = 7

    @property
    def opcode(self) -> int:
        return 0x5F

    def __str__(self) -> str:
        return self.name.replace("_", " ")


ALL_REGISTRANTS_TYPES = frozenset(
    {ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS, ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS}
)


class RegisteredKeys(NamedTuple):
    """Every registration the target lists. One key may appear several times (once a nexus), in the target's order.

    generation: PRGENERATION, 32 bits, one more after each change of registrations.
    """

    generation: int
    keys: tuple[ReservationKey, ...]


class Reservation(NamedTuple):
    """The reservation of a logical unit.

    type is None when none is held. holder is None then, and with the all-registrants types: every registrant holds it.
    """

    generation: int
    holder: ReservationKey | None
    type: ReservationType | None


class Capabilities(NamedTuple):
    """What the target says it can do with persistent reservations.

    types is None when the target does not say (TMV 0). allow_commands: SPC-4 table 196, 0 to 7.
    ptpl_capable: registrations may survive a power loss (PTPL_C); ptpl_active: they do now (PTPL_A).
    """

    compatible_reservation_handling: bool  # CRH
    specify_initiator_ports_capable: bool  # SIP_C
    all_target_ports_capable: bool  # ATP_C
    ptpl_capable: bool
    ptpl_active: bool
    allow_commands: int
    types: frozenset[ReservationType] | None


class Registration(NamedTuple):
    """One registered nexus.

    type is None unless this nexus holds the reservation. relative_target_port is None with all_target_ports.
    initiator: the iSCSI name, ``fc.``, ``sas.`` or ``srp.`` and hexadecimal digits, or None if not decodable.
    """

    key: ReservationKey
    all_target_ports: bool
    holder: bool
    type: ReservationType | None
    relative_target_port: int | None
    transport_id: bytes
    initiator: str | None


class FullStatus(NamedTuple):
    """Every registration with the nexus it belongs to."""

    generation: int
    registrations: tuple[Registration, ...]


# --- out ---------------------------------------------------------------------------------------------------------


def in_cdb(action: InAction, allocation_length_bytes: int) -> bytes:
    """The CDB of a PERSISTENT RESERVE IN, 10 bytes. ValueError if the length does not fit into 16 bits."""
    if not 0 <= allocation_length_bytes <= _MAX_ANSWER_BYTES:
        raise ValueError(f"allocation length {allocation_length_bytes} does not fit into 16 bits")
    return struct.pack(">BB5xHx", action.opcode, action, allocation_length_bytes)


def out_cdb(action: OutAction, type_: ReservationType | None, parameter_list_length_bytes: int) -> bytes:
    """The CDB of a PERSISTENT RESERVE OUT, 10 bytes. Scope is always the logical unit; type None: not applicable."""
    return struct.pack(">BBB2xIx", action.opcode, action, type_ or 0, parameter_list_length_bytes)


def parameter_list(
    key: ReservationKey | None,
    service_action_key: ReservationKey | None,
    *,
    aptpl: bool = False,
    all_target_ports: bool = False,
    transport_ids: bytes = b"",
) -> bytes:
    """The parameter list of every service action but REGISTER AND MOVE: 24 bytes, then TransportIDs if there are any.

    key: what this nexus is registered with, None if it is not. service_action_key: the key to register (None:
    unregister) or to preempt. transport_ids: whole TransportIDs, sets SPEC_I_PT.
    """
    flags = bool(transport_ids) << 3 | all_target_ports << 2 | aptpl
    head = struct.pack(
        ">QQ4xB3x", key.value if key else 0, service_action_key.value if service_action_key else 0, flags
    )
    return head + (struct.pack(">I", len(transport_ids)) + transport_ids if transport_ids else b"")


# --- in ----------------------------------------------------------------------------------------------------------


def answer_length_bytes(action: InAction, data: bytes) -> int:
    """How many bytes the whole answer has, by its own header.

    More than len(data) means: nothing may be concluded from it, ask again with at least this allocation length.
    Raises MalformedAnswer if the header itself is incomplete or claims more than any PERSISTENT RESERVE IN can carry.
    """
    if action is InAction.REPORT_CAPABILITIES:
        if len(data) < 2:
            raise MalformedAnswer(f"{action}: {len(data)} bytes, the header has 2")
        return int.from_bytes(data[:2])
    if len(data) < _HEADER.size:
        raise MalformedAnswer(f"{action}: {len(data)} bytes, the header has {_HEADER.size}")
    length = _HEADER.size + int.from_bytes(data[4:8])
    if length > _MAX_ANSWER_BYTES:
        raise MalformedAnswer(f"{action}: claims {length} bytes, more than an allocation length can ask for")
    return length


def decode_keys(data: bytes) -> RegisteredKeys:
    """READ KEYS parameter data (SPC-4 6.15.2). Raises MalformedAnswer, also when the answer is not whole."""
    generation, body = _whole(InAction.READ_KEYS, data)
    if len(body) % 8:
        raise MalformedAnswer(f"READ KEYS: additional length {len(body)} is not a multiple of 8")
    return RegisteredKeys(generation, tuple(_key(value, "READ KEYS") for (value,) in struct.iter_unpack(">Q", body)))


def decode_reservation(data: bytes) -> Reservation:
    """READ RESERVATION parameter data (SPC-4 6.15.3). Raises MalformedAnswer, also when the answer is not whole.

    Key 0 with a type that has one holder is malformed. With an all-registrants type the key field says nothing (the
    standard wants 0, some targets name one of the registrants).
    """
    generation, body = _whole(InAction.READ_RESERVATION, data)
    if not body:
        return Reservation(generation, None, None)
    if len(body) != _RESERVATION.size:
        raise MalformedAnswer(f"READ RESERVATION: additional length {len(body)}, neither 0 nor {_RESERVATION.size}")
    value, scope_type = _RESERVATION.unpack(body)
    type_ = _type(scope_type, "READ RESERVATION")
    holder = None if type_ in ALL_REGISTRANTS_TYPES else _key(value, "READ RESERVATION")
    return Reservation(generation, holder, type_)


def decode_capabilities(data: bytes) -> Capabilities:
    """REPORT CAPABILITIES parameter data (SPC-4 6.15.4). Raises MalformedAnswer."""
    length = answer_length_bytes(InAction.REPORT_CAPABILITIES, data)
    if length < 8 or len(data) < 8:
        raise MalformedAnswer(f"REPORT CAPABILITIES: {len(data)} bytes, says {length}, 8 are needed")
    what, now, mask = data[2], data[3], int.from_bytes(data[4:6])
    types = frozenset(t for t in ReservationType if mask & _type_mask_bit(t)) if now & 0x80 else None
    return Capabilities(
        compatible_reservation_handling=bool(what & 0x10),
        specify_initiator_ports_capable=bool(what & 0x08),
        all_target_ports_capable=bool(what & 0x04),
        ptpl_capable=bool(what & 0x01),
        ptpl_active=bool(now & 0x01),
        allow_commands=now >> 4 & 0x07,
        types=types,
    )


def _type_mask_bit(type_: ReservationType) -> int:
    """The bit of a type in the 16-bit PERSISTENT RESERVATION TYPE MASK (SPC-4 table 195): byte 4 holds types 0-7."""
    return 1 << 8 + type_ if type_ < 8 else 1 << type_ - 8


def decode_full_status(data: bytes) -> FullStatus:
    """READ FULL STATUS parameter data (SPC-4 6.15.5). Raises MalformedAnswer, also when the answer is not whole."""
    generation, body = _whole(InAction.READ_FULL_STATUS, data)
    registrations: list[Registration] = []
    while body:
        if len(body) < _STATUS_DESCRIPTOR.size:
            raise MalformedAnswer(f"READ FULL STATUS: {len(body)} bytes left for a descriptor")
        value, flags, scope_type, port, length = _STATUS_DESCRIPTOR.unpack_from(body)
        end = _STATUS_DESCRIPTOR.size + length
        if end > len(body):
            raise MalformedAnswer(f"READ FULL STATUS: a descriptor of {end} bytes where {len(body)} are left")
        transport_id = body[_STATUS_DESCRIPTOR.size : end]
        holder, all_target_ports = bool(flags & 1), bool(flags & 2)
        registrations.append(
            Registration(  # by position: names cost half of this function
                _key(value, "READ FULL STATUS"),
                all_target_ports,
                holder,
                _type(scope_type, "READ FULL STATUS") if holder else None,
                None if all_target_ports else port,
                transport_id,
                initiator_name(transport_id),
            )
        )
        body = body[end:]
    return FullStatus(generation, tuple(registrations))


def initiator_name(transport_id: bytes) -> str | None:
    """A TransportID (SPC-4 7.6.4) in words, None for a protocol or format we do not know or too few bytes."""
    if len(transport_id) < 24:
        return None
    form, protocol = transport_id[0] >> 6, transport_id[0] & 0x0F
    match form, protocol:
        case 0, 0x0:
            return f"fc.{transport_id[8:16].hex()}"
        case 0, 0x4:
            return f"srp.{transport_id[8:24].hex()}"
        case ((0 | 1), 0x5):
            name = transport_id[4 : 4 + int.from_bytes(transport_id[2:4])].split(b"\0")[0]
            text = name.decode("utf-8", "backslashreplace")
            if not text.isprintable():
                text = "".join(c if c.isprintable() else "?" for c in text)
            return text or None
        case 0, 0x6:
            return f"sas.{transport_id[4:12].hex()}"
        case _:
            return None


def _whole(action: InAction, data: bytes) -> tuple[int, bytes]:
    """Generation and body of an answer that is complete. Bytes after the additional length are padding."""
    length = answer_length_bytes(action, data)
    if length > len(data):
        raise MalformedAnswer(f"{action}: {len(data)} of {length} bytes: incomplete")
    return int.from_bytes(data[:4]), data[_HEADER.size : length]


def _key(value: int, operation: str) -> ReservationKey:
    if not value:
        raise MalformedAnswer(f"{operation}: key 0 as a registered key")
    return ReservationKey(value)


def _type(scope_type: int, operation: str) -> ReservationType:
    if scope_type >> 4:
        raise MalformedAnswer(f"{operation}: scope {scope_type >> 4:#x}: only logical unit scope is known")
    try:
        return ReservationType(scope_type)
    except ValueError as error:
        raise MalformedAnswer(f"{operation}: unknown reservation type {scope_type:#x}") from error


# --- sense -------------------------------------------------------------------------------------------------------

ILLEGAL_REQUEST = 0x5
UNIT_ATTENTION = 0x6

RESERVATIONS_PREEMPTED = Sense(UNIT_ATTENTION, 0x2A, 0x03)
RESERVATIONS_RELEASED = Sense(UNIT_ATTENTION, 0x2A, 0x04)
REGISTRATIONS_PREEMPTED = Sense(UNIT_ATTENTION, 0x2A, 0x05)
INVALID_RELEASE = Sense(ILLEGAL_REQUEST, 0x26, 0x04)

_TEXTS = {
    (0x08, 0x00): "logical unit communication failure; a Linux target without its /etc/target/pr says so",
    (0x20, 0x00): "invalid command operation code",
    (0x24, 0x00): "invalid field in CDB",
    (0x25, 0x00): "logical unit not supported",
    (0x26, 0x00): "invalid field in parameter list",
    (0x26, 0x04): "invalid release of persistent reservation",
    (0x29, 0x00): "power on, reset, or bus device reset occurred",
    (0x2A, 0x03): "reservations preempted",
    (0x2A, 0x04): "reservations released",
    (0x2A, 0x05): "registrations preempted",
    (0x55, 0x04): "insufficient registration resources",
}


def decode_sense(data: bytes) -> Sense | None:
    """Fixed (70h, 71h) or descriptor (72h, 73h) sense data. A missing ASC or ASCQ reads as 0; None: no key."""
    match data[0] & 0x7F if data else 0:
        case 0x70 | 0x71:
            key, codes = data[2:3], data[12:14] if len(data) > 7 and data[7] >= 6 else b""
        case 0x72 | 0x73:
            key, codes = data[1:2], data[2:4]
        case _:
            return None
    if not key:
        return None
    asc, ascq = codes.ljust(2, b"\0")
    return Sense(key[0] & 0x0F, asc, ascq)


def describe_sense(sense: Sense) -> str:
    """The codes, and what they say where we know it."""
    text = _TEXTS.get((sense.asc, sense.ascq)) or ("reset occurred" if sense.asc == 0x29 else "")
    return f"{text} ({sense})" if text else f"sense {sense}"


def is_unsupported(sense: Sense | None) -> bool:
    """The target does not know this command or one of its fields.

    Not 26/04: a RELEASE with another type than the one held is the caller's mistake, not the target's limit.
    """
    return (
        sense is not None
        and sense.key == ILLEGAL_REQUEST
        and (sense.asc in (0x20, 0x24, 0x26))
        and sense != INVALID_RELEASE
    )


def is_unit_attention(sense: Sense | None) -> bool:
    """The command was not executed; it only told us that something happened (SAM-5 5.14)."""
    return sense is not None and sense.key == UNIT_ATTENTION


def is_reset(sense: Sense | None) -> bool:
    """Unit attention 29/xx: power on or reset; registrations without APTPL may be lost."""
    return is_unit_attention(sense) and sense is not None and sense.asc == 0x29


def may_be_another_lun(sense: Sense | None) -> bool:
    """Unit attention 29/xx or 3F/xx: a restarted target may number its LUNs anew; INQUIRY data, the device identifier
    or the list of LUNs have changed."""
    return is_unit_attention(sense) and sense is not None and sense.asc in (0x29, 0x3F)


def says_preempted(sense: Sense | None) -> bool:
    """Unit attention 2A/03 or 2A/05: registrations were removed, perhaps ours. Read again before any write.

    LIO says 2A/05 after a preempt, tgtd 2A/03.
    """
    return sense in (RESERVATIONS_PREEMPTED, REGISTRATIONS_PREEMPTED)
