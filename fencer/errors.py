"""What can go wrong, as far as a caller acts differently on it.

    FenceError
    ├── UsageError            what was asked makes no sense: nothing was sent, exit 1
    ├── PowerError            something about the BMC
    │   ├── BmcRefused        it said no to who asks, and again: asking once more is pointless
    │   └── BmcUnreachable    no usable answer: another attempt may help
    │       └── CommandRefused    the BMC answered a command with a completion code that may pass
    ├── WatchdogError         the watchdog device does not do what it is told
    │   └── WatchdogNotYet    it is missing, or another process has it: later it may be there
    └── StorageError          something about a LUN
        ├── StorageRefused    this path or target never will: asking again is pointless
        ├── PathsDiffer       one LUN, and its paths show different registrations
        ├── TransportError    no SCSI status came back: whether the command was executed is unknown
        │   └── StillUnderWay it may be executed yet, at any time
        ├── CommandFailed     a status and sense that no retry mends
        │   └── NotRegistered a read refused by RESERVATION CONFLICT: this node lost its registration, or never had one
        └── MalformedAnswer   the target's bytes do not decode

Every message says subject, operation, cause: ``/dev/sdb: PREEMPT AND ABORT: reservation conflict``.
A message never contains a password.
"""


class FenceError(Exception):
    """Base of all errors that this project raises on purpose."""


class UsageError(FenceError):
    """Bad input. The message is one sentence that names the option and what to change."""


class PowerError(FenceError):
    """The BMC did not do what was asked."""


class BmcRefused(PowerError):
    """The BMC said no: wrong user, password, Kg, cipher suite or privilege, or it is not the node's BMC.

    remedy: what to do about it, where that is more than to correct what was refused.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class BmcUnreachable(PowerError):
    """The BMC gave no usable answer (silence, garbage, a lost session)."""


class CommandRefused(BmcUnreachable):
    """The BMC answered a command with a completion code that names neither authentication nor privilege."""


class WatchdogError(FenceError):
    """The watchdog device does not do what it is told. The message says what to change."""


class WatchdogNotYet(WatchdogError):
    """The watchdog device is missing, or another process has it: asking again later may help.

    restart: only a new process of the service may open it (systemd's DeviceAllow is evaluated at the start).
    """

    def __init__(self, message: str, *, restart: bool = False) -> None:
        super().__init__(message)
        self.restart = restart


class StorageError(FenceError):
    """A LUN did not do what was asked."""


class StorageRefused(StorageError):
    """The command was not executed and never will be: not permitted, no SCSI device, no persistent reservations."""


class PathsDiffer(StorageError):
    """One LUN whose paths show different registrations: each gateway or controller keeps a state of its own."""


class TransportError(StorageError):
    """No SCSI status came back. Whether the command was executed is unknown."""


class StillUnderWay(TransportError):
    """The command hangs. It may be executed yet, long after its caller has given it up."""


class CommandFailed(StorageError):
    """The target answered with a status and sense that no retry mends."""


class NotRegistered(CommandFailed):
    """The target answered PERSISTENT RESERVE IN with RESERVATION CONFLICT: this nexus has no registration.

    SPC-4 lets everybody read (5.13.3). A target that does not, answers so to those that are not registered.
    """


class MalformedAnswer(StorageError):
    """The target's data do not decode."""
