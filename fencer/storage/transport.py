# SPDX-License-Identifier: Apache-2.0
"""One I_T nexus to one logical unit: a CDB goes in, a status comes out."""

from fencer._enum import IntEnum
from fencer._typing import NamedTuple, Protocol


class ScsiStatus(IntEnum):
    """SAM-5 table 40."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    CONDITION_MET = 0x04
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    ACA_ACTIVE = 0x30
    TASK_ABORTED = 0x40


class Sense(NamedTuple):
    """Decoded sense data: key, additional sense code and qualifier (SPC-4 4.5)."""

    key: int
    asc: int
    ascq: int

    def __str__(self) -> str:
        return f"{self.key:X}/{self.asc:02X}{self.ascq:02X}"


class ScsiReply(NamedTuple):
    """What a target answered. data holds only the bytes it really sent."""

    status: ScsiStatus
    sense: Sense | None
    data: bytes


class ScsiTransport(Protocol):
    """A nexus. name is what an operator would type: ``/dev/sdb``, ``iscsi://portal/iqn/lun``."""

    @property
    def name(self) -> str: ...

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        """Sends one command and waits at most timeout_s. Raises TransportError when no SCSI status came back."""

    def close(self) -> None:
        """Closes the nexus. Never raises."""
