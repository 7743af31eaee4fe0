# SPDX-License-Identifier: Apache-2.0
"""docs/ha-lvm.md under Debian 12 and 13: the CIB that pcs makes, and a cluster of two nodes with it."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.conformance.conftest import root_of
from tests.conformance.container import Container
from tests.conformance.debian_root import SUITES
from tests.conformance.two_nodes import CIB, NODES, A, B, TwoNodes
from tests.lab import recipe


def test_pcs_makes_of_its_commands_what_was_checked(debian: Container) -> None:
    """But for the first line, which has Pacemaker's versions."""
    file = debian.path("/root/halvm.cib")
    file.write_text(debian.run("cibadmin", "--empty").stdout)
    edits = "".join(recipe.edits(step.commands)[0] for step in recipe.steps(recipe.PAGE.read_text()))
    for command in re.findall(r"^pcs (?:.*\\\n)*.*\n", edits, re.MULTILINE):
        done = debian.run("sh", "-c", f"cd /root && {command}")
        assert done.returncode == 0, done.stderr
    assert file.read_text().splitlines()[1:] == CIB.read_text().splitlines()[1:]


@pytest.fixture(params=SUITES)
def two_nodes(request: pytest.FixtureRequest) -> Iterator[TwoNodes]:
    with TwoNodes(root_of(request.param)) as started:
        yield started


def test_the_service_starts_unfenced_and_fails_over(two_nodes: TwoNodes) -> None:
    two_nodes.configure()
    two_nodes.wait_until("the service runs", lambda: two_nodes.runs("FS", A, seen_by=A), A)
    for node in NODES:
        device = f"fence-{node}"
        two_nodes.wait_until(f"{device} runs", lambda d=device, n=node: two_nodes.runs(d, B if n == A else A, A), A)
        unfenced = re.search(rf"Operation 'on' targeting {node} .*: OK", two_nodes.log(node))
        started = re.search(rf"Result of start operation for FS on {node}: (ok|OK)", two_nodes.log(node))
        assert unfenced is not None
        assert started is None or unfenced.end() < started.start()
    view = json.loads(two_nodes.nodes[B].run("halvmctl", "status", "--json").stdout)
    assert view["status"] == 0, view["remarks"]

    two_nodes.power_down(A)

    two_nodes.wait_until("the service was taken over", lambda: two_nodes.runs("FS", B, seen_by=B), B)
    assert two_nodes.bmcs[A].commands() == ["power 0", "power 1"]
    history = two_nodes.nodes[B].run("fence_halvm", "-o", "history", "--json", "--limit=0").stdout
    (fence,) = [each for each in map(json.loads, history.splitlines()) if each["kind"] == "fence"]
    assert fence["outcome"] == "success"
    assert "storage" in fence["proofs"]
