# SPDX-License-Identifier: Apache-2.0
"""Keeps events that could not be recorded because the journal was busy, in a small file each. The next recording takes
them along.

An import first checks whether the journal has the event already, so a crash between its COMMIT and the removal of a
file records nothing twice.
"""

import _sqlite3 as sqlite3
import os
from collections.abc import Iterator
from contextlib import suppress

from fencer import json_text
from fencer._typing import Final
from fencer.atomic_file import replace_file
from fencer.errors import FenceError
from fencer.journal.cleaning import moment_of, seconds_of, steps_of, text_of
from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.model import Proof, Side
from fencer.regular_file import read_regular_file

KEPT_MOST: Final = 1000
TAKEN_MOST: Final = 100
"""Most events imported at a time: the process that imports them has an event of its own to record."""
_LONGEST_BYTES: Final = 1 << 20


def keep(directory: str, event: Event) -> None:
    """Keeps an event; it is on the disk on return. Raises OSError, and FenceError where too many wait already."""
    if len(_names(directory)) >= KEPT_MOST:
        raise FenceError(f"{directory}: {KEPT_MOST} events wait there already")
    document = event._asdict() | {"steps": [[s.at_s, s.text, s.name, s.took_s] for s in event.steps]}
    name = f"{event.at_unix_s:017.6f}-{os.getpid()}-{os.urandom(4).hex()}.json"
    replace_file(os.path.join(directory, name), json_text.dumps(document).encode(), 0o600, durable=True)


def waiting(directory: str) -> Iterator[tuple[str, Event | None]]:
    """Paths and events, the oldest first; None for a file that holds no readable event."""
    for name in _names(directory)[:TAKEN_MOST]:
        path = os.path.join(directory, name)
        try:
            yield path, _event(json_text.loads(read_regular_file(path, _LONGEST_BYTES)))
        except FileNotFoundError:  # another process has imported it
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            yield path, None


def is_recorded(db: sqlite3.Connection, event: Event) -> bool:
    """Whether the journal contains this event."""
    found = db.execute(
        "SELECT 1 FROM events WHERE at_unix_s = ? AND took_s = ? AND kind = ? AND actor = ? AND target = ? LIMIT 1",
        (event.at_unix_s, event.took_s, event.kind.value, text_of(event.actor), text_of(event.target)),
    )
    return found.fetchone() is not None


def remove(paths: list[str]) -> None:
    """Removes the files of events that have been recorded."""
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


def _names(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith(".json"))
    except FileNotFoundError:
        return []


def _event(found: dict[str, object]) -> Event:
    def words(name: str) -> list[str]:
        value = found[name]
        if not isinstance(value, list):
            raise TypeError(name)
        return [text_of(each) for each in value]

    return Event(
        at_unix_s=moment_of(found["at_unix_s"]),
        took_s=seconds_of(found["took_s"]),
        kind=EventKind(text_of(found["kind"])),
        program=text_of(found["program"]),
        actor=text_of(found["actor"]),
        target=text_of(found["target"]),
        action=text_of(found["action"]),
        outcome=FenceOutcome(text_of(found["outcome"])),
        proofs=tuple(Proof(word) for word in words("proofs")),
        weak=bool(found["weak"]),
        error=text_of(found["error"]),
        steps=steps_of(json_text.dumps(found["steps"])),
        failed=tuple(Side(word) for word in words("failed")),
    )
