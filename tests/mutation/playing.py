# SPDX-License-Identifier: Apache-2.0
"""Runs tests again and again, each time in a process forked from one that has loaded pytest but nothing of ours.

A fork takes some milliseconds, where a start of pytest and hypothesis takes a second and a half. Started in a copy of
the tree; reads one JSON object a line and answers with one:

    {"survey": [FILE ...], "source": FILE}     each test's seconds, and the lines of the source that it executed
    {"load": [MODULE ...]}                     nothing: loads what a survey named, for the forks to come
    {"run": [[NODE, SECONDS] ...], "files": [FILE ...]}   what became of these tests, in this order, up to the first
                                               failure; each within its seconds. "run": null: of all in the files
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ARGUMENTS = (
    "-q",
    "-x",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--hypothesis-profile=quick",
    "--hypothesis-seed=0",
)
OURS = ("tests", "fencer", "agents", "exporters", "benchmarks", "packaging", "__main__")

LONGEST_S = 300.0
"""Of one run. A mutant that makes the tests hang is noticed."""


class Survey:
    """Notes of each test how long it took, and which lines of one source file it executed in this process."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: set[int] = set()
        self.tests: dict[str, dict[str, Any]] = {}
        self.failed: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._lines = set()
        began = time.monotonic()
        threading.settrace(self._calls)
        sys.settrace(self._calls)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self.tests[item.nodeid] = {"seconds": time.monotonic() - began, "lines": sorted(self._lines)}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def _calls(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._executed if frame.f_code.co_filename == self._source else None

    def _executed(self, frame: FrameType, event: str, argument: object) -> Any:
        self._lines.add(frame.f_lineno)
        return self._executed


class Ordered:
    """Runs the tests named, in this order and no other; each may take as many seconds as it is given."""

    def __init__(self, nodes: list[list[Any]] | None) -> None:
        self._all = nodes is None
        self._place = {node: place for place, (node, _) in enumerate(nodes or ())}
        self._limit_s = dict(nodes or ())
        self.failed = ""
        self.timed_out = False

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._all:
            return
        items[:] = sorted((each for each in items if each.nodeid in self._place), key=lambda e: self._place[e.nodeid])
        for item in items:
            item.add_marker(pytest.mark.timeout(self._limit_s[item.nodeid]), append=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid
            self.timed_out = "Timeout" in str(report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid} (import)"


def survey(asked: dict[str, Any]) -> dict[str, Any]:
    plugin = Survey(str(Path(asked["source"]).resolve()))
    status = int(pytest.main([*ARGUMENTS, *asked["survey"]], plugins=[plugin]))
    loaded = [name for name in sys.modules if name.partition(".")[0] not in OURS]
    return {"status": status, "tests": plugin.tests, "failed": plugin.failed, "loaded": loaded}


def run(asked: dict[str, Any]) -> dict[str, Any]:
    plugin = Ordered(asked["run"])
    status = int(pytest.main([*ARGUMENTS, "-x", *asked["files"]], plugins=[plugin]))
    return {"status": status, "failed": plugin.failed, "timed_out": plugin.timed_out}


def in_a_fork(asked: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mutant.") as directory:
        answer = Path(directory) / "answer"
        pid = os.fork()
        if pid == 0:
            _child(asked, answer, directory)
        watch = threading.Timer(LONGEST_S, os.killpg, (pid, signal.SIGKILL))
        watch.start()
        os.waitpid(pid, 0)
        watch.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what the tests left behind
        if answer.exists():
            return json.loads(answer.read_text())  # type: ignore[no-any-return]
        return {"status": -1, "failed": "the whole run ended or hung", "timed_out": True}


def _child(asked: dict[str, Any], answer: Path, directory: str) -> None:
    try:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silent, descriptor)
        os.environ["TMPDIR"], tempfile.tempdir = directory, None
        said = json.dumps(survey(asked) if "survey" in asked else run(asked))
        answer.with_suffix(".new").write_text(said)
        answer.with_suffix(".new").rename(answer)
    finally:
        os._exit(0)


def main() -> None:
    sys.path[0] = str(Path.cwd())
    for line in sys.stdin:
        asked = json.loads(line)
        said = {} if "load" in asked else in_a_fork(asked)
        for name in asked.get("load") or said.get("loaded", ()):
            with contextlib.suppress(Exception):  # a part of something that is loaded only as a whole
                import_module(name)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
