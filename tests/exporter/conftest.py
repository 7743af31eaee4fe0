# SPDX-License-Identifier: Apache-2.0
"""A place with the files of a scene, as if the sidecar had written them just now."""

import time
from pathlib import Path
from typing import Any

import pytest

from fencer.exporter.sources import boot_id
from fencer.journal.event import Event
from fencer.state.readings import Now
from fencer.state.snapshot import Snapshot
from tests import scenes


class Place:
    """A directory with watchdogd.json and journal.db."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.snapshot = path / "watchdogd.json"
        self.journal = path / "journal.db"

    def publish(self, of: Snapshot | None = None, **changes: Any) -> None:
        """The sidecar writes a snapshot; fresh for ten minutes unless interval_s says otherwise."""
        now = Now(time.time(), time.monotonic())
        made = scenes.of_this_boot(of or scenes.snapshot(), boot_id(), now)
        scenes.write_snapshot(
            self.snapshot, made._replace(**({"interval_s": 200.0, "check_interval_s": 200.0} | changes))
        )

    def record(self, *events: Event) -> None:
        moved = time.time() - scenes.NOW.unix_s
        scenes.write_journal(self.journal, *(event._replace(at_unix_s=event.at_unix_s + moved) for event in events))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def healthy(place: Place) -> Place:
    place.publish()
    place.record(scenes.unfence(), scenes.fence(), scenes.monitor())
    return place
