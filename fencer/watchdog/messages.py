"""What the sidecar's processes tell each other. Types only.

feeder ◀─ lists of sightings ── observer        feeder ─ Order ─▶ attendant (starts the others, and starts them again)
feeder ─ the same lists, FeederStatus, Line, Event, SelfFence ─▶ scribe (whatever may wait for a disk)
"""

from enum import IntEnum

from fencer.event import Event
from fencer.light_typing import NamedTuple
from fencer.watchdog.policy import Decision
from fencer.watchdog.settings import ObserverSettings, Settings
from fencer.watchdog.snapshot import NodeSnapshot, SelfFence, WatchdogSnapshot

PROGRAM = "halvm-watchdogd"
PUBLISH_INTERVAL_S = 1.0
"""How often the feeder says how it is."""


class Config(NamedTuple):
    """The file, and what follows from it and from the cluster's configuration."""

    settings: Settings
    node: str
    key: str
    nodes: tuple[NodeSnapshot, ...]
    observer: ObserverSettings


# --- to the attendant ----------------------------------------------------------------------------------------------


class ReadConfig(NamedTuple):
    """Read the file, at start or again. Answered by Configured or ConfigRefused."""

    path: str


class Begin(NamedTuple):
    """Start scribe and observer; when they run, start the observer anew with these settings."""

    config: Config
    began_unix_s: float


class Unregister(NamedTuple):
    """Take this node's key off the LUNs: answered by Unregistered."""

    observer: ObserverSettings


# --- from the attendant --------------------------------------------------------------------------------------------


class Predecessor(NamedTuple):
    """What the last snapshot of this boot says: its sidecar left the watchdog running, or did not stop in order."""

    watchdog: WatchdogSnapshot
    paused_until_s: float | None


class Configured(NamedTuple):
    """predecessor: None when nobody left anything."""

    config: Config
    predecessor: Predecessor | None = None


class ConfigRefused(NamedTuple):
    """complaints: one a line."""

    complaints: str


class ChildEnded(NamedTuple):
    """A child has ended and is started again. misuse: what it was asked makes no sense, and again would not help."""

    name: str
    reason: str
    misuse: bool


class Unregistered(NamedTuple):
    """problem: "" when the key is gone from every LUN."""

    problem: str


# --- to the scribe -------------------------------------------------------------------------------------------------


class Level(IntEnum):
    """As syslog's and the journal's."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5


class Line(NamedTuple):
    """For the log."""

    level: Level
    text: str


class FeederStatus(NamedTuple):
    """What the feeder alone knows, for the snapshot."""

    at_s: float
    decision: Decision
    stopped: bool
    settings: Settings
    watchdog: WatchdogSnapshot
    bound_s: float
    paused_until_s: float | None
    registrations: int
    observer_restarts: int
    not_granted: tuple[str, ...] = ()


ForScribe = Line | FeederStatus | Event | SelfFence | Config


# --- from the scribe -----------------------------------------------------------------------------------------------


class Recorded(NamedTuple):
    """The record of this self-fence is on stable storage, or cannot be."""

    problem: str
