# SPDX-License-Identifier: Apache-2.0
"""The record of this node's last self-fence: written before the reset, read after it (``halvm-watchdogd last``)."""

from fencer.atomic_file import replace_file
from fencer.regular_file import read_regular_file
from fencer.state.json_records import from_json, to_json
from fencer.state.snapshot import SelfFence

__all__ = ("LAST_NAME", "SelfFence", "read_last", "write_last")

LAST_NAME = "last-self-fence.json"
SCHEMA = 1
_LONGEST_BYTES = 64 << 10


def write_last(directory: str, record: SelfFence) -> None:
    """Writes the record; it is on stable storage on return. Raises OSError."""
    replace_file(f"{directory}/{LAST_NAME}", to_json(record, SCHEMA), 0o644, durable=True)


def read_last(directory: str) -> SelfFence | None:
    """The record; None when there is none. Raises OSError or ValueError for one that cannot be read."""
    try:
        content = read_regular_file(f"{directory}/{LAST_NAME}", _LONGEST_BYTES)
    except FileNotFoundError:
        return None
    return from_json(SelfFence, content, SCHEMA)
