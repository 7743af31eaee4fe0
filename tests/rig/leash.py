# SPDX-License-Identifier: Apache-2.0
"""Ends and removes what a test process leaves behind when it is killed, by a process that outlives it.

A fixture's clean-up does not run after SIGKILL. So everything that a run starts carries a mark in its environment, and
a process beside waits for the end of the run: what still has the mark then is killed, and the directories named are
removed. Where the run has cleaned up itself there is nothing to do.
"""

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "FENCE_HALVM_TESTS"
_TRY_FOR_S = 10.0


def tie_to_this_process(*directories: Path) -> None:
    """Whatever this process starts from now on ends with it, at the latest, and these directories are removed.

    May be called again, for further directories.
    """
    own = f"{os.getpid()}."
    marks = os.environ.get(MARK, "").split()
    mark = next((each for each in marks if each.startswith(own)), "")
    if not mark:
        mark = own + secrets.token_hex(6)
        os.environ[MARK] = " ".join([*marks, mark])
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(os.getpid()), mark, *map(str, directories)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},  # it must not end itself
        start_new_session=True,  # nor be ended by Ctrl-C
        cwd="/",
    )


def marked(mark: str) -> list[int]:
    """The processes that carry a mark: their ids."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:  # ended meanwhile, or not ours to look at
            continue
    return found


def _main(pid: int, mark: str, directories: list[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(pid)], [], [])
    until = time.monotonic() + _TRY_FOR_S
    while (left := marked(mark)) and time.monotonic() < until:
        for each in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        time.sleep(0.1)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
