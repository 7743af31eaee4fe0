# SPDX-License-Identifier: Apache-2.0
"""A file that is replaced is there whole, old or new, whatever write(2) does."""

import errno
import os
import stat
from pathlib import Path

import pytest

from fencer.atomic_file import replace_file

_write = os.write


def _names(directory: str | Path) -> list[str]:
    return sorted(each.name for each in Path(directory).iterdir())


def test_content_that_is_written_in_parts_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda descriptor, content: _write(descriptor, content[:3]))
    replace_file(f"{tmp_path}/made/state.json", b"0123456789", 0o640, durable=True)
    assert (tmp_path / "made/state.json").read_bytes() == b"0123456789"
    assert stat.S_IMODE((tmp_path / "made/state.json").stat().st_mode) == 0o640
    assert _names(tmp_path / "made") == ["state.json"]


def test_a_disk_that_becomes_full_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_after_three(descriptor: int, content: bytes) -> int:
        if os.fstat(descriptor).st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return _write(descriptor, content[:3])

    replace_file(tmp_path / "state.json", b"old", 0o600, durable=False)
    monkeypatch.setattr(os, "write", full_after_three)
    open_before = _names("/proc/self/fd")
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "state.json", b"0123456789", 0o600, durable=False)
    assert (tmp_path / "state.json").read_bytes() == b"old"
    assert _names(tmp_path) == ["state.json"]
    assert _names("/proc/self/fd") == open_before


def test_what_a_run_that_was_killed_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / f".state.json.{os.getpid()}").write_bytes(b"half")
    replace_file(tmp_path / "state.json", b"new", 0o600, durable=False)
    assert (tmp_path / "state.json").read_bytes() == b"new"
    assert _names(tmp_path) == ["state.json"]
