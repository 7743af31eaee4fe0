"""The observing process: what it sees of paths and registrations goes to its parent as Sightings.

It runs in a Worker: expendable, killed and never waited for. Whatever hangs here makes nothing but silence.
"""

from fencer.watchdog.settings import ObserverSettings
from fencer.worker import Channel


def observe(settings: ObserverSettings, channel: Channel) -> None:
    """A Worker's job: sends Sightings until the parent is gone.

    Raises UsageError (the parent receives Crashed with misuse set) when the LUNs make no sense.
    """
    raise NotImplementedError
