# SPDX-License-Identifier: Apache-2.0
"""Writes one event into the tables: the event itself, the totals it adds to, and what is dropped for it."""

import _sqlite3 as sqlite3

from fencer import json_text
from fencer._typing import Final, NamedTuple
from fencer.journal.cleaning import STEPS_MOST, one_line
from fencer.journal.event import BUCKETS_S, Event, EventKind, StepName

ROWS: Final = 100_000
BYTES: Final = 64 << 20
TARGETS: Final = 1000
"""Most rows of totals; events beyond them count for the target OTHER."""
OTHER: Final = "(other)"

_SHARES: Final = {
    EventKind.FENCE: 0.30,
    EventKind.POWER_ON: 0.05,
    EventKind.UNFENCE: 0.05,
    EventKind.DIAG: 0.05,
    EventKind.MONITOR: 0.30,
    EventKind.SELF_FENCE: 0.05,
    EventKind.REGISTRATION: 0.15,
    EventKind.PAUSE: 0.05,
}


class Bounds(NamedTuple):
    """The most that is kept, of all kinds together."""

    rows: int = ROWS
    bytes: int = BYTES


def insert(db: sqlite3.Connection, event: Event, bounds: Bounds) -> None:
    """Writes one event. Call it within a transaction."""
    event = _clean(event)
    steps = json_text.dumps([[round(s.at_s, 6), s.text, s.name, round(s.took_s, 6)] for s in event.steps])
    size = len(steps) + len(event.error) + 200
    db.execute(
        "INSERT INTO events (at_unix_s, took_s, kind, program, actor, target, action, outcome, proofs, weak, error, "
        "steps, bytes, failed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(event.at_unix_s, event.took_s, event.kind.value, event.program, event.actor, event.target, event.action),
            *(event.outcome.value, "+".join(event.proofs), int(event.weak), event.error, steps, size),
            "+".join(event.failed),
        ),
    )
    _count(db, event)
    _count_steps(db, event)
    db.execute(
        "INSERT INTO kept VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET rows = rows + 1, bytes = bytes + excluded.bytes",
        (event.kind.value, size),
    )
    _prune(db, event.kind, bounds)


def _count(db: sqlite3.Connection, event: Event) -> None:
    key = [event.kind.value, event.target, event.action, event.outcome.value, event.proof]
    ended_at = event.at_unix_s + event.took_s  # also where it is before what stands there: the clock was set back
    found = _total(db, key)
    if found is None and db.execute("SELECT count(*) FROM totals").fetchone()[0] >= TARGETS:
        key[1] = OTHER
        found = _total(db, key)
    events, sum_s, buckets = found or (0, 0.0, "")
    db.execute(
        "INSERT OR REPLACE INTO totals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, events + 1, sum_s + event.took_s, _filled(buckets, [event.took_s]), ended_at),
    )


def _count_steps(db: sqlite3.Connection, event: Event) -> None:
    took: dict[StepName, list[float]] = {}
    for step in event.steps:
        took.setdefault(step.name, []).append(step.took_s)
    for name, seconds in took.items():
        key = (event.kind.value, name.value)
        found = db.execute("SELECT steps, sum_s, buckets FROM step_totals WHERE kind = ? AND name = ?", key).fetchone()
        steps, sum_s, buckets = found or (0, 0.0, "")
        db.execute(
            "INSERT OR REPLACE INTO step_totals VALUES (?, ?, ?, ?, ?)",
            (*key, steps + len(seconds), sum_s + sum(seconds), _filled(buckets, seconds)),
        )


def _filled(buckets: str, seconds: list[float]) -> str:
    """A cumulative histogram, as JSON, with some more in it."""
    counts = json_text.loads(buckets) if buckets else [0] * len(BUCKETS_S)
    return json_text.dumps(
        [n + sum(each <= most for each in seconds) for n, most in zip(counts, BUCKETS_S, strict=True)]
    )


def _total(db: sqlite3.Connection, key: list[str]) -> tuple[int, float, str] | None:
    found: tuple[int, float, str] | None = db.execute(
        "SELECT events, sum_s, buckets FROM totals "
        "WHERE kind = ? AND target = ? AND action = ? AND outcome = ? AND proof = ?",
        key,
    ).fetchone()
    return found


def _prune(db: sqlite3.Connection, kind: EventKind, bounds: Bounds) -> None:
    """Drops the oldest of a kind that has outgrown its share, a hundredth of the share at a time."""
    rows_most, bytes_most = int(bounds.rows * _SHARES[kind]), int(bounds.bytes * _SHARES[kind])
    batch = max(1, rows_most // 100)
    while True:
        rows, size = db.execute("SELECT rows, bytes FROM kept WHERE kind = ?", (kind.value,)).fetchone()
        if rows <= 1 or (rows <= rows_most and size <= bytes_most):
            return
        dropped = db.execute(
            "SELECT id, bytes FROM events WHERE kind = ? ORDER BY id LIMIT ?", (kind.value, min(batch, rows - 1))
        ).fetchall()
        if not dropped:
            return
        db.execute("DELETE FROM events WHERE kind = ? AND id <= ?", (kind.value, dropped[-1][0]))
        db.execute(
            "UPDATE kept SET rows = rows - ?, bytes = bytes - ? WHERE kind = ?",
            (len(dropped), sum(row[1] for row in dropped), kind.value),
        )


def _clean(event: Event) -> Event:
    """The text bounded, on one line, and valid UTF-8: a caller's bytes need not be."""
    steps = tuple(step._replace(text=one_line(step.text)) for step in event.steps[:STEPS_MOST])
    return event._replace(
        program=one_line(event.program),
        actor=one_line(event.actor),
        target=one_line(event.target),
        action=one_line(event.action),
        error=one_line(event.error),
        steps=steps,
    )
