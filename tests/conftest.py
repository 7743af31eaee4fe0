# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: where a run keeps its files, and that nothing of it stays."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.rig.leash import tie_to_this_process

_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
settings.register_profile("unhurried", _UNHURRIED)
settings.register_profile("quick", _UNHURRIED, max_examples=20)  # make test-fast
settings.load_profile("unhurried")

LONG_SUITES = (
    "agent/test_deadlines.py",
    "journal/test_history.py",
    "agent/test_parity.py",
    "agent_storage",
    "alerts",
    "decisions/test_duel.py",
    "exporter/test_hostile",
    "exporter/test_service.py",
    "exporter/test_web_config.py",
    "journal/test_journal_readers.py",
    "journal/test_journal_trouble.py",
    "journal/test_writer_process",
    "sidecar/test_daemon.py",
    "sidecar/test_daemon_pause.py",
    "sidecar/test_daemon_reload.py",
    "sidecar/test_daemon_restart.py",
)
"""What costs most processor time, whole: marked slow, so that make test-fast stays below a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and str(item.path.relative_to(here)).startswith(LONG_SUITES):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _priority_as_before() -> Iterator[None]:
    """A call in this process changes the priority, as a call in a process of its own does, for all later tests."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    yield
    with contextlib.suppress(PermissionError):  # only root may raise it again
        os.setpriority(os.PRIO_PROCESS, 0, before)


def pytest_configure(config: pytest.Config) -> None:
    """In each process of a run: the one that was called and, with xdist, its workers."""
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # tmp_path stays, to be looked at
    directory = Path(tempfile.mkdtemp(prefix="fence-halvm-tests."))
    os.environ["TMPDIR"], tempfile.tempdir = str(directory), None
    tie_to_this_process(directory)
    config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _required((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _required((yield))


_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


def _required(report: _Report) -> _Report:
    """With CI=true everything must run: a skip is a failure."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"{report.nodeid}: must run in CI: {reason}"
    return report
