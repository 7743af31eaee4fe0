# SPDX-License-Identifier: Apache-2.0
"""A file that may hang is used in a child for a bounded time; one on a local file system directly."""

import os
import signal
import time
from pathlib import Path

import pytest

from fencer import network_file
from fencer.network_file import in_time, may_hang

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / {local} rw shared:2 - tmpfs tmpfs rw
31 22 0:27 / {remote} rw - nfs4 server:/export rw,hard
32 22 0:28 / {blank} rw - fuse.sshfs host: rw
33 31 0:29 / {remote}/inner rw - tmpfs tmpfs rw
40 22 0:33 / {auto} rw - autofs systemd-1 rw
41 40 8:2 / {auto} rw - xfs /dev/sdb rw
"""

LONG_S = 60.0
"""Within it a child answers, also on a busy machine."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with names that a list of mounts says other machines have a part in."""
    names = {"local": "local", "remote": "remote", "blank": "a\\040blank", "auto": "auto"}
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(**{name: f"{tmp_path}/{text}" for name, text in names.items()}))
    monkeypatch.setattr(network_file, "_MOUNTS", str(mounts))
    (tmp_path / "local").mkdir()
    (tmp_path / "remote").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "hangs"),
    [
        ("file", False),
        ("missing/file", False),
        ("local/file", False),
        ("remote", True),
        ("remote/file", True),
        ("remote/inner/file", True),
        ("remotely", False),
        ("a blank/file", True),
        ("local/../remote/file", True),
        ("auto/file", False),
        ("name\nwith a line", False),
    ],
)
def test_what_may_hang(place: Path, name: str, hangs: bool) -> None:
    assert may_hang(f"{place}/{name}") is hangs


def test_links_are_followed_on_local_file_systems(place: Path) -> None:
    (place / "local" / "absolute").symlink_to(place / "remote" / "file")
    (place / "local" / "relative").symlink_to("../remote")
    (place / "local" / "chain").symlink_to("relative/file")
    (place / "local" / "here").symlink_to("file")
    (place / "local" / "round").symlink_to("round")
    found = {name: may_hang(f"{place}/local/{name}") for name in ("absolute", "relative", "chain", "here", "round")}
    assert found == {"absolute": True, "relative": True, "chain": True, "here": False, "round": False}


def test_a_relative_path_counts_from_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place / "remote")
    assert may_hang("file")


def test_without_a_list_of_mounts_nothing_may_hang(place: Path) -> None:
    (place / "mountinfo").unlink()
    assert not may_hang(f"{place}/remote/file")


def test_a_local_file_is_used_in_this_process(place: Path) -> None:
    assert in_time(os.getpid, f"{place}/file") == os.getpid()


def test_another_one_in_a_child(place: Path) -> None:
    assert in_time(os.getpid, f"{place}/remote/file", LONG_S) != os.getpid()
    large = in_time(lambda: b"x" * (1 << 20), f"{place}/remote/file", LONG_S)
    assert len(large) == 1 << 20


def test_what_it_raises_is_raised(place: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        in_time(lambda: (place / "missing").read_bytes(), f"{place}/remote/file", LONG_S)
    assert (raised.value.strerror, raised.value.filename) == ("No such file or directory", str(place / "missing"))


def test_it_is_not_waited_for_longer_than_told(place: Path) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError) as raised:
        in_time(lambda: time.sleep(60), f"{place}/remote/file", 0.2)
    assert raised.value.strerror == "no answer within 0.2 s"
    assert time.monotonic() - began < 30


def test_a_child_that_is_killed_gave_no_answer(place: Path) -> None:
    with pytest.raises(OSError, match="ended without a word"):
        in_time(lambda: os.kill(os.getpid(), 9), f"{place}/remote/file", LONG_S)


def test_a_child_holds_nothing_that_others_wait_for(place: Path) -> None:
    below = os.open(os.devnull, os.O_RDONLY)
    above = os.dup2(below, below + 200)
    try:
        for descriptor in (below, above):  # its own is between them
            with pytest.raises(OSError, match="Bad file descriptor"):
                in_time(lambda number=descriptor: os.fstat(number).st_mode, f"{place}/remote/file", LONG_S)  # type: ignore[misc]
    finally:
        os.close(below)
        os.close(above)


def test_no_child_that_answered_is_left(place: Path) -> None:
    for pid in [in_time(os.getpid, f"{place}/remote/file", LONG_S) for _ in range(20)]:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_a_caller_that_ignores_the_end_of_children_gets_its_result(place: Path) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert {in_time(lambda: 5, f"{place}/remote/file", LONG_S) for _ in range(20)} == {5}
    finally:
        signal.signal(signal.SIGCHLD, before)
