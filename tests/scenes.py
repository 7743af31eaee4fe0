# SPDX-License-Identifier: Apache-2.0
"""What an exporter finds on a node: healthy, degraded, fenced, nothing installed. Made up, by a stopped clock."""

import json
from pathlib import Path
from typing import Any

from fencer.journal.event import BUCKETS_S, Event, EventKind, FenceOutcome, Step, StepName, StepTotal, Total
from fencer.journal.file import Journal
from fencer.model import Proof, Side
from fencer.state.json_records import to_json
from fencer.state.readings import (
    JournalReading,
    JournalStatus,
    Now,
    Readings,
    SnapshotReading,
    SnapshotStatus,
    judge_snapshot,
)
from fencer.state.snapshot import (
    SCHEMA,
    KeySnapshot,
    LunSnapshot,
    NodeSnapshot,
    PathSnapshot,
    PolicyState,
    Snapshot,
    WatchdogSnapshot,
)

BOOT = "6e1f0d9c-2f5b-4a53-9a6b-0c6f3c7f2b11"
NOW = Now(unix_s=1_795_374_000.0, monotonic_s=5_000.0)  # 2026-11-22 19:00:00 UTC
TYPE = "Write Exclusive, Registrants Only"


NOT_ARMED = WatchdogSnapshot("", "", False, False, 0.0, 0.0, 0, 0.0, 0.0, 0)


def key_of(number: int) -> str:
    return f"{0x5A3C000100000000 + number:#x}"


def node_name(number: int) -> str:
    return f"serv-{number:04}"


def path(name: str, address: str, *, up: bool = True, registered: bool = True, error: str = "") -> PathSnapshot:
    return PathSnapshot(name, address, up, registered, error, NOW.monotonic_s - 1.5, 0.0021 if up else 2.0)


def lun(number: int, nodes: int = 2, width: int = 2, **changes: Any) -> LunSnapshot:
    made = LunSnapshot(
        wwid=f"36001405{number:024x}",
        name=f"/dev/mapper/mpath{chr(97 + number % 26)}{number // 26 or ''}",
        registration="registered",
        generation=4 + number,
        keys=tuple(KeySnapshot(key_of(n), node_name(n), width) for n in range(1, nodes + 1)),
        holder=key_of(2),
        type=TYPE,
        read_monotonic_s=NOW.monotonic_s - 1.25,
        error="",
        paths=tuple(path(f"sd{chr(98 + p)}{number or ''}", f"{2 + p}:0:0:{number}") for p in range(width)),
    )
    return made._replace(**changes)


def snapshot(nodes: int = 2, luns: int = 2, paths: int = 2) -> Snapshot:
    return Snapshot(
        boot_id=BOOT,
        pid=812,
        version="0.1.0",
        node=node_name(2),
        key=key_of(2),
        written_unix_s=NOW.unix_s - 0.5,
        written_monotonic_s=NOW.monotonic_s - 0.5,
        started_unix_s=NOW.unix_s - 86_400,
        interval_s=1.0,
        state=PolicyState.KEEPALIVE,
        reasons=(),
        grace_s=10.0,
        grace_remaining_s=None,
        check_interval_s=2.0,
        bound_s=22.0,
        paused_until_unix_s=None,
        watchdog=WatchdogSnapshot(
            device="/dev/watchdog0",
            identity="i6300ESB timer",
            armed=True,
            nowayout=False,
            timeout_s=10.0,
            keepalive_interval_s=1.0,
            keepalives=86_390,
            last_keepalive_monotonic_s=NOW.monotonic_s - 0.75,
            worst_gap_s=1.125,
            late_keepalives=0,
            software=False,
            asked_timeout_s=10.0,
        ),
        nodes=tuple(NodeSnapshot(node_name(n), key_of(n)) for n in range(1, nodes + 1)),
        luns=tuple(lun(n, nodes, paths) for n in range(luns)),
        registrations=4,
        last_self_fence_reason="",
        last_self_fence_unix_s=0.0,
        observer_restarts=0,
    )


# --- events -------------------------------------------------------------------------------------------------------


def fence(ago_s: float = 180.0, **changes: Any) -> Event:
    made = Event(
        at_unix_s=NOW.unix_s - ago_s,
        took_s=4.25,
        kind=EventKind.FENCE,
        program="fence_halvm",
        actor=node_name(2),
        target=node_name(1),
        action="reboot",
        outcome=FenceOutcome.SUCCESS,
        proofs=(Proof.POWER, Proof.STORAGE),
        steps=(
            Step(0.11, "2 LUNs identified", StepName.IDENTIFY, 0.11),
            Step(0.3, "BMC 192.168.1.50: session open", StepName.SESSION, 0.3),
            Step(0.42, f"{lun(0).wwid}: arbitration won", StepName.ARBITRATE, 0.31),
            Step(0.44, f"{lun(0).wwid}: isolated (PREEMPT AND ABORT), read back", StepName.ISOLATE, 0.02),
            Step(0.47, f"{lun(1).wwid}: isolated (PREEMPT AND ABORT), read back", StepName.ISOLATE, 0.05),
            Step(0.48, "BMC 192.168.1.50: chassis command off accepted", StepName.COMMAND, 0.06),
            Step(2.5, "BMC 192.168.1.50: chassis power is off", StepName.CHASSIS, 2.02),
            Step(4.2, "BMC 192.168.1.50: chassis power is on", StepName.CHASSIS, 1.7),
        ),
    )
    return made._replace(**changes)


def monitor(ago_s: float = 30.0, **changes: Any) -> Event:
    steps = (
        Step(0.2, "BMC 192.168.1.50: session open", StepName.SESSION, 0.2),
        Step(0.25, "BMC 192.168.1.50: chassis power is on", StepName.CHASSIS, 0.05),
    )
    made = fence(ago_s, kind=EventKind.MONITOR, action="monitor", took_s=0.5, proofs=(), steps=steps)
    return made._replace(**changes)


def unfence(ago_s: float = 86_300.0, **changes: Any) -> Event:
    made = fence(ago_s, kind=EventKind.UNFENCE, action="on", target=node_name(2), took_s=0.2, proofs=(), steps=())
    return made._replace(**changes)


def self_fence(ago_s: float = 90_000.0, **changes: Any) -> Event:
    made = unfence(ago_s, kind=EventKind.SELF_FENCE, action="", program="halvm-watchdogd")
    return made._replace(error="every path to every LUN was lost for 10 s")._replace(**changes)


def totals(events: list[Event]) -> tuple[Total, ...]:
    grouped: dict[tuple[EventKind, str, str, FenceOutcome, str], list[Event]] = {}
    for event in events:
        grouped.setdefault((event.kind, event.target, event.action, event.outcome, event.proof), []).append(event)
    return tuple(
        Total(
            *group,
            events=len(members),
            sum_s=sum(event.took_s for event in members),
            buckets=tuple(sum(event.took_s <= bound for event in members) for bound in BUCKETS_S),
            last_unix_s=max(event.at_unix_s + event.took_s for event in members),
        )
        for group, members in grouped.items()
    )


def step_totals(events: list[Event]) -> tuple[StepTotal, ...]:
    grouped: dict[tuple[EventKind, StepName], list[float]] = {}
    for event in events:
        for step in event.steps:
            grouped.setdefault((event.kind, step.name), []).append(step.took_s)
    return tuple(
        StepTotal(
            kind, name, len(took), round(sum(took), 9), tuple(sum(t <= bound for t in took) for bound in BUCKETS_S)
        )
        for (kind, name), took in grouped.items()
    )


def journal(*events: Event) -> JournalReading:
    ordered = sorted(events, key=lambda event: -event.at_unix_s)
    story = [event for event in ordered if event.kind not in (EventKind.MONITOR, EventKind.REGISTRATION)]
    latest: dict[EventKind, dict[str, Event]] = {}
    for event in ordered:
        latest.setdefault(event.kind, {}).setdefault(event.target, event)
    return JournalReading(
        JournalStatus.READABLE,
        totals=totals(ordered),
        steps=step_totals(ordered),
        story=tuple(story[:50]),
        told=len(story),
        fences=tuple(latest.get(EventKind.FENCE, {}).values()),
        monitors=tuple(latest.get(EventKind.MONITOR, {}).values()),
    )


def readings(of: Snapshot | SnapshotReading, record: JournalReading) -> Readings:
    reading = judge_snapshot(of, BOOT, NOW) if isinstance(of, Snapshot) else of
    return Readings(NOW, BOOT, reading, record)


# --- the scenes ---------------------------------------------------------------------------------------------------


def healthy() -> Readings:
    return readings(snapshot(), journal(monitor(), monitor(90), unfence()))


def degraded() -> Readings:
    """One LUN has lost every path, one has one of two left; grace runs. The last monitor failed."""
    good = snapshot()
    silent = lun(
        0,
        error="no path gave its registrations",
        read_monotonic_s=NOW.monotonic_s - 9.0,
        registration="",
        paths=(
            path("sdb", "2:0:0:0", up=False, error="no answer within 2 s"),
            path("sdc", "3:0:0:0", up=False, error="removed by the kernel"),
        ),
    )
    half = lun(
        1, paths=(path("sdb1", "2:0:0:1", up=False, registered=False, error="I/O error"), path("sdc1", "3:0:0:1"))
    )
    failed = monitor(
        45,
        outcome=FenceOutcome.FAILURE,
        error="192.168.1.50: login: no answer",
        steps=(Step(5.0, "192.168.1.50: login: no answer (trying again)", StepName.FAILURE, 5.0),),
        failed=(Side.POWER,),
    )
    return readings(
        good._replace(
            state=PolicyState.DEGRADED,
            reasons=("every path to /dev/mapper/mpatha is lost",),
            grace_remaining_s=6.5,
            luns=(silent, half),
            watchdog=good.watchdog._replace(worst_gap_s=7.5, late_keepalives=2),
            observer_restarts=1,
        ),
        journal(failed, monitor(105), unfence()),
    )


def fenced() -> Readings:
    """serv-0002 has fenced serv-0001 by storage only; a try before it failed. serv-0001's key is gone."""
    without = tuple(
        lun(n, keys=(KeySnapshot(key_of(2), node_name(2), 2),), generation=9, read_monotonic_s=NOW.monotonic_s - 0.9)
        for n in range(2)
    )
    late = "192.168.1.50: login: no answer: chassis power was not seen off within 30 s"
    failed = fence(240, outcome=FenceOutcome.FAILURE, proofs=(), error=late, took_s=30.0, action="off", steps=())
    return readings(
        snapshot()._replace(
            luns=without,
            last_self_fence_reason="every path to every LUN was lost for 10 s",
            last_self_fence_unix_s=NOW.unix_s - 90_000,
        ),
        journal(
            fence(180, proofs=(Proof.STORAGE,), action="off"),
            failed,
            fence(200_000),
            monitor(),
            unfence(),
            self_fence(),
        ),
    )


def nothing() -> Readings:
    """Neither sidecar nor agent has ever run here."""
    return readings(SnapshotReading(SnapshotStatus.MISSING), JournalReading(JournalStatus.MISSING))


SCENES = {"healthy": healthy, "degraded": degraded, "fenced": fenced, "nothing": nothing}


# --- as files -----------------------------------------------------------------------------------------------------


def write_snapshot(to: Path, of: Snapshot, *, schema: int = SCHEMA) -> None:
    """Replaced at once, as the sidecar does."""
    fresh = to.with_name(f".{to.name}.new")
    fresh.write_bytes(to_json(of, schema))
    fresh.rename(to)


def of_this_boot(of: Snapshot, boot: str, now: Now) -> Snapshot:
    """As if the sidecar had written it just now: every monotonic time is moved."""
    by_s = now.monotonic_s - 0.5 - of.written_monotonic_s
    luns = tuple(
        each._replace(
            read_monotonic_s=each.read_monotonic_s + by_s,
            paths=tuple(p._replace(probed_monotonic_s=p.probed_monotonic_s + by_s) for p in each.paths),
        )
        for each in of.luns
    )
    fed = of.watchdog.last_keepalive_monotonic_s + by_s
    return of._replace(
        boot_id=boot,
        written_monotonic_s=of.written_monotonic_s + by_s,
        written_unix_s=now.unix_s - 0.5,
        started_unix_s=now.unix_s - 86_400,
        luns=luns,
        watchdog=of.watchdog._replace(last_keepalive_monotonic_s=fed),
    )


def write_journal(to: Path, *events: Event) -> None:
    to.parent.chmod(0o755)
    journal = Journal(str(to))
    for event in events:
        journal.append(event)
    journal.close()


def as_document(of: Snapshot) -> dict[str, object]:
    document: dict[str, object] = json.loads(to_json(of, SCHEMA))
    return document
