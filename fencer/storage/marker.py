# SPDX-License-Identifier: Apache-2.0
"""The marker: a file that says that this node registered its key in this boot.

Where the key is gone later, the node was fenced.

A node whose key is gone although it registered it in this boot was preempted, and must not register again before it has
rebooted (fence_scsi does, and shoots the winner). The note lives below /run, which a reboot empties; it carries the
boot id all the same, in case state_dir is on a disk.

It is written twice. *Before* registering, with the PR generation of each LUN as it is then: killed in between, the next
call sees whether anything has happened on the LUN since, and when nothing has, our REGISTER was never executed. Writing
it only afterwards could register a fenced node again. *After* registering, with the generation that resulted.
"""

import os
from contextlib import suppress

from fencer._typing import NamedTuple
from fencer.errors import UsageError
from fencer.model import ReservationKey
from fencer.regular_file import read_regular_file
from fencer.state.boot_id import BOOT_ID_PATH, read_boot_id

MARKER_NAME = "registered.json"
_LONGEST_BYTES = 1 << 20


class LunMark(NamedTuple):
    """The mark of one LUN. registered: False while it was only begun. generation: PRGENERATION then."""

    wwid: str
    generation: int
    registered: bool


class Marker(NamedTuple):
    """In this boot, ``key`` was (or was about to be) registered at these LUNs."""

    key: ReservationKey
    luns: tuple[LunMark, ...]

    def of(self, wwid: str) -> LunMark | None:
        """The mark of one LUN; None when it has none."""
        return next((mark for mark in self.luns if mark.wwid == wwid), None)


class EarlierBootMarker(NamedTuple):
    """A whole marker, of another boot. In this boot nothing has been registered, so registering is right.

    key, luns: what was registered then, by which this node may know that it was fenced since.
    """

    boot_id: str
    key: ReservationKey | None = None
    luns: tuple[LunMark, ...] = ()


class UnreadableMarker(NamedTuple):
    """There is a marker, but it cannot be read or is torn.

    It is *not* "never registered": it was written, most likely in this boot, and only the key is lost. So it counts
    as "registered in this boot, key unknown": with our key at the LUNs all is well, and without it we must assume that
    we were preempted. A wrong guess this way keeps a healthy node out until it reboots or an operator overrides it;
    the other way would let a fenced node write.
    """

    reason: str


def registered_in_this_boot(found: Marker | EarlierBootMarker | UnreadableMarker | None) -> bool:
    """Whether a missing key means that this node was fenced. Unknown counts as yes."""
    return isinstance(found, Marker | UnreadableMarker)


def read_marker(
    state_dir: str, *, boot_id_path: str | os.PathLike[str] = BOOT_ID_PATH
) -> Marker | EarlierBootMarker | UnreadableMarker | None:
    """The marker in ``state_dir``; None when there is none. Never raises for what is found there."""
    path = os.path.join(state_dir, MARKER_NAME)
    try:
        content = read_regular_file(path, _LONGEST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return UnreadableMarker(f"{path}: {error}")
    from fencer import json_text  # where there is a marker

    try:
        document = json_text.loads(content)
        noted_boot_id = document["boot_id"]
        key = ReservationKey.parse(document["key"])
        luns = tuple(LunMark(row["wwid"], row["generation"], row["registered"]) for row in document["luns"])
        if not (isinstance(noted_boot_id, str) and noted_boot_id and all(_is_mark(mark) for mark in luns)):
            return UnreadableMarker(f"{path}: not a marker")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        return UnreadableMarker(f"{path}: {type(error).__name__}")
    try:
        boot_id = read_boot_id(boot_id_path)
    except (OSError, ValueError) as error:
        return UnreadableMarker(f"{boot_id_path}: {error}")
    return Marker(key, luns) if noted_boot_id == boot_id else EarlierBootMarker(noted_boot_id, key, luns)


def registered_key(state_dir: str) -> ReservationKey | None:
    """The key that this node registered in this boot; None where it did not, or the marker cannot be read."""
    found = read_marker(state_dir)
    return found.key if isinstance(found, Marker) else None


def write_marker(state_dir: str, marker: Marker, *, boot_id_path: str | os.PathLike[str] = BOOT_ID_PATH) -> None:
    """Writes it atomically: a reader sees the old marker or the new one, whole, also after a kill.

    Creates ``state_dir`` (0755); the file is 0600. Raises UsageError when it cannot be written: without a marker a
    fenced node cannot know that it is one, so the caller must not register.
    """
    from fencer import json_text
    from fencer.atomic_file import sync_directory  # a fence writes none

    path = os.path.join(state_dir, MARKER_NAME)
    # One name a process: two writers must not share a temporary file.
    temporary = os.path.join(state_dir, f".{MARKER_NAME}.{os.getpid()}")
    try:
        rows = [mark._asdict() for mark in marker.luns]
        document = {"boot_id": read_boot_id(boot_id_path), "key": str(marker.key), "luns": rows}
        content = json_text.dumps(document).encode() + b"\n"
        os.makedirs(state_dir, mode=0o755, exist_ok=True)
        # What a killed process of the same id left behind, or a symbolic link.
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        try:
            _write_new_file(temporary, content)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        sync_directory(state_dir)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"state_dir: {path}: {reason}: run as root, or give a directory on a tmpfs") from error


def _is_mark(mark: LunMark) -> bool:
    return (
        isinstance(mark.wwid, str)
        and isinstance(mark.generation, int)
        and not isinstance(mark.generation, bool)
        and isinstance(mark.registered, bool)
    )


def _write_new_file(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
