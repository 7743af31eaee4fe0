# SPDX-License-Identifier: Apache-2.0
"""What this project's own programs keep on this node: the sidecar's snapshot, and the last fences of the journal."""

import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from fencer.ctl.sources.commands import COMMAND_S
from fencer.errors import FenceError
from fencer.journal.event import Event, EventKind
from fencer.journal.file import DEFAULT_PATH as JOURNAL
from fencer.journal.file import Journal
from fencer.state.boot_id import read_boot_id
from fencer.state.readings import Now, SnapshotReading, SnapshotStatus, judge_snapshot
from fencer.state.snapshot_file import read_snapshot

STATE_DIR: Final = "/run/fence-halvm"
SIDECAR_CONF: Final = "/etc/fence-halvm/watchdogd.toml"
LAST_FENCES: Final = 3
_KINDS: Final = (EventKind.FENCE, EventKind.SELF_FENCE, EventKind.DIAG)


class Fences(NamedTuple):
    """latest: the newest first. monitors: the last monitor of each target. problem: why they could not be
    read, or "".
    """

    latest: tuple[Event, ...] = ()
    monitors: tuple[Event, ...] = ()
    problem: str = ""


def sidecar(state_dir: str = STATE_DIR, configuration: str = SIDECAR_CONF) -> SnapshotReading:
    """The sidecar's snapshot, and how far to believe it. MISSING: none, and none is configured. Never raises."""
    try:
        snapshot = read_snapshot(state_dir)
        boot_id = read_boot_id()
    except FileNotFoundError:
        if os.path.lexists(configuration):
            return SnapshotReading(SnapshotStatus.OTHER_BOOT, problem="it has not run since this node booted")
        return SnapshotReading(SnapshotStatus.MISSING)
    except OSError as error:
        return SnapshotReading(SnapshotStatus.UNREADABLE, problem=f"{state_dir}: {error.strerror}")
    except ValueError as error:
        return SnapshotReading(SnapshotStatus.MALFORMED, problem=f"{state_dir}: not a snapshot: {error}")
    return judge_snapshot(snapshot, boot_id, Now(time.time(), time.monotonic()))


def last_fences(path: str = JOURNAL) -> Fences:
    """The last fences that this node carried out or suffered. Never raises; no journal counts as an empty one."""
    if not os.path.lexists(path) and os.access(Path(path).parent, os.X_OK):
        return Fences()
    journal = Journal(path, patience_s=COMMAND_S / 10)
    try:
        latest = tuple(journal.events(limit=LAST_FENCES, kinds=_KINDS, routine=False))
        monitors = journal.ask(lambda snapshot: snapshot.latest(EventKind.MONITOR))
    except (FenceError, OSError, ValueError) as error:
        return Fences(problem=str(error))
    return Fences(latest, monitors)
