"""The words of the domain: actions, proofs, keys, settings, time. Types only; nothing here does I/O."""

import time
from collections.abc import Callable
from enum import IntEnum, StrEnum

from fencer._typing import NamedTuple, Self
from fencer.errors import UsageError


class Action(StrEnum):
    """What a caller can ask of the agent (FenceAgentAPI names)."""

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
    """What was observed that makes it certain that the node writes no more."""

    POWER = "power"
    STORAGE = "storage"
    SELF = "self"  # its watchdog must have fired: an assumption, so only ever beside STORAGE


class ProofPolicy(StrEnum):
    """Which proofs suffice for success."""

    POWER = "power"
    STORAGE = "storage"
    ANY = "any"
    ALL = "all"
    SELF = "self"  # storage, and off or reset: seen off, or given the time in which its sidecar resets it


class Side(StrEnum):
    """Which half of a call: what it failed at, for instance."""

    POWER = "power"  # the BMC
    STORAGE = "storage"  # the shared LUNs, the fence race on them included


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
        """By the short name that options and settings take. Raises KeyError for any other."""
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
    """Which keys may be on a LUN besides this node's: those of the cluster's other nodes, the target among them.

    unnamed_most: so many more, of nodes whose keys are given on those nodes and not known here.
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
    """Bytes that are never shown."""

    __slots__ = ("reveal",)

    def __init__(self, reveal: bytes) -> None:
        self.reveal = reveal

    def __repr__(self) -> str:
        return "Secret(...)"


class KnownBmc(NamedTuple):
    """What this host knows of who a node's BMC is (fencer.power.identity).

    guid: the 16 bytes that it has to show; None: never seen yet. remedy: how to accept another one. others: the GUIDs
    that other nodes' BMCs have shown here, each with its node.
    """

    guid: bytes | None
    remedy: str
    others: tuple[tuple[bytes, str], ...] = ()


class BmcSettings(NamedTuple):
    """How to reach and enter one BMC.

    cipher: 3 or 17, or None to propose 17 and fall back to 3. bridge_address: IPMB slave address behind the BMC.
    known: None where any BMC that has the password will do.
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
    """A point in monotonic time after which nobody waits any more. Unit: seconds."""

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
