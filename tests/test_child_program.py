# SPDX-License-Identifier: Apache-2.0
"""Programs that are run without subprocess: what they say, how they end, and that none is waited for too long."""

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fencer import child_program
from fencer.child_program import Done, run_without_waiting

PATIENCE_S = 60.0


def _shell(script: str, timeout_s: float = PATIENCE_S) -> Done:
    return run_without_waiting(["sh", "-c", script], timeout_s)


@pytest.mark.parametrize(
    ("script", "done"),
    [
        ("echo out; echo err >&2", Done(0, "out\n", "err\n")),
        ("echo half; exit 5", Done(5, "half\n", "")),
        ("kill -9 $$", Done(-9, "", "")),
        ("exec >&- 2>&-; exit 3", Done(3, "", "")),  # it closes both, and ends later
        ("printf '\\377'", Done(0, "\ufffd", "")),
        ("cat", Done(0, "", "")),  # its standard input is empty
        ("kill -PIPE $$", Done(-signal.SIGPIPE, "", "")),  # which Python ignores, and its children would, too
    ],
)
def test_what_a_program_says_and_how_it_ends(script: str, done: Done) -> None:
    assert _shell(script) == done


def test_long_output_on_both_blocks_nothing() -> None:
    done = _shell("head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2")
    assert (len(done.stdout), len(done.stderr)) == (1_000_000, 2_000_000)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        run_without_waiting(["no-such-program"], PATIENCE_S)


def test_a_program_that_may_not_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool").touch(mode=0o644)
    monkeypatch.setattr(child_program, "PATH", (str(tmp_path), "/nowhere"))
    with pytest.raises(PermissionError):
        run_without_waiting(["tool"], PATIENCE_S)


def test_a_directory_that_cannot_be_used_hides_no_program_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr(child_program, "PATH", (str(tmp_path / "loop"), *child_program.PATH))
    assert _shell("echo out").stdout == "out\n"


def _refuse_to_start(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> list[str]:
    """Has posix_spawn(3) fail so many times. Returns what was to be started, so far."""
    spawn, asked = os.posix_spawn, list[str]()

    def refuse(path: str, *words: Any, **more: Any) -> int:
        asked.append(path)
        if len(asked) <= times:
            raise OSError(number, os.strerror(number))
        return spawn(path, *words, **more)

    monkeypatch.setattr(os, "posix_spawn", refuse)
    return asked


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_a_start_that_fails_for_a_moment_is_tried_again(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse_to_start(monkeypatch, number, 3 * len(child_program.PATH))
    assert _shell("echo out").stdout == "out\n"


def test_a_shortage_that_lasts_is_named_and_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse_to_start(monkeypatch, errno.EAGAIN, sys.maxsize)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(BlockingIOError):
        _shell("echo out", 0.2)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_an_error_that_is_no_shortage_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _refuse_to_start(monkeypatch, errno.EIO, sys.maxsize)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        _shell("echo out")
    assert len(asked) == len(child_program.PATH)


def _left_behind(marker: str) -> bool:
    return subprocess.run(["pgrep", "-f", marker], capture_output=True, check=False).returncode == 0


def test_pitfall_13_a_child_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    # The grandchild keeps our pipes open after its parent was killed, as a process in D state would.
    started: list[int] = []
    spawn = os.posix_spawn
    monkeypatch.setattr(os, "posix_spawn", lambda *words, **more: started.append(spawn(*words, **more)) or started[-1])
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        _shell("sleep 120 & wait", 0.3)
    assert time.monotonic() - began < 100
    with suppress(ChildProcessError):  # collected by now, as a rule
        assert os.waitstatus_to_exitcode(os.waitpid(started[-1], 0)[1]) == -signal.SIGKILL


def test_one_that_closes_its_output_and_goes_on_has_its_time_and_no_more() -> None:
    with pytest.raises(TimeoutError):
        _shell(f"exec >&- 2>&-; exec sleep 120.0{os.getpid()}", 0.3)
    assert not _left_behind(f"^sleep 120.0{os.getpid()}$")


def test_it_sees_no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LVM_SYSTEM_DIR", "/else/where")
    done = run_without_waiting(["env"], PATIENCE_S)
    assert "SECRET" not in done.stdout
    assert {"LVM_SUPPRESS_FD_WARNINGS=1", "LVM_SYSTEM_DIR=/else/where", "LC_ALL=C"} <= set(done.stdout.split())


def test_it_stays_in_our_process_group_and_has_no_descriptor_of_ours() -> None:
    ours = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(ours, True)  # as a caller may leave one
    try:
        done = _shell("ls -l /proc/self/fd | grep -c ' -> '; ps -o pgid= -p $$")
        count, group = done.stdout.split()
        descriptors = _shell("ls /proc/self/fd").stdout.split()
    finally:
        os.close(ours)
    assert int(group) == os.getpgrp()
    assert descriptors == ["0", "1", "2", "3"], f"the last one is that of ls: {count}"


def _descriptors_of_a_program() -> list[str]:
    return [name for name in _shell("ls /proc/self/fd").stdout.split() if name not in {"0", "1", "2", "3"}]


def test_without_proc_it_starts_all_the_same_and_has_no_descriptor_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_mounted(path: str) -> list[str]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    monkeypatch.setattr(os, "listdir", not_mounted)
    ours = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(ours, True)
    try:
        assert not _descriptors_of_a_program()
    finally:
        os.close(ours)


def test_a_descriptor_above_the_limit_of_today_hinders_no_program() -> None:
    """A caller may open one and lower the limit afterwards."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    high = fcntl.fcntl(0, fcntl.F_DUPFD, 300)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (high - 1, limits[1]))
        assert not _descriptors_of_a_program()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(high)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_a_caller_that_has_closed_standard_streams(closed: tuple[int, ...], tmp_path: Path) -> None:
    code = f"""
import os
from fencer.child_program import run_without_waiting
for each in {closed}:
    os.close(each)
done = run_without_waiting(["sh", "-c", "echo out; echo err >&2; cat"], {PATIENCE_S})
with open({str(tmp_path / "said")!r}, "w") as file:
    file.write(repr(tuple(done)))
"""
    subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE_S, cwd=Path(__file__).parents[1])
    assert (tmp_path / "said").read_text() == repr((0, "out\n", "err\n"))


def test_a_caller_that_ignores_the_end_of_children() -> None:
    """The status is lost then: a program that failed must not count as one that succeeded."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(ChildProcessError):
            _shell("echo out; exit 5")
    finally:
        signal.signal(signal.SIGCHLD, before)
