# SPDX-License-Identifier: Apache-2.0
"""Publishes log, snapshot and journal: the work that may wait for a disk, a full tmpfs or a stuck journald.

The publisher takes the same reports as the policy, to describe the LUNs. It decides nothing.
"""

import os
import time
from collections import deque
from collections.abc import Callable

from fencer import __version__
from fencer.errors import FenceError
from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.model import ReservationKey
from fencer.readable import readable
from fencer.sidecar.lun_list import FoundLun
from fencer.sidecar.lun_records import LunView
from fencer.sidecar.lun_state import LunStates
from fencer.sidecar.lun_texts import LunTexts
from fencer.sidecar.messages import PROGRAM, PUBLISH_INTERVAL_S, Begin, Config, FeederStatus, Level, Line, Recorded
from fencer.sidecar.reports import (
    LISTED,
    ListedLun,
    ListedPath,
    LunSeen,
    LunsListed,
    Registered,
    RegistrationFailed,
    Report,
)
from fencer.state.last_self_fence import SelfFence, read_last, write_last
from fencer.state.snapshot import KeySnapshot, LunSnapshot, PathSnapshot, PolicyState, RegistrationState, Snapshot
from fencer.state.snapshot_file import write_snapshot
from fencer.worker import Channel

_REPORTS = Report.__args__


def _receive(channel: Channel) -> object:
    """The next message. One that cannot be unpickled is skipped: a new publisher would get it again."""
    while True:
        try:
            return channel.receive()
        except OSError:
            return None
        except Exception:  # noqa: BLE001, S112 - unpickling raises whatever it likes
            continue


Append = Callable[[Event], None]
"""Adds to the journal. Raises FenceError or OSError when it cannot."""


EVENTS_MOST = 1000
"""Most events that wait for the journal."""


def _is_waiting(channel: Channel) -> bool:
    return bool(readable([channel], 0))


def _as_found(lun: FoundLun) -> ListedLun:
    return ListedLun(lun.wwid, lun.name, tuple(ListedPath(name, "") for name in lun.paths))


class Publisher:
    """Takes messages from the feeder until it is gone."""

    def __init__(self, begin: Begin, boot_id: str, feeder_pid: int, log: int, append: Append) -> None:
        """log: a descriptor for lines. Reads the record of an earlier self-fence."""
        self._config = begin.config
        self._began_unix_s = begin.began_unix_s
        self._boot_id = boot_id
        self._pid = feeder_pid
        self._log = log
        self._append = append
        now = time.monotonic()
        self._known = LunStates(begin.config.settings.policy, now)
        if begin.luns is not None:  # a successor that is started before the first look has to find them
            self._known.take(LunsListed(now, tuple(_as_found(lun) for lun in begin.luns.luns), first=True))
        self._texts = LunTexts(self._known, self._lun)
        self._registrations: dict[str, RegistrationState] = {}
        self._status: FeederStatus | None = None
        self._events: deque[Event] = deque()
        self._complained: dict[str, float] = {}
        self._last = self._read_last()

    def run(self, channel: Channel) -> None:
        """Messages that have piled up cost one snapshot, not one each. Events wait until all messages are taken: the
        journal may be slow, and neither a self-fence nor the snapshot waits for it."""
        while (message := _receive(channel)) is not None:
            if (answer := self.take(message)) is not None:
                channel.send(answer)
            while not _is_waiting(channel) and (self._status is not None or self._events):
                if self._status is not None:
                    self._publish(self._status)
                    self._status = None
                elif self._events:
                    self._journal(self._events.popleft())
        if self._status is not None:
            self._publish(self._status)
        while self._events:
            self._journal(self._events.popleft())

    def take(self, message: object) -> Recorded | None:
        """Handles one message. Answers where the feeder waits for an answer."""
        match message:
            case Line():
                self._write_line(message)
            case FeederStatus():
                self._status = message
            case Event():
                self._later(message)
            case SelfFence():
                return self._record(message)
            case Config():
                self._config = message
                self._known.reconfigure(message.settings.policy, time.monotonic())
            case list():
                for report in message:
                    if isinstance(report, _REPORTS):
                        self._see(report)
        return None

    # --- what is seen -----------------------------------------------------------------------------------------------

    def _see(self, report: Report) -> None:
        self._known.take(report)
        match report:
            case Registered(lun, path, _, why):
                self._registration(lun, path, FenceOutcome.SUCCESS, why)
            case RegistrationFailed(lun, path, _, reason):
                self._registration(lun, path, FenceOutcome.FAILURE, reason)
            case LunSeen(lun=lun, registration=registration):
                before = self._registrations.get(lun)
                self._registrations[lun] = registration
                if before in LISTED and registration not in LISTED:
                    self._registration(lun, "", FenceOutcome.FAILURE, f"our registration is gone: {registration}")

    def _registration(self, lun: str, path: str, outcome: FenceOutcome, why: str) -> None:
        where = f"{lun} {path}".rstrip()
        level = Level.NOTICE if outcome is FenceOutcome.SUCCESS else Level.WARNING
        verb = "key registered" if outcome is FenceOutcome.SUCCESS else "key not registered"
        self._write_line(Line(level, f"{where}: {verb}: {why}"))
        error = "" if outcome is FenceOutcome.SUCCESS else why
        self._later(self._event(EventKind.REGISTRATION, where, "register", outcome, error))

    # --- what is written --------------------------------------------------------------------------------------------

    def _record(self, record: SelfFence) -> Recorded:
        problem = ""
        try:
            write_last(self._config.settings.record_dir, record)
        except OSError as error:
            problem = f"{self._config.settings.record_dir}: {error.strerror}"
        self._write_line(Line(Level.ERROR, f"self-fence: {record.reason}"))
        # Whether the reset came is for the next boot to say.
        event = self._event(EventKind.SELF_FENCE, self._config.node, "reset", FenceOutcome.UNKNOWN, record.reason)
        self._events.appendleft(event)
        return Recorded(problem)

    def _event(self, kind: EventKind, target: str, action: str, outcome: FenceOutcome, error: str) -> Event:
        return Event(time.time(), 0.0, kind, PROGRAM, self._config.node, target, action, outcome, error=error)

    def _later(self, event: Event) -> None:
        """Writes one event, when nothing else is to be done."""
        if len(self._events) >= EVENTS_MOST:
            self._events.popleft()
            self._complain("journal", "events come faster than they can be written: the oldest are left out")
        self._events.append(event)

    def _journal(self, event: Event) -> None:
        try:
            self._append(event)
        except (FenceError, OSError) as error:
            self._complain("journal", str(error))

    def _publish(self, status: FeederStatus) -> None:
        now = time.monotonic()
        luns = self._texts.text(now)
        snapshot = self.snapshot(status, self._known.view(now) if luns is None else ())
        try:
            write_snapshot(self._config.settings.state_dir, snapshot, luns)
        except OSError as error:
            self._complain("snapshot", f"{self._config.settings.state_dir}: {error.strerror}")

    def _complain(self, subject: str, problem: str) -> None:
        """Logs each problem once a minute."""
        now = time.monotonic()
        if now - self._complained.get(subject, -60.0) >= 60.0:
            self._complained[subject] = now
            self._write_line(Line(Level.WARNING, f"{subject}: {problem}"))

    def _write_line(self, line: Line) -> None:
        text = "".join(c if c.isprintable() else "?" for c in line.text[:900])
        # sd-daemon(3): a level in front, where journald is listening.
        head = f"<{line.level.value}>" if "JOURNAL_STREAM" in os.environ else f"{PROGRAM}: {line.level.name}: "
        try:
            os.write(self._log, f"{head}{text}\n".encode())
        except OSError:
            return

    def _read_last(self) -> SelfFence | None:
        try:
            return read_last(self._config.settings.record_dir)
        except (OSError, ValueError) as error:
            self._complain("last self-fence", f"{self._config.settings.record_dir}: {error}")
            return None

    # --- the snapshot -----------------------------------------------------------------------------------------------

    def snapshot(self, status: FeederStatus, luns: tuple[LunView, ...]) -> Snapshot:
        """The snapshot at the moment of status."""
        config, settings, last = self._config, status.settings, self._last
        now, now_unix = time.monotonic(), time.time()
        paused = status.paused_until_s
        return Snapshot(
            boot_id=self._boot_id,
            pid=self._pid,
            version=__version__,
            node=config.node,
            key=config.key,
            written_unix_s=now_unix,
            written_monotonic_s=now,
            started_unix_s=self._began_unix_s,
            interval_s=PUBLISH_INTERVAL_S,
            state=PolicyState.STOPPED if status.stopped else status.decision.state,
            reasons=status.decision.reasons,
            grace_s=settings.grace_s,
            grace_remaining_s=status.decision.grace_remaining_s,
            check_interval_s=settings.check_interval_s,
            bound_s=status.bound_s,
            paused_until_unix_s=None if paused is None else now_unix + (paused - now),
            watchdog=status.watchdog,
            nodes=config.nodes,
            luns=tuple(map(self._lun, luns)),
            registrations=status.registrations,
            last_self_fence_reason=last.reason if last else "",
            last_self_fence_unix_s=last.at_unix_s if last else 0.0,
            observer_restarts=status.observer_restarts,
            paused_until_monotonic_s=paused,
            luns_unsettled=status.luns_unsettled,
            not_granted=status.not_granted,
            storage=settings.named_storage,
        )

    def _lun(self, view: LunView) -> LunSnapshot:
        names = {node.key: node.name for node in self._config.nodes}

        def key(value: ReservationKey, nexuses: int) -> KeySnapshot:
            return KeySnapshot(str(value), names.get(str(value), ""), nexuses)

        return LunSnapshot(
            wwid=view.wwid,
            name=view.name,
            registration=str(view.registration or ""),
            generation=view.generation,
            keys=tuple(key(*each) for each in view.keys),
            holder="" if view.holder is None else str(view.holder),
            type="" if view.type is None else view.type.name.lower().replace("_", " "),
            read_monotonic_s=view.read_at_s,
            error=view.error,
            more_keys=view.more_keys,
            read_only=view.read_only,
            paths=tuple(
                PathSnapshot(
                    path.name, path.address, path.up, path.registered, path.error, path.probed_at_s, path.took_s
                )
                for path in view.paths
            ),
        )
