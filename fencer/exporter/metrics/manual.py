# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md, generated from the table: ``python -m fencer.exporter.metrics.manual > docs/metrics.md``."""

import sys
from collections.abc import Iterator
from typing import Final

from fencer.exporter.metrics.table import LABELS, METRICS, Source
from fencer.journal.event import BUCKETS_S

_INTRODUCTION: Final = f"""\
<!-- Generated from fencer/exporter/metrics/table.py by: python -m fencer.exporter.metrics.manual > docs/metrics.md -->

# Metrics of halvm-exporter

Each node exposes what *it* knows: its sidecar's snapshot and its own journal. A fence stands in the metrics of the node
that fenced; the victim's own last reset in `halvm_sidecar_last_self_fence_timestamp_seconds` of the victim. Prometheus
tells the nodes apart by `instance`.

**A stale value is never published as fresh.** The column *from* says when a series is absent:

- `snapshot`: absent unless `halvm_snapshot_status{{status="fresh"}}` is 1. A snapshot is stale when the sidecar has not
  written a new one for 3 of its own intervals, and at least 5 s.
- `reading`*: as `snapshot`. Also absent for a LUN whose registrations cannot be read, or were last read more than 3
  check intervals, and at least 5 s, ago (`halvm_lun_readable` is 0).
- `journal`: absent unless `halvm_journal_status{{status="readable"}}` is 1. A missing journal counts as an empty one:
  nothing has been recorded yet.
- `exporter`: always there.

Points in time are timestamps of the node's own clock, which may differ from Prometheus'. The alerts and the dashboard
correct them by `halvm_exporter_clock_seconds`. `time() - …_timestamp_seconds` goes on growing in Prometheus when
nothing new is published; an age would stay small. The one age is `halvm_snapshot_age_seconds`: the exporter takes it by
the monotonic clock of the same boot, so that a clock change does not make an old snapshot look new.

The last fence or monitor of a target is the one that was recorded last, even if its time is before that of an earlier
one. Then the clock was ahead and has been set back.

Histogram buckets, in seconds: {", ".join(f"{bound:g}" for bound in BUCKETS_S)}.
"""


def markdown() -> str:
    """The text of docs/metrics.md."""
    return "".join(f"{line}\n" for line in _markdown())


def _markdown() -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Metrics\n"
    yield "| collector | metric | type | labels | from | meaning |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in METRICS:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        source = f"{row.source}\\*" if row.source is Source.READING else row.source
        yield f"| {row.collector} | `{row.name}` | {row.kind} | {labels} | {source} | {row.help} |"
    yield "\nBeside these, `process_*`: CPU, memory, descriptors and start time of the exporter itself.\n"
    yield "## Labels\n"
    yield "| label | values | bounded by |"
    yield "| --- | --- | --- |"
    for label in LABELS:
        yield f"| `{label.name}` | {label.meaning} | {label.bound} |"


if __name__ == "__main__":
    sys.stdout.write(markdown())
