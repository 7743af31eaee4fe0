# SPDX-License-Identifier: Apache-2.0
"""Where the reason of a self-fence is said. Nothing here resets anything."""

from pathlib import Path

from fencer.sidecar.self_fence import Reset


def test_the_reason_is_said_once(tmp_path: Path) -> None:
    log, console = tmp_path / "kmsg", tmp_path / "console"
    log.touch()
    console.touch()
    Reset(str(log), str(console)).say("self-fence: preempted")
    assert log.read_bytes() == b"<0>halvm-watchdogd: self-fence: preempted\n"
    assert console.read_bytes() == b""


def test_without_a_kernel_log_it_is_said_on_the_console(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.touch()
    Reset(str(tmp_path / "none"), str(console)).say("self-fence: preempted")
    assert console.read_bytes() == b"\r\nhalvm-watchdogd: self-fence: preempted\r\n"
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    Reset(str(full), str(console)).say("self-fence: again")
    assert b"again" in console.read_bytes()


def test_nowhere_to_say_it_is_no_obstacle(tmp_path: Path) -> None:
    Reset(str(tmp_path / "none"), str(tmp_path / "none")).say("self-fence: preempted")
