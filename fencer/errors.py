"""What can go wrong, as far as a caller acts differently on it.

    FenceError
    ├── UsageError            what was asked makes no sense: nothing was sent, exit 1
    ├── PowerError            something about the BMC
    │   ├── BmcRefused        it understood and said no: asking again is pointless
    │   └── BmcUnreachable    no usable answer: another attempt may help
    ├── WatchdogError         the watchdog device is missing, taken, or does not do what it is told
    └── StorageError          something about a LUN
        ├── TransportError    no SCSI status came back: whether the command was executed is unknown
        ├── CommandFailed     a status and sense that no retry mends
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
    """The BMC said no: wrong user, password, Kg, cipher suite, privilege, or a refused command."""


class BmcUnreachable(PowerError):
    """The BMC gave no usable answer (silence, garbage, a lost session)."""


class WatchdogError(FenceError):
    """The watchdog device is missing, taken, or does not do what it is told. The message says what to change."""


class StorageError(FenceError):
    """A LUN did not do what was asked."""


class TransportError(StorageError):
    """No SCSI status came back. Whether the command was executed is unknown."""


class CommandFailed(StorageError):
    """The target answered with a status and sense that no retry mends."""


class MalformedAnswer(StorageError):
    """The target's data do not decode."""
