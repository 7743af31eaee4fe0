# SPDX-License-Identifier: Apache-2.0
"""Queries of the journal at one moment. SELECT only."""

import _sqlite3 as sqlite3
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from fencer._typing import Final, NamedTuple
from fencer.journal.cleaning import buckets_of, count_of, moment_of, seconds_of, steps_of, sum_of, text_of
from fencer.journal.event import Event, EventKind, FenceOutcome, StepName, StepTotal, Total
from fencer.model import Proof, Side

TotalRow = tuple[str, str, str, str, str, int, float, str, float]
"""As it stands in the table."""
NONE_KNOWN: Final[Mapping[TotalRow, Total]] = MappingProxyType({})


class Position(NamedTuple):
    """How far a reader has read. journal: its identity, since a file can be moved away. last_id: 0 before the first."""

    journal: str
    last_id: int


class JournalSnapshot:
    """One moment of the journal."""

    def __init__(self, db: sqlite3.Connection, version: int) -> None:
        self._db = db
        self._version = version
        self._columns = f"{_COLUMNS}, {'failed' if version >= 3 else _NONE}"

    def position(self) -> Position:
        """A token that changes with every change."""
        journal, last_id = self._db.execute(
            "SELECT journal, (SELECT coalesce(max(id), 0) FROM events) FROM identity"
        ).fetchone()
        return Position(journal, last_id)

    def totals(self) -> tuple[Total, ...]:
        """All totals."""
        return tuple(self.totals_by_row().values())

    def totals_by_row(self, known: Mapping[TotalRow, Total] = NONE_KNOWN) -> dict[TotalRow, Total]:
        """All totals by row. known: of an earlier reading, whose unchanged rows need not be parsed again."""
        rows: Iterable[TotalRow] = self._db.execute(
            "SELECT kind, target, action, outcome, proof, events, sum_s, buckets, last_unix_s FROM totals"
        )
        return {row: known.get(row) or _total(row) for row in rows}

    def step_totals(self) -> tuple[StepTotal, ...]:
        """All totals of steps; none where the journal is still of schema 1."""
        if self._version < 2:
            return ()
        return tuple(map(_step_total, self._db.execute("SELECT kind, name, steps, sum_s, buckets FROM step_totals")))

    def latest(self, kind: EventKind, after_id: int = 0) -> tuple[Event, ...]:
        """The latest event after that id of each target that has a total of the kind. One pass: a target whose events
        have been dropped costs nothing."""
        rows = self._db.execute(
            f"SELECT {self._columns} FROM events WHERE id IN ("  # noqa: S608 - a constant - words of ours only
            "SELECT max(id) FROM events WHERE kind = ?1 AND id > ?2 "
            "AND target IN (SELECT target FROM totals WHERE kind = ?1) GROUP BY target) ORDER BY id",
            (kind.value, after_id),
        )
        return tuple(_event(row[1:]) for row in rows)

    def event(self, event_id: int) -> Event | None:
        """The event of that id. None: there never was one, or it has been dropped."""
        row = self._db.execute(f"SELECT {self._columns} FROM events WHERE id = ?", (event_id,)).fetchone()  # noqa: S608 - a constant
        return _event(row[1:]) if row is not None else None

    def since(self, position: Position | None, limit: int = 1000) -> tuple[Event, ...]:
        """The events appended after position, oldest first; at most the latest limit of them."""
        after = position.last_id if position is not None and position.journal == self.position().journal else 0
        return tuple(event for _, event in reversed(self.page(limit=limit, after_id=after)))

    def page(
        self,
        *,
        limit: int,
        before_id: int | None = None,
        after_id: int | None = None,
        since_unix_s: float | None = None,
        target: str | None = None,
        node: str | None = None,
        kinds: Iterable[EventKind] = (),
        routine: bool = True,
        newest_first: bool = True,
    ) -> list[tuple[int, Event]]:
        """Events with their ids, ids between the two given. node: the actor or the target. routine: with monitors that
        found nothing wrong."""
        conditions, values = ["1" if routine else "NOT (kind = 'monitor' AND outcome = 'success')"], list[object]()
        for condition, value in (
            ("id < ?", before_id),
            ("id > ?", after_id),
            ("at_unix_s >= ?", since_unix_s),
            ("target = ?", target),
            ("? IN (target, actor)", node),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        wanted = [kind.value for kind in kinds]
        if wanted:
            conditions.append(f"kind IN ({', '.join('?' * len(wanted))})")
            values += wanted
        order = "DESC" if newest_first else "ASC"
        rows = self._db.execute(
            f"SELECT {self._columns} FROM events WHERE {' AND '.join(conditions)} ORDER BY id {order} LIMIT ?",  # noqa: S608 - a constant - words of ours only
            (*values, limit),
        )
        return [(row[0], _event(row[1:])) for row in rows]


def _total(row: TotalRow) -> Total:
    kind, target, action, outcome, proof, events, sum_s, buckets, last_unix_s = row
    return Total(
        EventKind(kind),
        text_of(target),
        text_of(action),
        FenceOutcome(outcome),
        text_of(proof),
        count_of(events),
        sum_of(sum_s),
        buckets_of(buckets),
        moment_of(last_unix_s),
    )


def _step_total(row: tuple[str, str, int, float, str]) -> StepTotal:
    kind, name, steps, sum_s, buckets = row
    return StepTotal(EventKind(kind), StepName(name), count_of(steps), sum_of(sum_s), buckets_of(buckets))


_COLUMNS: Final = "id, at_unix_s, took_s, kind, program, actor, target, action, outcome, proofs, weak, error, steps"
_NONE: Final = "''"
_Row = tuple[float, float, str, str, str, str, str, str, str, int, str, str, str]


def _event(row: _Row) -> Event:
    at_unix_s, took_s, kind, program, actor, target, action, outcome, proofs, weak, error, steps, failed = row
    return Event(
        at_unix_s=moment_of(at_unix_s),
        took_s=seconds_of(took_s),
        kind=EventKind(kind),
        program=text_of(program),
        actor=text_of(actor),
        target=text_of(target),
        action=text_of(action),
        outcome=FenceOutcome(outcome),
        proofs=tuple(Proof(word) for word in text_of(proofs).split("+") if word),
        weak=bool(weak),
        error=text_of(error),
        steps=steps_of(steps),
        failed=tuple(Side(word) for word in text_of(failed).split("+") if word),
    )
