# SPDX-License-Identifier: Apache-2.0
"""Files that a fence reads or writes beside its work: whatever is wrong with them, the fence is what counts."""

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencer.agent.report import Report
from fencer.syslog import SystemLog
from tests.agent.halvm import halvm
from tests.rig.bmc import Bmc

NOBODY = 65534


def stdin(bmc: Bmc, *lines: str) -> str:
    """A fence that names everything itself."""
    known = (f"ip={bmc.address}", f"ipport={bmc.port}", "login=ADMIN", "passwd=ADMIN", "action=off", "nodename=b")
    return "\n".join((*known, *lines)) + "\n"


@pytest.mark.parametrize(
    "content", ["<cluster><clusternodes></cluster>", "", "<!DOCTYPE x><cluster/>", "x" * (2 << 20), None]
)
def test_a_file_that_the_fence_does_not_need_is_one_warning(bmc: Bmc, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cluster.conf"
    if content is not None:
        path.write_text(content)
    outcome = halvm(stdin=stdin(bmc, f"cluster_conf={path}"))
    assert (outcome.status, outcome.stdout, bmc.power) == (0, "Success: Powered OFF\n", "off")
    warnings = [line for line in outcome.lines if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"WARNING: cluster_conf: {path}")


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory like /tmp, where others may write."""
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o1777)
    (tmp_path / "roots").write_text("root's\n")
    yield directory
    assert (tmp_path / "roots").read_text() == "root's\n", "a file of root's was changed"


def put(path: Path, what: str) -> None:
    """What another user has left there."""
    roots = path.parent.parent / "roots"
    match what:
        case "directory":
            path.mkdir()
        case "link to root's file":
            path.symlink_to(roots)
        case "link to nowhere":
            path.symlink_to(path.parent.parent / "made")
        case "link to a full device":
            path.symlink_to("/dev/full")
        case "FIFO":
            os.mkfifo(path)
        case "FIFO with a reader":
            os.mkfifo(path)
            os.open(path, os.O_RDWR)  # until pytest ends: who opens it for writing does not block, but writes do
        case "other name of root's file":
            path.hardlink_to(roots)
        case "device":
            subprocess.run(["mknod", str(path), "c", "1", "7"], check=True)
        case "no such directory":
            path.parent.rmdir()
    if what not in ("no such directory", "other name of root's file"):
        os.lchown(path, NOBODY, NOBODY)


PUT = (
    "directory", "link to root's file", "link to nowhere", "link to a full device", "FIFO", "FIFO with a reader",
    "other name of root's file", "device", "no such directory",
)  # fmt: skip


@pytest.mark.parametrize("what", PUT)
def test_a_debug_file_in_trouble_is_one_warning_after_the_verdict(bmc: Bmc, shared: Path, what: str) -> None:
    path = shared / "fence.log"
    put(path, what)
    outcome = halvm(stdin=stdin(bmc, f"debug_file={path}", "deadline=20"))
    assert (outcome.status, outcome.stdout, bmc.power) == (0, "Success: Powered OFF\n", "off")
    assert outcome.took_s < 15
    assert [line.partition(": ")[2].partition(":")[0] for line in outcome.lines if "WARNING" in line] == ["debug_file"]
    assert "WARNING: debug_file: " in outcome.lines[-1]
    assert not (shared.parent / "made").exists()
    if what == "no such directory":
        shared.mkdir()


def test_a_debug_file_is_made_for_root_alone_and_added_to(bmc: Bmc, shared: Path) -> None:
    path = shared / "fence.log"
    for _ in range(2):
        assert halvm(stdin=stdin(bmc, f"debug_file={path}")).status == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().count("proved by power") == 2


def test_a_full_disk_under_the_debug_file_is_one_warning(bmc: Bmc, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=3", "none", str(full)], check=True)
    try:
        (full / "filler").write_bytes(b"x" * 4096)
        outcome = halvm(stdin=stdin(bmc, f"debug_file={full}/fence.log"))
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert (outcome.status, bmc.power) == (0, "off")
    assert [line for line in outcome.lines if "WARNING" in line] == [
        "WARNING: debug_file: No space left on device: give a file that root alone can make and write"
    ]


def test_a_debug_file_that_cannot_be_written_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Or Python, since 3.13, tells of it on stderr in words of its own when it finalizes the file."""
    full = Path("/dev/full").open("a")  # noqa: SIM115 - the report is to close it
    monkeypatch.setattr("fencer.agent.report._open_debug", lambda _path: full)
    report = Report(io.StringIO(), stderr := io.StringIO(), log=SystemLog(str(tmp_path / "none")))
    report.open_debug_file(str(tmp_path / "debug"))
    report.notice("a line")
    report.close()
    assert full.closed
    assert stderr.getvalue().endswith(
        "WARNING: debug_file: No space left on device: give a file that root alone can make and write\n"
    )


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
@pytest.mark.parametrize("action", ["off", "monitor", "on"])
def test_a_state_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int, action: str) -> None:
    """Who moves the marker away would let a fenced node register again."""
    tmp_path.chmod(mode)
    node = ("nodename=b", "key=2", "local_key=1", f"action={action}", f"state_dir={tmp_path}")
    outcome = halvm(stdin="\n".join((*node, "devices=iscsi://127.0.0.1:1/iqn.2026-11.nowhere/1")) + "\n")
    assert outcome.status == 1
    assert outcome.lines[0].startswith(f"ERROR: state_dir: {tmp_path}: others than root may write to it: give ")
