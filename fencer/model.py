# SPDX-License-Identifier: Apache-2.0
"""Types of the domain: actions, proofs, keys, BMC settings, deadlines. Nothing here does I/O."""

import time
from collections.abc import Callable

from fencer._enum import IntEnum, StrEnum
from fencer._typing import NamedTuple, Self
from fencer.errors import UsageError


class Action(StrEnum):
    """Actions of the agent, by their FenceAgentAPI names."""

    OFF = "off"
    ON = "on"
    REBOOT = "reboot"
    STATUS = "status"
    MONITOR = "monitor"
    LIST = "list"
    LIST_STATUS = "list-status"
    METADATA = "metadata"
    MANPAGE = "manpage"
    VALIDATE_ALL = "validate-all"
    DIAG = "diag"
    HISTORY = "history"  # ours: reads the journal


class Proof(StrEnum):
    """Kinds of proof that the node can no longer write."""

    POWER = "power"
    STORAGE = "storage"
    SELF = "self"  # its watchdog must have fired: an assumption, so it counts only together with STORAGE


class ProofPolicy(StrEnum):
    """Which proofs suffice for success."""

    POWER = "power"
    STORAGE = "storage"
    ANY = "any"
    ALL = "all"
    SELF = "self"  # STORAGE, and either POWER or that the self-fence bound has passed


class Side(StrEnum):
    """The two sides of a call; a verdict names the sides that failed."""

    POWER = "power"  # the BMC
    STORAGE = "storage"  # the shared LUNs, including the fence race on them


class ArbitrationMode(StrEnum):
    """Whether the reservation decides a fence race before power is touched."""

    REQUIRED = "required"
    PREFERRED = "preferred"
    OFF = "off"


class Method(StrEnum):
    """How a reboot is done at the BMC."""

    ONOFF = "onoff"
    CYCLE = "cycle"


class KeyScheme(StrEnum):
    """How a node's reservation key is derived from the cluster's configuration."""

    NODEID = "nodeid"  # ours: 32 bits of the cluster name's hash, then the node id
    ID = "id"  # fence_scsi --key-value=id
    HASH = "hash"  # fence_scsi --key-value=hash


class Privilege(IntEnum):
    """IPMI session privilege level (IPMI 2.0 table 22-19)."""

    CALLBACK = 1
    USER = 2
    OPERATOR = 3
    ADMINISTRATOR = 4


class ReservationType(IntEnum):
    """Persistent reservation type (SPC-4 table 60)."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8

    @classmethod
    def named(cls, name: str) -> Self:
        """The type with this short name, as options and settings write it. Raises KeyError for any other name."""
        numbers = {"WERO": 5, "WE": 1, "EARO": 6, "EA": 3, "WEAR": 7, "EAAR": 8}
        return cls(numbers[name])


class ReservationKey(int):
    """A reservation key: an unsigned 64-bit number, never zero (SPC-4 5.13.6)."""

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        if not 0 < value < 1 << 64:
            what = "a number that does not fit" if value else "0"
            raise UsageError(f"key: {what} is no reservation key: give a number from 1 to 0xffffffffffffffff")
        return super().__new__(cls, value)

    def __str__(self) -> str:
        return f"{int(self):#x}"

    def __repr__(self) -> str:
        return f"ReservationKey({self})"

    @property
    def value(self) -> int:
        """The plain number."""
        return int(self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads hexadecimal digits, with or without ``0x`` and leading zeros, as sg_persist and fence_scsi do."""
        digits = text.strip().lower().removeprefix("0x")
        if not digits or not all(c in "0123456789abcdef" for c in digits):
            raise UsageError("key: not a reservation key: give 1 to 16 hexadecimal digits")
        return cls(int(digits, 16))


class OtherKeys(NamedTuple):
    """The keys that the other nodes of the cluster may have on a LUN, including the target's.

    unnamed_most: how many more keys there may be, of nodes whose keys are configured only on those nodes.
    """

    known: tuple[ReservationKey, ...]
    unnamed_most: int = 0

    def may_be(self, key: ReservationKey) -> bool:
        """Whether key may be one of these."""
        return key in self.known or self.unnamed_most > 0


class PowerState(StrEnum):
    """Chassis power as the BMC reports it."""

    ON = "on"
    OFF = "off"


class ChassisCommand(IntEnum):
    """Chassis Control, IPMI 2.0 table 28-4. Soft shutdown is deliberately missing: it is slow and can be refused."""

    OFF = 0
    ON = 1
    CYCLE = 2
    RESET = 3
    DIAG = 4


class Secret:
    """Secret bytes, such as a password. The representation never shows them."""

    __slots__ = ("reveal",)

    def __init__(self, reveal: bytes) -> None:
        self.reveal = reveal

    def __repr__(self) -> str:
        return "Secret(...)"


class KnownBmc(NamedTuple):
    """What this host knows about the identity of a node's BMC (see fencer.power.identity).

    guid: the 16 bytes that the BMC has to show; None where no BMC of this node has been seen yet.
    remedy: how the operator accepts another BMC. others: the GUIDs of other nodes' BMCs, each with its node
    and the pattern of the files that say so.
    """

    guid: bytes | None
    remedy: str
    others: tuple[tuple[bytes, str, str], ...] = ()


class BmcSettings(NamedTuple):
    """How to reach one BMC and log in to it.

    cipher: 3 or 17, or None to propose 17 and fall back to 3. bridge_address: IPMB slave address behind the BMC.
    known: None where any BMC that knows the password is accepted.
    """

    address: str
    port: int
    username: bytes
    password: Secret
    kg: Secret | None = None
    cipher: int | None = None
    privilege: Privilege | None = None
    bridge_address: int | None = None
    known: KnownBmc | None = None

    def __str__(self) -> str:
        return self.address


class Deadline(NamedTuple):
    """A point in monotonic time at which waiting ends. Unit: seconds."""

    at: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> "Deadline":
        return cls(clock() + seconds, clock)

    @property
    def remaining_s(self) -> float:
        """Seconds left; 0.0 when it has passed."""
        return max(0.0, self.at - self.clock())

    @property
    def passed(self) -> bool:
        return self.clock() >= self.at

    def within(self, seconds: float) -> "Deadline":
        """The earlier of this deadline and ``seconds`` from now."""
        return Deadline(min(self.at, self.clock() + seconds), self.clock)
