# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the snapshot's file."""

from fencer.atomic_file import replace_file
from fencer.regular_file import read_regular_file
from fencer.state.json_records import from_json, to_json
from fencer.state.snapshot import SCHEMA, SNAPSHOT_NAME, Snapshot

_LONGEST_BYTES = 4 << 20


def write_snapshot(directory: str, snapshot: Snapshot, luns: str | None = None) -> None:
    """Replaces the snapshot; every user may read it. Raises OSError.

    luns: a JSON list of LunSnapshots, for a snapshot that has none.
    """
    content = to_json(snapshot, SCHEMA)
    if luns is not None:  # a quote within a text would have a backslash before it: this is the field
        content = content.replace(b'"luns":[]', b'"luns":' + luns.encode(), 1)
    replace_file(f"{directory}/{SNAPSHOT_NAME}", content, 0o644, durable=False)


def read_snapshot(directory: str) -> Snapshot:
    """The snapshot. Raises OSError (FileNotFoundError: the sidecar never ran in this boot), ValueError."""
    content = read_regular_file(f"{directory}/{SNAPSHOT_NAME}", _LONGEST_BYTES)
    return from_json(Snapshot, content, SCHEMA)
