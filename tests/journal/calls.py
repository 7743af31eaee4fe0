"""A call of the agent, and what its journal has of it."""

import time
from pathlib import Path

from fencer.journal.event import Event
from fencer.journal.file import Journal
from tests.agent.halvm import Outcome, at, halvm
from tests.rig.bmc import Bmc


def call(bmc: Bmc, path: str, action: str, *argv: str) -> Outcome:
    return halvm(*at(bmc), f"--journal={path}", "-o", action, "-n", "serv-0001", *argv)


def recorded(path: str, events: int = 1) -> list[Event]:
    """Waits for a writer that a busy machine has kept."""
    until = time.monotonic() + 20
    while not Path(path).exists() or len(found := list(Journal(path).events())) < events:
        assert time.monotonic() < until, "nothing was recorded"
        time.sleep(0.02)
    return found
