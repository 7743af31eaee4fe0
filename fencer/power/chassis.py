# SPDX-License-Identifier: Apache-2.0
"""The protocol ChassisPower: what a procedure can ask of a chassis (IPMI 2.0 §28.2, §28.3)."""

from collections.abc import Callable

from fencer._typing import Protocol
from fencer.model import ChassisCommand, PowerState


def always() -> bool:
    """The permission for what takes no power away."""
    return True


class ChassisPower(Protocol):
    """One session with one BMC. Every method blocks until it is answered. The caller sets the deadline.

    Raises BmcRefused when the BMC said no to who asks, CommandRefused when it did not take a command, BmcUnreachable
    when it gave no usable answer.
    """

    @property
    def name(self) -> str:
        """The BMC's address: what a message about it begins with. The errors that are raised begin with it."""

    def open(self) -> None:
        """Logs in."""

    def state(self) -> PowerState:
        """Reads the chassis power state."""

    def control(self, command: ChassisCommand, may_send: Callable[[], bool]) -> None:
        """Sends one command. Returning means that the BMC accepted it, not that the state has changed.

        may_send: asked directly before each packet that carries the command, so also before one that is sent again
        because its answer was lost. Raises NotAllowed where it says no.
        """

    def starting(self) -> bool:
        """Whether the BMC reports that it is starting. Meanwhile its chassis state proves nothing."""

    def has_identity(self) -> bool:
        """Whether the BMC has a GUID that no other BMC has, so that the GUID can be stored."""

    def close(self) -> None:
        """Logs out, so that the BMC's session slot is free again. Never raises."""
