# SPDX-License-Identifier: Apache-2.0
"""Prints the journal, newest first, as a table or as JSON lines: ``fence_halvm -o history``."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, TextIO

from fencer.agent.options import BY_NAME
from fencer.errors import UsageError
from fencer.journal.event import Event
from fencer.journal.file import Journal, JournalError

if TYPE_CHECKING:
    from fencer.terminal import Terminal

_HEAD = ("when", "who", "whom", "action", "outcome", "proved by", "took", "error")
_LEAST = (23, 9, 9, 7, 7, 13, 7, 0)
_OUTCOME = _HEAD.index("outcome")
_SAMPLE = 50
"""By so many events, the latest, the columns are made as wide as their texts: a long history need not be read first."""
PATIENCE_S = 1.0
"""How long a read is repeated while writers come and go."""


def print_history(values: Mapping[str, str], stdout: TextIO, verbosity: int, terminal: "Terminal | None" = None) -> int:
    """Prints the events. Returns the exit status. Raises UsageError where the journal cannot be read.

    values: checked option text. terminal: the one that stdout is; None where it is none, or not a person's.
    """
    path = values.get("journal") or BY_NAME["journal"].default or ""
    if path == "none":
        raise UsageError("journal: none: there is no history without a journal: give the path of one")
    limit = int(values.get("limit") or BY_NAME["limit"].default or "0")
    as_json = values.get("json") == "1"
    events = Journal(path, patience_s=PATIENCE_S).events(
        limit=limit or None,
        node=values.get("nodename") or values.get("plug") or None,
        routine=as_json or verbosity > 0,
    )
    try:
        for line in _json_lines(events) if as_json else _table(events, terminal, steps=verbosity > 0):
            stdout.write(f"{line}\n")
        stdout.flush()
    except JournalError as error:
        raise UsageError(str(error)) from error
    except BrokenPipeError:  # the reader, such as head, has closed the pipe
        return 1
    except OSError as error:
        raise UsageError(f"standard output: {error.strerror}: give one that can be written") from error
    return 0


def _json_lines(events: Iterator[Event]) -> Iterator[str]:
    for event in events:
        fields = event._asdict()
        fields["at"] = datetime.fromtimestamp(event.at_unix_s, UTC).isoformat(timespec="milliseconds")
        fields["steps"] = [step._asdict() for step in event.steps]
        yield json.dumps(fields, ensure_ascii=False)


def _table(events: Iterator[Event], terminal: "Terminal | None", *, steps: bool) -> Iterator[str]:
    """Yields the lines of the table. On a terminal an error stands below its event, wrapped at words.

    Where the table is wider than the terminal, each event is a sentence instead.
    """
    first = list(islice(events, _SAMPLE))
    if not first:
        yield "The journal holds nothing of that."
        return
    columns = zip(*map(_cells, first), strict=True)
    widths = [max(least, *map(len, column)) for least, column in zip(_LEAST, columns, strict=True)]
    shown = len(_HEAD) - (terminal is not None)
    wide = sum(widths[:shown]) + 2 * (shown - 1)
    narrow = terminal if terminal and 0 < terminal.width < wide else None
    if not narrow:
        yield _row(_HEAD[:shown], widths)
    for event in chain(first, events):
        cells = _cells(event)
        yield _sentence(cells, narrow) if narrow else _row(cells[:shown], widths, terminal.outcome if terminal else str)
        if terminal and event.error:
            yield terminal.paragraph(event.error)
        if steps:
            for step in event.steps:
                yield f"    {step.at_s:8.3f} s  (+{step.took_s:.3f})  {step.text}"


def _row(cells: Sequence[str], widths: Sequence[int], outcome: Callable[[str], str] = str) -> str:
    """The cells in their columns. outcome: colours that cell, which keeps its width on the screen."""
    padded = [cell.ljust(width) for cell, width in zip(cells, widths)]  # noqa: B905 - the last may be left out
    padded[_OUTCOME] = outcome(padded[_OUTCOME])
    return "  ".join(padded).rstrip()


def _sentence(cells: Sequence[str], terminal: "Terminal") -> str:
    """The cells in words, as halvmctl status has them, wrapped at words. The outcome is in colour."""
    when, who, whom, action, outcome, proof, took, _ = cells
    proved = "" if proof == "-" else f", proved by {proof}"
    text = terminal.sentence("", f"{when} {who}: {action} of {whom}: {outcome}{proved}, {took}")
    before, word, after = text.rpartition(outcome)
    return before + terminal.outcome(word) + after


def _cells(event: Event) -> tuple[str, ...]:
    proved = event.proof if event.proofs else "-"
    return (
        time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(event.at_unix_s)),
        event.actor or "-",
        event.target or "-",
        event.action,
        event.outcome.value,
        f"{proved} (plain PREEMPT)" if event.weak else proved,
        f"{event.took_s:.2f} s",
        event.error,
    )
