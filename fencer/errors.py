# SPDX-License-Identifier: Apache-2.0
"""The errors of this project. A class exists only where a caller acts differently on it.

    FenceError
    ├── UsageError            bad input: nothing was sent, exit 1
    ├── PowerError            a BMC operation failed
    │   ├── BmcRefused        the BMC refused the credentials or the session twice: a retry is pointless
    │   ├── BmcUnreachable    no usable answer: another attempt may help
    │   │   └── CommandRefused    completion code other than success: another attempt may help
    │   └── NotAllowed        the command may not be sent, or not again, before it is allowed anew
    ├── WatchdogError         a watchdog operation failed
    │   └── WatchdogNotYet    the device is missing or in use: a later attempt may help
    └── StorageError          a LUN operation failed
        ├── StorageRefused    this path or target cannot execute the command: a retry is pointless
        ├── PathsDiffer       the paths of one LUN show different registrations
        ├── TransportError    no SCSI status came back: whether the command was executed is unknown
        │   └── StillUnderWay the command hangs: it may still be executed at any time
        ├── CommandFailed     a status and sense that no retry changes
        │   └── NotRegistered RESERVATION CONFLICT on a read: this node is not registered
        └── MalformedAnswer   the target's bytes cannot be decoded

Every message says subject, operation, cause: ``/dev/sdb: PREEMPT AND ABORT: reservation conflict``.
A message never contains a password.
"""

from collections.abc import Iterable


class FenceError(Exception):
    """Base of all errors that this project raises on purpose."""


class UsageError(FenceError):
    """Bad input. The message is one sentence that names the option and what to change."""


class PowerError(FenceError):
    """A BMC operation failed."""


class BmcRefused(PowerError):
    """The BMC refused: wrong user, password, Kg, cipher suite or privilege, or it is not the node's BMC.

    remedy: what the operator has to do; "" where correcting the refused value is enough.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class BmcUnreachable(PowerError):
    """The BMC gave no usable answer (silence, garbage, a lost session)."""


class CommandRefused(BmcUnreachable):
    """The BMC answered a command with a completion code that names neither authentication nor privilege."""


class NotAllowed(PowerError):
    """A command may not be sent now. It may have been sent before, and executed, and its answer lost."""


class WatchdogError(FenceError):
    """A watchdog operation failed. The message says what to change."""


class WatchdogNotYet(WatchdogError):
    """The watchdog device is missing, or another process uses it. A later attempt may succeed.

    restart: only a restarted service may open it, because systemd evaluates DeviceAllow at the start of the service.
    """

    def __init__(self, message: str, *, restart: bool = False) -> None:
        super().__init__(message)
        self.restart = restart


class StorageError(FenceError):
    """A LUN did not do what was asked.

    remedy: what an operator can do about it; "" where there is none, or the message says it. Each class has its own.
    """

    remedy = "look at the LUN and at its target's log, then call again"

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy

    @property
    def with_remedy(self) -> str:
        """For people: ``subject: operation: cause: remedy``."""
        return f"{self}: {self.remedy}" if self.remedy else str(self)


def remedies(errors: Iterable[StorageError]) -> str:
    """The remedies of several errors that one message names, each once."""
    return "; ".join(dict.fromkeys(error.remedy for error in errors if error.remedy))


class StorageRefused(StorageError):
    """The command was not executed, and a retry is pointless.

    Causes: no permission, no SCSI device, no persistent reservations.
    """

    remedy = "give a shared SCSI disk that takes persistent reservations, and run as root"


class PathsDiffer(StorageError):
    """The paths of one LUN show different registrations: each gateway or controller keeps its own state."""

    remedy = ""  # the message names it


class TransportError(StorageError):
    """No SCSI status came back. Whether the command was executed is unknown."""

    remedy = "mend this path (look at multipath -ll, the kernel's log, the target), then call again"


class StillUnderWay(TransportError):
    """The command hangs. It may still be executed, long after its caller has given up."""


class CommandFailed(StorageError):
    """The target answered with a status and sense that no retry changes."""


class NotRegistered(CommandFailed):
    """The target answered PERSISTENT RESERVE IN with RESERVATION CONFLICT: this nexus has no registration.

    SPC-4 5.13.3 allows this command to every initiator. Some targets refuse it to initiators that are not registered.
    """

    remedy = "unfence this node ('on') if it never was registered, else reboot it: it was fenced"


class MalformedAnswer(StorageError):
    """The target's data cannot be decoded."""

    remedy = "update the target's firmware, or give another LUN: no answer of this one can be trusted"
