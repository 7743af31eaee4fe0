"""What the observing process sends: news at once, and what is as it was together, so that it costs its readers little.

A sighting carries the time it began, and the policy judges by that. So one that comes late makes nothing good for
longer; it might only look stale too soon. What waits is therefore what came quickly: it arrives long before the
deadline that a slow one would have been given.
"""

import threading
from collections.abc import Callable
from typing import Final

from fencer.model import ReservationKey
from fencer.watchdog.sightings import Alive, LunSeen, PathRegistered, PathSeen, Sighting, Standing

QUICK_S = 0.25
"""A path that took longer to answer is told at once."""

MOST = 64
"""In one message: with all their keys they stay below what a reader takes (fencer.worker.MESSAGE_BYTES)."""

_Known = bool | tuple[Standing, int, ReservationKey | None]


class Outbox:
    """Several threads send; one flushes, every Timing.alive_interval_s. Order is kept."""

    def __init__(self, send: Callable[[list[Sighting]], None]) -> None:
        self._send: Final = send
        self._lock: Final = threading.Lock()
        self._waiting: list[Sighting] = []
        self._known: dict[tuple[str, str], _Known] = {}

    def put(self, sighting: Sighting) -> None:
        """Sends it, behind all that waits; or keeps it, where it says only that all is as it was."""
        with self._lock:
            self._waiting.append(sighting)
            if not self._is_as_before(sighting) or len(self._waiting) >= MOST:
                self._flush()

    def flush(self) -> None:
        """Sends what waits."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._send(waiting)

    def _is_as_before(self, sighting: Sighting) -> bool:
        match sighting:
            case PathSeen(lun, path, _, ok, _, took_s):
                before = self._known.get((lun, path))
                self._known[lun, path] = ok
                return ok and before is True and took_s <= QUICK_S
            case LunSeen(lun=lun, standing=standing):
                before = self._known.get((lun, ""))
                now = self._known[lun, ""] = (standing, sighting.generation, sighting.holder)
                return standing is Standing.REGISTERED and before == now
            case Alive() | PathRegistered():  # Registered follows where this is news
                return True
            case _:
                return False
