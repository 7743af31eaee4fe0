# SPDX-License-Identifier: Apache-2.0
"""An interrupted or killed test run leaves no process and no file, with xdist and without it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig.leash import marked

PROJECT = Path(__file__).parents[1]
_RIGGED = """
import tempfile, time
from pathlib import Path
import pytest
from tests.rig.bmc import Bmc
from tests.rig.target import Target

@pytest.mark.parametrize("number", range({runs}))
def test_rigged(number):
    with Bmc() as bmc, Target() as target:
        Path({seen!r}, str(number)).write_text(tempfile.gettempdir())
        time.sleep(600)
"""


def _wait_until(done: Callable[[], bool], within_s: float, otherwise: Callable[[], object]) -> None:
    end = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.05)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
def test_nothing_is_left_of_a_run(ending: signal.Signals, workers: int, tmp_path: Path) -> None:
    runs = max(workers, 1)
    seen = tmp_path / "seen"
    seen.mkdir()
    module = tmp_path / "test_rigged.py"
    module.write_text(_RIGGED.format(runs=runs, seen=str(seen)))
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(tmp_path)]
    command += ["-p", "tests.conftest", "-p", "no:cacheprovider", f"-n{workers}", str(module)]
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    run = subprocess.Popen(
        command,
        cwd=PROJECT,
        env={**os.environ, "MARK_OF_THIS_TEST": mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        _wait_until(lambda: len([file for file in seen.iterdir() if file.read_text()]) == runs, 200, run.poll)
        directories = {Path(file.read_text()) for file in seen.iterdir()}
        assert len(marked(mark)) >= 1 + 2 * runs
        if ending is signal.SIGINT:
            os.killpg(run.pid, ending)  # as a terminal does
        else:
            run.send_signal(ending)
        run.wait(100)
    finally:
        run.kill()
        run.wait()
    _wait_until(lambda: not marked(mark), 100, lambda: marked(mark))
    _wait_until(lambda: not any(each.exists() for each in directories), 100, lambda: directories)
