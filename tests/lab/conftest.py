# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the lab. A test module asks for its shape: `pytestmark = pytest.mark.lab(luns=64)`."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import level2, level3
from .images import images_directory

TIMEOUT_S = 600
"""A test's, where it does not say otherwise: outcomes are asserted, and the processors may be shared."""
CORE = (
    "test_agent_level2.py",
    "test_level2_oracle.py::test_nothing_of_the_victim_lands_after_a_success[simultaneous",
    "test_level2_oracle.py::test_nothing_of_the_victim_lands_after_a_success[agent killed",
    "test_level2_race.py",
    "test_level3_fence.py::test_the_whole_story",
    "test_watchdog_resets.py",
)
"""What make test plays: each promise once, in some five minutes. CI plays the others as well: make test-lab."""
LONGEST = (
    "test_level4_failover.py",
    "test_prometheus_level3.py",
    "test_level3_fence.py",
    "test_lab_smoke.py",
    "test_watchdog_multipath.py",
)
"""Modules that are begun first, so that no worker is left with one of them at the end."""
PROGRAMS = ("qemu-system-x86_64", "qemu-img", "unshare", "nsenter", "ip")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lab(luns=4, multipath=False): runs on virtual machines; the shape of level 2")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for a guest is a lab test: `-m 'not lab'` leaves all of them out."""
    for item in items:
        if item.nodeid.partition("tests/lab/")[2].startswith(CORE):
            item.add_marker("core")
        wanted = set(getattr(item, "fixturenames", ()))
        if {"guest", "cluster"} & wanted:
            item.add_marker("lab")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIMEOUT_S))
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def _unavailable(reason: str) -> None:
    """A lab test that cannot run is skipped by name, and is a failure where all must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"the lab is required in CI: {reason}", pytrace=False)
    pytest.skip(reason)


def require(snapshot: Path, programs: tuple[str, ...] = PROGRAMS) -> None:
    """Skips or fails the test that asks for what is not there."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        _unavailable(f"not installed: {', '.join(missing)} (see tests/lab/host-packages.txt)")
    if os.geteuid() != 0:
        _unavailable("the lab needs root, for its namespaces")
    if not images_directory().exists() or not snapshot.exists():
        _unavailable("the lab's images and snapshots are missing or old: make lab")


def require_level3() -> None:
    require(level3.snapshot_directory(), (*PROGRAMS, "ipmi_sim", "ipmitool"))


@pytest.fixture(scope="module")
def guest(request: pytest.FixtureRequest) -> Iterator[level2.Level2Guest]:
    """Level 2, fresh for this module, with the product in it."""
    marker = request.node.get_closest_marker("lab")
    shape = level2.Shape(**(marker.kwargs if marker else {}))
    require(shape.snapshot)
    with level2.restored(shape) as restored:
        yield restored


@pytest.fixture(scope="module")
def cluster() -> Iterator[level3.Cluster]:
    """Level 3, fresh for this module, with the product on both nodes."""
    require_level3()
    with level3.restored() as restored:
        yield restored
