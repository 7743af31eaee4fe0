"""What the observing process sends: news at once, and what is as it was together, so that it costs its readers little.

A sighting carries the time it began, and the policy judges by that. So one that comes late makes nothing good for
longer; it might only look stale too soon. What waits is therefore what came quickly: it arrives long before the
deadline that a slow one would have been given.
"""

import threading
from collections.abc import Callable
from typing import Final

from fencer.model import ReservationKey
from fencer.sidecar.reports import (
    KEYS_MOST,
    Alive,
    LunSeen,
    LunSilent,
    PathRegistered,
    PathSeen,
    Registered,
    RegistrationFailed,
    Sighting,
)
from fencer.state.snapshot import RegistrationState

QUICK_S = 0.25
"""A path that took longer to answer is told at once."""

MOST, KEYS_A_UNIT = 64, 8
"""Units in one message. A sighting is one, and one more for each 8 keys that it lists: so a message stays far below
what a reader takes (fencer.worker.MESSAGE_BYTES), whatever a target lists."""

REASON_CHARS = 500

_Known = bool | tuple[RegistrationState, int, ReservationKey | None]


class Outbox:
    """Several threads send; one flushes, every Timing.alive_interval_s. Order is kept."""

    def __init__(self, send: Callable[[list[Sighting]], None]) -> None:
        self._send: Final = send
        self._lock: Final = threading.Lock()
        self._waiting: list[Sighting] = []
        self._units = 0
        self._known: dict[tuple[str, str], _Known] = {}

    def put(self, sighting: Sighting) -> None:
        """Sends it, behind all that waits; or keeps it, where it says only that all is as it was."""
        sighting = bounded(sighting)
        with self._lock:
            self._waiting.append(sighting)
            self._units += 1 + (len(sighting.keys) // KEYS_A_UNIT if isinstance(sighting, LunSeen) else 0)
            if not self._is_as_before(sighting) or self._units >= MOST:
                self._flush()

    def flush(self) -> None:
        """Sends what waits."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._units = self._waiting, [], 0
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
                return standing is RegistrationState.REGISTERED and before == now
            case Alive() | PathRegistered():  # Registered follows where this is news
                return True
            case _:
                return False


def bounded(sighting: Sighting) -> Sighting:
    """What a target or a kernel says at length, cut. Our own key is among the first that a LunWatch tells."""
    match sighting:
        case LunSeen(keys=keys) if len(keys) > KEYS_MOST:
            more = sighting.more_keys + len(keys) - KEYS_MOST
            return sighting._replace(keys=keys[:KEYS_MOST], nexuses=sighting.nexuses[:KEYS_MOST], more_keys=more)
        case PathSeen(reason=reason) if len(reason) > REASON_CHARS:
            return sighting._replace(reason=reason[:REASON_CHARS])
        case LunSilent(reason=reason) | RegistrationFailed(reason=reason) if len(reason) > REASON_CHARS:
            return sighting._replace(reason=reason[:REASON_CHARS])
        case Registered(why=why) if len(why) > REASON_CHARS:
            return sighting._replace(why=why[:REASON_CHARS])
    return sighting
