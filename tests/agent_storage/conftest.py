# SPDX-License-Identifier: Apache-2.0
"""A BMC, a target and two unfenced nodes for each test of whole processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_storage.nodes import Node
from tests.rig.bmc import Bmc
from tests.rig.target import Target


@pytest.fixture(scope="module")
def bmc() -> Iterator[Bmc]:
    with Bmc() as bmc:
        yield bmc


@pytest.fixture
def target() -> Iterator[Target]:
    with Target(luns=2) as target:
        yield target


@pytest.fixture
def nodes(target: Target, tmp_path: Path) -> tuple[Node, Node]:
    """serv-0001 and serv-0002, unfenced."""
    both = Node(0, tmp_path, target.urls), Node(1, tmp_path, target.urls)
    for node in both:
        answer = node.unfence()
        assert (answer.status, answer.stdout) == (0, "Success: Powered ON\n"), answer.stderr
    return both
