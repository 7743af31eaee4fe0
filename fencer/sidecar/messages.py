# SPDX-License-Identifier: Apache-2.0
"""The messages between the sidecar's processes. Types only.

feeder ◀─ lists of reports ── observer        feeder ─ Order ─▶ supervisor (starts the others, and starts them again)
feeder ─ the same lists, FeederStatus, Line, Event, SelfFence ─▶ publisher (whatever may wait for a disk)

No message is longer than fencer.worker.MESSAGE_BYTES: what has no bound of its own is cut where it is made.
"""

from fencer._enum import IntEnum
from fencer._typing import NamedTuple
from fencer.journal.event import Event
from fencer.sidecar.lun_list import LunList
from fencer.sidecar.policy import Decision
from fencer.sidecar.settings import ObserverSettings, Settings
from fencer.state.snapshot import NodeSnapshot, SelfFence, WatchdogSnapshot

PROGRAM = "halvm-watchdogd"
PUBLISH_INTERVAL_S = 1.0
"""How often the feeder sends FeederStatus."""


class Config(NamedTuple):
    """The file, and what follows from it and from the cluster's configuration."""

    settings: Settings
    node: str
    key: str
    nodes: tuple[NodeSnapshot, ...]
    observer: ObserverSettings


# --- to the supervisor ----------------------------------------------------------------------------------------------


class ReadConfig(NamedTuple):
    """Read the file, at start or again. Answered by Configured or ConfigRefused."""

    path: str


class Begin(NamedTuple):
    """Start publisher and observer. When they run: answered by Began, or by BeginRefused with everything as it was.

    generations: see Generations, as a predecessor in this boot published them. luns: what it watched; None when the
    LUNs are to be listed first.
    """

    config: Config
    began_unix_s: float
    generations: tuple[tuple[str, int], ...] = ()
    luns: LunList | None = None


class Generations(NamedTuple):
    """By WWID: the PR generation of the latest reading that listed this node's key. Each new observer is given it."""

    of_luns: tuple[tuple[str, int], ...]


class ReplaceObserver(NamedTuple):
    """The observer says nothing although it runs: another one is to take its place."""


class Unregister(NamedTuple):
    """Take this node's key off the LUNs: answered by Unregistered."""

    observer: ObserverSettings


# --- from the supervisor --------------------------------------------------------------------------------------------


class Predecessor(NamedTuple):
    """What the last snapshot of this boot says. watchdog.armed: its sidecar left the watchdog running.

    paused_until_s: monotonic; None when no pause runs still. generations: see Generations. luns: what it watched, where
    its watchdog is ticking and the same volume group or devices are configured; None otherwise.
    """

    watchdog: WatchdogSnapshot
    paused_until_s: float | None
    generations: tuple[tuple[str, int], ...] = ()
    luns: LunList | None = None


class Configured(NamedTuple):
    """The configuration was read. predecessor: what an earlier sidecar of this boot left; None when none ran."""

    config: Config
    predecessor: Predecessor | None = None


class ConfigRefused(NamedTuple):
    """The configuration is invalid.

    complaints: one a line.
    """

    complaints: str


class Began(NamedTuple):
    """The new settings are in force in all children. config: those of the Begin that this answers."""

    config: Config


class BeginRefused(NamedTuple):
    """The new observer could not be started; the old one goes on."""

    reason: str


class ListChecked(NamedTuple):
    """The LUNs were listed again. reasons: why the list and what is watched do not agree; () when they do."""

    reasons: tuple[str, ...]


class ChildEnded(NamedTuple):
    """A child has ended and is started again. misuse: what it was asked makes no sense, and again would not help."""

    name: str
    reason: str
    misuse: bool


class Unregistered(NamedTuple):
    """The answer to Unregister.

    problem: "" when the key is gone from every LUN.
    """

    problem: str


# --- to the supervisor, from its children ---------------------------------------------------------------------------


class Observe(NamedTuple):
    """What an observer is given: everything, so that it needs no disk and no other program to begin.

    serial: counts up with each set of LUNs that an observer is started for beside the one that runs. An observer that
    is started again is given the serial number of the set that is in force.
    """

    settings: ObserverSettings
    luns: LunList
    generations: tuple[tuple[str, int], ...]
    serial: int = 0


class Observing(NamedTuple):
    """A new observer has listed the paths of its LUNs. It waits for StartReporting before it reports anything."""


class StartReporting(NamedTuple):
    """To a new observer: it has taken the place of the one that ran."""


class BlockChanged(NamedTuple):
    """Block devices came, went or changed: the LUNs are to be listed again soon."""


class LunsFound(NamedTuple):
    """The answer of the lister."""

    luns: LunList


# --- to the publisher -------------------------------------------------------------------------------------------------


class Level(IntEnum):
    """Levels of syslog and journald."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5


LINE_CHARS = 2000
"""Of a line at most."""


class Line(NamedTuple):
    """A line for the log."""

    level: Level
    text: str


class FeederStatus(NamedTuple):
    """The feeder's part of the snapshot."""

    at_s: float
    decision: Decision
    stopped: bool
    settings: Settings
    watchdog: WatchdogSnapshot
    bound_s: float
    paused_until_s: float | None
    registrations: int
    observer_restarts: int
    luns_unsettled: str = ""
    not_granted: tuple[str, ...] = ()


ToPublisher = Line | FeederStatus | Event | SelfFence | Config


# --- from the publisher -----------------------------------------------------------------------------------------------


class Recorded(NamedTuple):
    """The record of this self-fence is on stable storage, or cannot be."""

    problem: str
