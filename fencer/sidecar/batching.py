# SPDX-License-Identifier: Apache-2.0
"""Sends changes at once and batches unchanged reports, so that they cost the feeder and the publisher little.

A report carries the time at which its command began, and the policy judges by that time. So a report that arrives late
keeps nothing good for longer, but it may look stale too soon. Therefore only quick answers wait for a batch: they still
arrive long before the deadline of a slow one.
"""

import threading
from collections.abc import Callable

from fencer._typing import Final
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
    StillWell,
)
from fencer.state.snapshot import RegistrationState

QUICK_S = 0.25
"""An answer that took longer is sent at once."""

MOST, KEYS_A_UNIT, WELL_A_UNIT = 64, 8, 8
"""Most units in one message. A report is one unit, one more for each 8 keys in it, and 8 of those that go into one
StillWell are one. So a message stays far below fencer.worker.MESSAGE_BYTES, whatever a target lists."""

WHOLE_S = 30.0
"""How often a reading of a LUN is sent whole although nothing has changed: a publisher may have missed it."""

REASON_CHARS = 500


class ReportBatcher:
    """Batches reports. Several threads put; one flushes, every SidecarTiming.alive_interval_s.

    What is only seen again, or may wait, goes together as one StillWell, in front of its batch. All else keeps its
    order.
    """

    def __init__(self, send: Callable[[list[Report]], None]) -> None:
        self._send: Final = send
        self._lock: Final = threading.Lock()
        self._waiting: list[Report] = []
        self._well_paths: list[tuple[str, str, float, float]] = []
        self._well_luns: list[tuple[str, float, int]] = []
        self._registered: list[tuple[str, str]] = []
        self._units = 0.0
        self._good: Final[dict[tuple[str, str], bool]] = {}
        self._read: Final[dict[str, LunSeen]] = {}

    def put(self, report: Report) -> None:
        """Sends a change, behind all that waits. Keeps a report without a change for the next batch."""
        with self._lock:
            if self._is_well_again(report):
                self._units += 1 / WELL_A_UNIT
                urgent = False
            else:
                report = bounded(report)
                self._waiting.append(report)
                self._units += 1 + (len(report.keys) // KEYS_A_UNIT if isinstance(report, LunSeen) else 0)
                urgent = not isinstance(report, Alive)
            if urgent or self._units >= MOST:
                self._flush()

    def flush(self) -> None:
        """Sends the batch."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._units = self._waiting, [], 0.0
        if self._well_paths or self._well_luns or self._registered:
            again = StillWell(tuple(self._well_paths), tuple(self._well_luns), tuple(self._registered))
            waiting.insert(0, again)
            self._well_paths, self._well_luns, self._registered = [], [], []
        if waiting:
            self._send(waiting)

    def _is_well_again(self, report: Report) -> bool:
        """Takes it into the next StillWell, where it belongs there."""
        if isinstance(report, PathSeen):
            lun, path, at_s, ok, _, took_s = report
            before = self._good.get((lun, path), False)
            self._good[lun, path] = ok
            if not (ok and before and took_s <= QUICK_S):
                return False
            self._well_paths.append((lun, path, at_s, took_s))
            return True
        if isinstance(report, LunSeen):
            known = self._read.get(report.lun)
            if (
                known is not None
                and report.registration is RegistrationState.REGISTERED
                and report[2:] == known[2:]
                and report.at_s - known.at_s < WHOLE_S
            ):
                self._well_luns.append((report.lun, report.at_s, report.generation))
                return True
            self._read[report.lun] = report
        if isinstance(report, PathRegistered):  # Registered follows where this is news
            self._registered.append((report.lun, report.path))
            return True
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
