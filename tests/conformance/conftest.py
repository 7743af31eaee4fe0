# SPDX-License-Identifier: Apache-2.0
"""A Debian of each suite with the callers installed, a BMC in its network, and Pacemaker's fencer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.container import Container
from tests.conformance.debian_root import SUITES, root
from tests.conformance.fencer import Fencer, corosync
from tests.rig.bmc import Bmc


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/conformance/" in item.path.as_posix():
            item.add_marker("lab")  # it needs root, and a network to build what it runs in
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="module", params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[Container]:
    """A container of each suite in turn."""
    with container_of(request.param) as container:
        yield container


@pytest.fixture(scope="module")
def bmc(debian: Container) -> Iterator[Bmc]:
    """A BMC in the container's network, at the port that callers take for granted."""
    with debian.network():
        started = Bmc("127.0.7.1", 623).__enter__()
    yield started
    started.__exit__(None, None, None)


@pytest.fixture(scope="module")
def second_bmc(debian: Container) -> Iterator[Bmc]:
    """A second BMC, of a node with two."""
    with debian.network():
        started = Bmc("127.0.7.2", 623).__enter__()
    yield started
    started.__exit__(None, None, None)


@pytest.fixture(scope="module")
def _corosync(debian: Container) -> None:
    corosync(debian)


@pytest.fixture
def fencer(debian: Container, _corosync: None) -> Iterator[Fencer]:
    """A fencer that knows no device yet."""
    with Fencer(debian) as started:
        yield started


@contextmanager
def container_of(suite: str) -> Iterator[Container]:
    """A container of one suite; skips where the user may not make one."""
    with Container(root_of(suite)) as container:
        yield container


def root_of(suite: str) -> Path:
    """The root of one suite; skips where the user may not make one."""
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("only root can make a Debian root")
    return root(suite)
