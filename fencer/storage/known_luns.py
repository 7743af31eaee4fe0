# SPDX-License-Identifier: Apache-2.0
"""Keeps the list of a volume group's LUNs as of this node's last registration or last good monitor.

LVM reads every disk of the host, so one dead disk that has nothing to do with the group can hold it up. A fence then
plays its race on the LUNs of this list. It proves nothing by it: the group may have got another LUN since.
"""

import os
from collections.abc import Sequence

from fencer.errors import UsageError
from fencer.regular_file import read_regular_file, require_private_directory

_LONGEST_BYTES = 1 << 20


def read_known(state_dir: str, volume_group: str) -> tuple[str, ...]:
    """The WWIDs, sorted; empty where there is no list, or it cannot be read."""
    from fencer import json_text  # a fence by a list of devices reads none

    try:
        require_private_directory("state_dir", state_dir)
        wwids = json_text.loads(read_regular_file(_path(state_dir, volume_group), _LONGEST_BYTES))["wwids"]
    except (UsageError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    whole = isinstance(wwids, list) and all(isinstance(wwid, str) and wwid for wwid in wwids)
    return tuple(sorted(wwids)) if whole else ()


def write_known(state_dir: str, volume_group: str, wwids: Sequence[str]) -> None:
    """Writes the list unless it is unchanged. Raises OSError."""
    wwids = sorted(wwids)
    if list(read_known(state_dir, volume_group)) == wwids:
        return
    from fencer import json_text
    from fencer.atomic_file import replace_file  # a fence writes none

    content = json_text.dumps({"wwids": wwids}).encode() + b"\n"
    replace_file(_path(state_dir, volume_group), content, 0o600, durable=False)


def _path(state_dir: str, volume_group: str) -> str:
    """A group's name is a file's name, too (lvm(8) VALID NAMES; fencer.storage.volume_group refuses others)."""
    return os.path.join(state_dir, f"luns-{volume_group}.json")
