# SPDX-License-Identifier: Apache-2.0
"""Reads the mounts of this node from /proc/self/mountinfo. Pure but for ``read_mounts``."""

import re
from pathlib import Path
from typing import NamedTuple


class Mount(NamedTuple):
    """A mounted file system. source: the device file as the kernel has it (``/dev/mapper/shared_vg-ha_lv``)."""

    source: str
    directory: str
    kind: str
    read_only: bool


def read_mounts(path: str = "/proc/self/mountinfo") -> tuple[Mount, ...]:
    """Raises OSError, ValueError."""
    return parse_mounts(Path(path).read_text(encoding="utf-8", errors="replace"))


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Raises ValueError where the text is no mountinfo (proc(5)): fields, `` - ``, type, source, superblock options."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, rest = before.split(), after.split(" ")
        if not dash or len(fields) < 6 or len(rest) < 3:
            raise ValueError(f"mountinfo: not understood: {line[:80]}")
        options = {*fields[5].split(","), *rest[2].split(",")}
        found.append(Mount(_plain(rest[1]), _plain(fields[4]), rest[0], "ro" in options))
    return tuple(found)


def _plain(text: str) -> str:
    r"""Octal escapes of the kernel: ``\040`` is a blank."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
