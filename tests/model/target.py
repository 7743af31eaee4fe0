# SPDX-License-Identifier: Apache-2.0
"""The target as a value: persistent reservations of one LUN after SPC-4 5.13, one command a step.

The same rules as tests/storage/fake_target.py, which keeps its state in objects; test_model.py sends both the same
commands and compares the answers.
"""

import struct
from functools import cache
from typing import NamedTuple

from fencer.storage.pr import REGISTRATIONS_PREEMPTED, InAction, OutAction
from fencer.storage.transport import ScsiReply, ScsiStatus, Sense

WERO = 5
HOLDER_ONLY = (1, 3)
INVALID_FIELD_IN_CDB = Sense(5, 0x24, 0x00)

Nexus = tuple[int, int]
"""Node, and 0: the session that it has now; more: one that is gone, whose registration is still listed."""


class TargetKind(NamedTuple):
    """What differs between targets.

    abort: PREEMPT AND ABORT is there (tgtd has none). attentions: a nexus whose registration was preempted
    gets a unit attention at its next command. forgets: a registration ends with its session, and the generation stays
    (LIO without cache_dynamic_acls); else it stays listed. careless: a broken target: PREEMPT also from a nexus that is
    not registered.
    """

    abort: bool = True
    attentions: bool = False
    forgets: bool = False
    careless: bool = False


class Target(NamedTuple):
    """registrations: in the order of the nexuses. holder: the nexus that holds the reservation, of type held."""

    generation: int = 0
    registrations: tuple[tuple[Nexus, int], ...] = ()
    holder: Nexus | None = None
    held: int = 0
    attentions: tuple[Nexus, ...] = ()

    @property
    def keys(self) -> tuple[int, ...]:
        return tuple(key for _, key in self.registrations)

    def key_of(self, nexus: Nexus) -> int:
        """0: not registered."""
        return next((key for each, key in self.registrations if each == nexus), 0)

    def admits_write(self, nexus: Nexus) -> bool:
        """SPC-4 table 45."""
        if self.holder is None or self.holder == nexus:
            return True
        return self.held not in HOLDER_ONLY and self.key_of(nexus) != 0

    def relogin(self, node: int, kind: TargetKind) -> "Target":
        """The node's session ends, and it has a new one."""
        live = (node, 0)
        target = self._replace(attentions=tuple(each for each in self.attentions if each != live))
        key = self.key_of(live)
        if not key:
            return target
        if kind.forgets:
            return target._without([live])
        gone = {each: other for each, other in self.registrations if each[0] == node and each != live}
        stale = next((each for each, other in gone.items() if other == key), None)
        number = 1 + max((each[1] for each in gone), default=0)
        stale = stale or (node, number)
        registrations = dict(self.registrations)
        del registrations[live]
        registrations[stale] = key
        return target._replace(
            registrations=tuple(sorted(registrations.items())),
            holder=stale if self.holder == live else self.holder,
        )

    def _without(self, nexuses: list[Nexus]) -> "Target":
        registrations = tuple(item for item in self.registrations if item[0] not in nexuses)
        if self.holder in nexuses or not registrations:
            return self._replace(registrations=registrations, holder=None, held=0)
        return self._replace(registrations=registrations)


@cache
def execute(target: Target, nexus: Nexus, cdb: bytes, data_out: bytes, kind: TargetKind) -> tuple[Target, ScsiReply]:
    """The target after this command, and its answer."""
    if nexus in target.attentions:
        left = tuple(each for each in target.attentions if each != nexus)
        return target._replace(attentions=left), ScsiReply(ScsiStatus.CHECK_CONDITION, REGISTRATIONS_PREEMPTED, b"")
    if cdb[0] == InAction.READ_KEYS.opcode:
        return target, _read(target, cdb[1])
    return _reserve_out(target, nexus, cdb, data_out, kind)


def _read(target: Target, action: int) -> ScsiReply:
    match action:
        case InAction.READ_KEYS:
            body = b"".join(struct.pack(">Q", key) for key in target.keys)
        case InAction.READ_RESERVATION:
            body = b""
            if target.holder is not None:
                body = struct.pack(">Q5xB2x", target.key_of(target.holder), target.held)
        case _:  # REPORT CAPABILITIES, READ FULL STATUS: as tgtd, which has neither
            return _check()
    return ScsiReply(ScsiStatus.GOOD, None, struct.pack(">II", target.generation, len(body)) + body)


def _reserve_out(
    target: Target, nexus: Nexus, cdb: bytes, data_out: bytes, kind: TargetKind
) -> tuple[Target, ScsiReply]:
    action = OutAction(cdb[1])
    key, service_key, flags = struct.unpack(">QQ4xB3x", data_out)
    own = target.key_of(nexus)
    if flags & 1 or (action is OutAction.PREEMPT_AND_ABORT and not kind.abort):
        return target, _check()
    registers = action in (OutAction.REGISTER, OutAction.REGISTER_AND_IGNORE_EXISTING_KEY)
    trusted = kind.careless and action in (OutAction.PREEMPT, OutAction.PREEMPT_AND_ABORT)
    if action is not OutAction.REGISTER_AND_IGNORE_EXISTING_KEY and key != own and not trusted:
        return target, _status(ScsiStatus.RESERVATION_CONFLICT)
    if not own and not registers and not trusted:
        return target, _status(ScsiStatus.RESERVATION_CONFLICT)
    if registers:
        after = _registered(target, nexus, service_key)
    elif action is OutAction.RESERVE:
        if target.holder is None:
            return target._replace(holder=nexus, held=cdb[2]), _status(ScsiStatus.GOOD)
        same = target.holder == nexus and target.held == cdb[2]
        return target, _status(ScsiStatus.GOOD if same else ScsiStatus.RESERVATION_CONFLICT)
    else:
        victims = [each for each, other in target.registrations if other == service_key]
        if not victims:
            return target, _status(ScsiStatus.RESERVATION_CONFLICT)
        after = _preempted(target, nexus, victims, cdb[2], kind)
    return after._replace(generation=target.generation + 1), _status(ScsiStatus.GOOD)


def _registered(target: Target, nexus: Nexus, key: int) -> Target:
    if not key:
        return target._without([nexus])
    return target._replace(registrations=tuple(sorted((dict(target.registrations) | {nexus: key}).items())))


def _preempted(target: Target, nexus: Nexus, victims: list[Nexus], type_: int, kind: TargetKind) -> Target:
    takes_over = target.holder in victims
    after = target._without([each for each in victims if each != nexus or not takes_over])
    if takes_over:
        after = after._replace(holder=nexus, held=type_)
    if kind.attentions:
        told = {each for each in victims if each != nexus and each[1] == 0}
        after = after._replace(attentions=tuple(sorted({*after.attentions, *told})))
    return after


def _status(status: ScsiStatus) -> ScsiReply:
    return ScsiReply(status, None, b"")


def _check() -> ScsiReply:
    return ScsiReply(ScsiStatus.CHECK_CONDITION, INVALID_FIELD_IN_CDB, b"")
