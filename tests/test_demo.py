# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: what it says, what it leaves behind, also when it is interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.rig import require_library, require_program

pytestmark = [pytest.mark.peer, pytest.mark.slow]
ROOT = Path(__file__).parents[1]
WIDEST = 100


class Finished(NamedTuple):
    """A demo that has ended."""

    directory: Path
    status: int
    said: str
    complaints: str


@pytest.fixture(autouse=True, scope="module")
def _peers() -> None:
    require_program("ipmi_sim", "openipmi")
    require_program("tgtd", "tgt")
    require_library("libiscsi7", "libiscsi.so.7")
    if os.geteuid() != 0:
        pytest.skip("tgtd runs only as root")


def _start(directory: Path) -> "subprocess.Popen[str]":
    environ = {**os.environ, "TMPDIR": str(directory)}  # everything that it starts has this path in its arguments
    command = [sys.executable, "-u", "-m", "tests.demo"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=pipe, stderr=pipe, text=True)


def _processes(directory: Path) -> list[str]:
    """Command lines and environments that name the directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(directory).encode() in said:
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def _assert_clean(directory: Path) -> None:
    until = time.monotonic() + 60  # a killed child of the agent needs a moment
    while (left := _processes(directory)) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []
    assert list(directory.iterdir()) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One whole demo."""
    directory = tmp_path_factory.mktemp("demo")
    with _start(directory) as demo:
        said, complaints = demo.communicate(timeout=300)
    return Finished(directory, demo.returncode, said, complaints)


def test_every_claim_is_checked(finished: Finished) -> None:
    said = finished.said
    assert finished.status == 0, said + finished.complaints
    assert "Success: Rebooted" in said
    assert "RESERVATION CONFLICT" in said
    assert "✗" not in said
    assert said.count("✓") == int(re.search(r"all (\d+) claims checked", said)[1]) > 20
    assert finished.complaints == ""


def test_nothing_is_left_behind(finished: Finished) -> None:
    _assert_clean(finished.directory)


def test_output_for_a_pipe_is_plain_and_fits_a_page(finished: Finished) -> None:
    said = finished.said
    assert "\x1b" not in said
    # A URL or a path is never broken.
    assert [line for line in said.splitlines() if len(line) > WIDEST and " " in line[12:].strip()] == []
    assert str(ROOT) not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["BMC of serv-0002", "$ fence_halvm", "Keys before", "3. The same"])
def test_interrupted_it_cleans_up(tmp_path: Path, number: signal.Signals, at: str) -> None:
    with _start(tmp_path) as demo:
        for line in demo.stdout:
            if at in line:
                break
        time.sleep(0.1)
        began = time.monotonic()
        demo.send_signal(number)
        said, complaints = demo.communicate(timeout=120)
        took_s = time.monotonic() - began
    assert demo.returncode == 128 + number
    assert "Interrupted" in said
    assert complaints == ""
    assert took_s < 60
    _assert_clean(tmp_path)


def test_interrupted_while_it_starts_it_cleans_up(tmp_path: Path) -> None:
    for after_s in (0.3, 0.5, 0.7):
        with _start(tmp_path) as demo:
            time.sleep(after_s)
            demo.send_signal(signal.SIGTERM)
            demo.communicate(timeout=120)
        assert demo.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)  # before and after the demo took it over
        _assert_clean(tmp_path)
