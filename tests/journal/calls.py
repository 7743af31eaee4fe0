# SPDX-License-Identifier: Apache-2.0
"""A call of the agent, and what its journal has of it."""

import time
from pathlib import Path

from fencer.journal.event import Event, EventKind
from fencer.journal.file import Journal
from tests.agent.halvm import Outcome, at, halvm
from tests.rig.bmc import Bmc

PATIENCE_S = 300
"""The writer has the lowest priority."""


def call(bmc: Bmc, path: str, action: str, *argv: str) -> Outcome:
    return halvm(*at(bmc), f"--journal={path}", "-o", action, "-n", "serv-0001", *argv)


def recorded(path: str, events: int = 1, kind: EventKind | None = None) -> list[Event]:
    """Waits for the writer, which the agent does not do. kind: of the events that count; None: all."""
    until = time.monotonic() + PATIENCE_S
    found: list[Event] = []
    while len(found) < events:
        assert time.monotonic() < until, "nothing was recorded"
        time.sleep(0.02)
        if Path(path).exists():
            found = [event for event in Journal(path, patience_s=PATIENCE_S).events() if kind in (None, event.kind)]
    return found
