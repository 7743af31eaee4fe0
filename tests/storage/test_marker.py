# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencer.errors import UsageError
from fencer.model import ReservationKey
from fencer.storage.marker import (
    MARKER_NAME,
    EarlierBootMarker,
    LunMark,
    Marker,
    UnreadableMarker,
    read_marker,
    registered_in_this_boot,
    registered_key,
    write_marker,
)

MARKER = Marker(
    ReservationKey(0xC82AE3C900000001), (LunMark("naa.6001405a", 7, True), LunMark("naa.6001405b", 3, False))
)


@pytest.fixture
def boot_id(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("11111111-2222-3333-4444-555555555555\n")
    return path


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "run" / "fence-halvm"


def test_what_is_written_is_read(state_dir, boot_id):
    write_marker(str(state_dir), MARKER, boot_id_path=boot_id)
    assert read_marker(str(state_dir), boot_id_path=boot_id) == MARKER


def test_the_kernels_boot_id_is_used_by_default(state_dir):
    write_marker(str(state_dir), MARKER)
    assert read_marker(str(state_dir)) == MARKER


def test_modes(state_dir, boot_id):
    write_marker(str(state_dir), MARKER, boot_id_path=boot_id)
    assert state_dir.stat().st_mode & 0o777 == 0o755
    assert (state_dir / MARKER_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state_dir.iterdir()] == [MARKER_NAME]


def test_never_registered(state_dir, boot_id):
    assert read_marker(str(state_dir), boot_id_path=boot_id) is None
    assert not registered_in_this_boot(None)


@pytest.mark.parametrize("other", ["99999999-2222-3333-4444-555555555555", "00000000-2222-3333-4444-555555555555"])
def test_another_boot_is_not_this_one(state_dir, boot_id, other):
    write_marker(str(state_dir), MARKER, boot_id_path=boot_id)
    boot_id.write_text(f"{other}\n")
    found = read_marker(str(state_dir), boot_id_path=boot_id)
    assert found == EarlierBootMarker("11111111-2222-3333-4444-555555555555", *MARKER)
    assert not registered_in_this_boot(found)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b"x" * (2 << 20),
        json.dumps({"boot_id": 5, "key": "0x1", "luns": []}).encode(),
        json.dumps({"boot_id": "", "key": "0x1", "luns": []}).encode(),
        json.dumps({"boot_id": "b", "key": "0x0", "luns": []}).encode(),
        json.dumps({"boot_id": "b", "key": 1, "luns": []}).encode(),
        json.dumps({"boot_id": "b", "key": "0x1", "luns": [1]}).encode(),
        json.dumps(
            {"boot_id": "b", "key": "0x1", "luns": [{"wwid": "naa.1", "generation": True, "registered": True}]}
        ).encode(),
    ],
)
def test_pitfall_10_garbage_is_unknown_which_counts_as_registered(state_dir, boot_id, content):
    state_dir.mkdir(parents=True)
    (state_dir / MARKER_NAME).write_bytes(content)
    found = read_marker(str(state_dir), boot_id_path=boot_id)
    assert isinstance(found, UnreadableMarker)
    assert registered_in_this_boot(found)


def test_pitfall_10_a_torn_marker_is_never_taken_for_another_state(state_dir, boot_id):
    write_marker(str(state_dir), MARKER, boot_id_path=boot_id)
    whole = (state_dir / MARKER_NAME).read_bytes().rstrip()
    for length in range(len(whole)):
        (state_dir / MARKER_NAME).write_bytes(whole[:length])
        assert isinstance(read_marker(str(state_dir), boot_id_path=boot_id), UnreadableMarker)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary())
def test_no_content_raises(state_dir, boot_id, content):
    state_dir.mkdir(parents=True, exist_ok=True)
    (state_dir / MARKER_NAME).write_bytes(content)
    assert isinstance(read_marker(str(state_dir), boot_id_path=boot_id), UnreadableMarker)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/nonexistent")])
def test_what_is_no_file_is_unknown(state_dir, boot_id, make):
    state_dir.mkdir(parents=True)
    make(state_dir / MARKER_NAME)
    assert isinstance(read_marker(str(state_dir), boot_id_path=boot_id), UnreadableMarker)


def test_unknown_boot_is_unknown(state_dir, boot_id):
    write_marker(str(state_dir), MARKER, boot_id_path=boot_id)
    boot_id.unlink()
    assert isinstance(read_marker(str(state_dir), boot_id_path=boot_id), UnreadableMarker)


def test_a_failed_write_leaves_the_old_marker_whole(state_dir, boot_id, monkeypatch):
    write_marker(str(state_dir), MARKER, boot_id_path=boot_id)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fencer.storage.marker.os.fsync", full)
    with pytest.raises(UsageError, match=r"state_dir: .*registered.json: No space left on device: run as root"):
        write_marker(str(state_dir), Marker(ReservationKey(2), ()), boot_id_path=boot_id)
    assert read_marker(str(state_dir), boot_id_path=boot_id) == MARKER
    assert [path.name for path in state_dir.iterdir()] == [MARKER_NAME]


def test_what_a_killed_writer_left_behind_does_no_harm(state_dir, boot_id):
    state_dir.mkdir(parents=True)
    (state_dir / f".{MARKER_NAME}.{os.getpid()}").write_text("{")
    write_marker(str(state_dir), MARKER, boot_id_path=boot_id)
    assert read_marker(str(state_dir), boot_id_path=boot_id) == MARKER


def test_a_state_dir_that_is_a_file_is_a_usage_error(tmp_path, boot_id):
    with pytest.raises(UsageError, match="state_dir: "):
        write_marker(str(boot_id), MARKER, boot_id_path=boot_id)


def test_the_key_of_this_boot_is_told_and_no_other(state_dir: Path, boot_id: Path) -> None:
    assert registered_key(str(state_dir)) is None
    write_marker(str(state_dir), MARKER)
    assert registered_key(str(state_dir)) == MARKER.key
    write_marker(str(state_dir), MARKER, boot_id_path=boot_id)
    assert registered_key(str(state_dir)) is None
    (state_dir / MARKER_NAME).write_text("{")
    assert registered_key(str(state_dir)) is None
