"""Reads and writes the snapshot's file."""

from pathlib import Path

from fencer.atomic_file import replace_file
from fencer.regular_file import read_regular_file
from fencer.state.json_records import from_json, to_json
from fencer.state.snapshot import SCHEMA, SNAPSHOT_NAME, Snapshot

_LONGEST_BYTES = 4 << 20


def write_snapshot(directory: str, snapshot: Snapshot) -> None:
    """Replaces the snapshot; every user may read it. Raises OSError."""
    replace_file(Path(directory) / SNAPSHOT_NAME, to_json(snapshot, SCHEMA), 0o644, durable=False)


def read_snapshot(directory: str) -> Snapshot:
    """The snapshot. Raises OSError (FileNotFoundError: the sidecar never ran in this boot), ValueError."""
    content = read_regular_file(f"{directory}/{SNAPSHOT_NAME}", _LONGEST_BYTES)
    return from_json(Snapshot, content, SCHEMA)
