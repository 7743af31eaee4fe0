"""Sends changes at once and batches unchanged reports, so that they cost the feeder and the publisher little.

A report carries the time at which its command began, and the policy judges by that time. So a report that arrives late
keeps nothing good for longer, but it may look stale too soon. Therefore only quick answers wait for a batch: they still
arrive long before the deadline of a slow one.
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
    Report,
)
from fencer.state.snapshot import RegistrationState

QUICK_S = 0.25
"""An answer that took longer is sent at once."""

MOST, KEYS_A_UNIT = 64, 8
"""Most units in one message. A report is one unit, and one more for each 8 keys in it. So a message stays far below
fencer.worker.MESSAGE_BYTES, whatever a target lists."""

REASON_CHARS = 500

_Known = bool | tuple[RegistrationState, int, ReservationKey | None]


class ReportBatcher:
    """Batches reports and keeps their order. Several threads put; one flushes, every Timing.alive_interval_s."""

    def __init__(self, send: Callable[[list[Report]], None]) -> None:
        self._send: Final = send
        self._lock: Final = threading.Lock()
        self._waiting: list[Report] = []
        self._units = 0
        self._known: dict[tuple[str, str], _Known] = {}

    def put(self, report: Report) -> None:
        """Sends a change, behind all that waits. Keeps a report without a change for the next batch."""
        report = bounded(report)
        with self._lock:
            self._waiting.append(report)
            self._units += 1 + (len(report.keys) // KEYS_A_UNIT if isinstance(report, LunSeen) else 0)
            if not self._is_as_before(report) or self._units >= MOST:
                self._flush()

    def flush(self) -> None:
        """Sends the batch."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._units = self._waiting, [], 0
        if waiting:
            self._send(waiting)

    def _is_as_before(self, report: Report) -> bool:
        match report:
            case PathSeen(lun, path, _, ok, _, took_s):
                before = self._known.get((lun, path))
                self._known[lun, path] = ok
                return ok and before is True and took_s <= QUICK_S
            case LunSeen(lun=lun, registration=registration):
                before = self._known.get((lun, ""))
                now = self._known[lun, ""] = (registration, report.generation, report.holder)
                return registration is RegistrationState.REGISTERED and before == now
            case Alive() | PathRegistered():  # Registered follows where this is news
                return True
            case _:
                return False


def bounded(report: Report) -> Report:
    """The report with long texts and lists cut. A LunWatch puts our own key among the first, so it is never cut."""
    match report:
        case LunSeen(keys=keys) if len(keys) > KEYS_MOST:
            more = report.more_keys + len(keys) - KEYS_MOST
            return report._replace(keys=keys[:KEYS_MOST], nexuses=report.nexuses[:KEYS_MOST], more_keys=more)
        case PathSeen(reason=reason) if len(reason) > REASON_CHARS:
            return report._replace(reason=reason[:REASON_CHARS])
        case LunSilent(reason=reason) | RegistrationFailed(reason=reason) if len(reason) > REASON_CHARS:
            return report._replace(reason=reason[:REASON_CHARS])
        case Registered(why=why) if len(why) > REASON_CHARS:
            return report._replace(why=why[:REASON_CHARS])
    return report
