"""The errors of this project. A class exists only where a caller acts differently on it.

    FenceError
    ├── UsageError            bad input: nothing was sent, exit 1
    ├── PowerError            a BMC operation failed
    │   ├── BmcRefused        the BMC refused the credentials or the session twice: a retry is pointless
    │   └── BmcUnreachable    no usable answer: another attempt may help
    │       └── CommandRefused    completion code other than success: another attempt may help
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
    """A LUN operation failed."""


class StorageRefused(StorageError):
    """The command was not executed, and a retry is pointless.

    Causes: no permission, no SCSI device, no persistent reservations.
    """


class PathsDiffer(StorageError):
    """The paths of one LUN show different registrations: each gateway or controller keeps its own state."""


class TransportError(StorageError):
    """No SCSI status came back. Whether the command was executed is unknown."""


class StillUnderWay(TransportError):
    """The command hangs. It may still be executed, long after its caller has given up."""


class CommandFailed(StorageError):
    """The target answered with a status and sense that no retry changes."""


class NotRegistered(CommandFailed):
    """The target answered PERSISTENT RESERVE IN with RESERVATION CONFLICT: this nexus has no registration.

    SPC-4 5.13.3 allows this command to every initiator. Some targets refuse it to initiators that are not registered.
    """


class MalformedAnswer(StorageError):
    """The target's data cannot be decoded."""
