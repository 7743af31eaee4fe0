# SPDX-License-Identifier: Apache-2.0
"""What one run of a program costs: time, CPU, processes, memory. Always of the program and all that it starts.

CPU and the end of the tree: the benchmark is a *child subreaper*, so a child that a program abandons is reaped here and
counted. Wall time ends when the program itself ends: its caller waits for no more.

Processes are counted in runs of their own, under strace; memory in runs of its own, by reading /proc as fast as it
goes, since ru_maxrss of a started program is at least what its parent had when it forked.
"""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TREE_ENDS_WITHIN_S = 5.0
_PATIENCE_S = 180.0

Command = Sequence[str]

_ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
"""PYTHONDONTWRITEBYTECODE would have the agent compiled in each run, which no installed agent is."""


@dataclass(frozen=True, slots=True)
class Ended:
    """One run."""

    status: int
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Peaks, in KiB. largest_kib: resident set of the largest process. tree_kib: all of them at once, each shared page
    counted once (PSS)."""

    largest_kib: int
    tree_kib: int


@dataclass(frozen=True, slots=True)
class Processes:
    """forked: processes, the program itself included. executed: programs among them."""

    forked: int
    executed: int


def become_subreaper() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def run(command: Command, stdin: str = "") -> Ended:
    """Runs it to its end. become_subreaper() must have been called."""
    strangers = _children(os.getpid())
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err, env=_ENVIRON)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu_s = usage.ru_utime + usage.ru_stime + _reap_the_rest(strangers)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Ended(process.returncode, texts[0], texts[1], wall_s, cpu_s)


def _reap_the_rest(strangers: set[int]) -> float:
    """Waits for what the program left behind; its CPU seconds."""
    cpu_s, until = 0.0, time.monotonic() + _TREE_ENDS_WITHIN_S
    while rest := _children(os.getpid()) - strangers:
        for pid in rest:
            ended, _, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                cpu_s += usage.ru_utime + usage.ru_stime
        if time.monotonic() > until:
            raise RuntimeError(f"still running after {_TREE_ENDS_WITHIN_S:g} s: {sorted(rest)}")
        time.sleep(0.001)
    return cpu_s


def memory(command: Command) -> Memory:
    """Peak memory of one run."""
    strangers = _children(os.getpid())
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, env=_ENVIRON)
    stop = threading.Event()
    largest, tree = 0, 0

    def watch() -> None:
        nonlocal largest, tree
        while not stop.is_set():
            at_once = 0
            for pid in _tree(process.pid):
                largest = max(largest, _field(pid, "status", "VmHWM"))
                at_once += _field(pid, "smaps_rollup", "Pss")
            tree = max(tree, at_once)

    watcher = threading.Thread(target=watch)
    watcher.start()
    os.wait4(process.pid, 0)
    process.returncode = 0
    stop.set()
    watcher.join()
    _reap_the_rest(strangers)
    return Memory(largest, tree)


def processes(command: Command) -> Processes:
    """Counts by strace, which must be installed. Threads are not processes."""
    strace = shutil.which("strace")
    if strace is None:
        raise RuntimeError("strace is missing: apt-get install strace")
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        traced = [strace, "-f", "-qq", "-e", "trace=execve,clone,clone3,fork,vfork", "-o", str(log), *command]
        null = subprocess.DEVNULL
        subprocess.run(traced, stdin=null, stdout=null, stderr=null, env=_ENVIRON, timeout=_PATIENCE_S, check=False)
        lines = log.read_text(errors="replace").splitlines()
    # A call that another process interrupts is logged twice; its result stands in the second line.
    ended = [line for line in lines if "unfinished" not in line]
    executed = sum(1 for line in ended if re.search(r"\bexecve(\(| resumed)", line) and re.search(r"= 0$", line))
    threads = sum(1 for line in lines if "CLONE_THREAD" in line)
    forked = sum(
        1 for line in ended if re.search(r"\b(clone3?|v?fork)(\(| resumed)", line) and re.search(r"= \d+$", line)
    )
    return Processes(1 + forked - threads, executed)


# --- /proc --------------------------------------------------------------------------------------------------------


def _children(pid: int) -> set[int]:
    """None of a process that has ended, also while it is looked at."""
    found: set[int] = set()
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.update(map(int, (task / "children").read_text().split()))
    except OSError:
        pass
    return found


def _tree(pid: int) -> list[int]:
    pids = [pid]
    for each in pids:
        pids += _children(each)
    return pids


def _field(pid: int, file: str, name: str) -> int:
    """A value in KiB; 0 when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0
