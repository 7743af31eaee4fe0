# SPDX-License-Identifier: Apache-2.0
"""Whole calls with proof=self: the bound of the victim's own sidecar."""

import os
import time
from pathlib import Path

import pytest

from fencer.journal.event import EventKind, StepName
from fencer.journal.file import Journal
from fencer.model import Proof
from fencer.state.snapshot_file import write_snapshot
from tests import scenes
from tests.agent_storage.nodes import Node, dead_bmc, fenced, listing
from tests.journal.calls import recorded
from tests.rig.target import Target

pytestmark = [pytest.mark.peer, pytest.mark.skipif(os.geteuid() != 0, reason="tgtd must run as root")]


def sidecar_of(node: Node, bound_s: float) -> None:
    """What halvm-watchdogd would have published on this node a moment ago."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    now = {"boot_id": boot_id, "written_monotonic_s": time.monotonic(), "interval_s": 20.0}
    write_snapshot(str(node.state_dir), scenes.snapshot()._replace(**now, bound_s=bound_s))


def test_self_waits_for_the_victims_sidecar_and_says_so(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    sidecar_of(two, 3.0)
    began = time.monotonic()
    answer = two.call("off", one.name, proof="self", self_fence_bound=3, **dead_bmc())
    assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    assert time.monotonic() - began > 3.0
    assert "storage (key" in answer.stderr
    assert "self (the 3 s have passed in which its sidecar resets it)" in answer.stderr
    assert fenced(target, one)
    path = str(two.conf.with_name("journal.db"))
    recorded(path, kind=EventKind.FENCE)
    with Journal(path).read() as journal:
        fence = journal.page(limit=1, kinds=[EventKind.FENCE])[0][1]
        assert fence.proofs == (Proof.STORAGE, Proof.SELF)
        assert StepName.SELF_FENCE in [step.name for step in fence.steps]
        assert "storage+self" in {total.proof for total in journal.totals()}


def test_self_is_refused_before_anything_is_sent_where_no_sidecar_runs(
    target: Target, nodes: tuple[Node, Node]
) -> None:
    one, two = nodes
    before = [listing(url) for url in target.urls]
    answer = two.call("off", one.name, proof="self", self_fence_bound=3)
    assert (answer.status, answer.stdout) == (1, "")
    assert "proof: halvm-watchdogd has not run in this boot" in answer.stderr
    sidecar_of(two, 24.0)
    answer = two.call("off", one.name, proof="self", self_fence_bound=3)
    assert (answer.status, answer.stdout) == (1, "")
    assert "self_fence_bound: 3 s is less than the 24 s" in answer.stderr
    assert [listing(url) for url in target.urls] == before


def test_self_never_stands_without_storage(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    sidecar_of(two, 1.0)
    two.urls = [*target.urls, target.url(9)]
    answer = two.call("off", one.name, proof="self", self_fence_bound=1, deadline=11)
    assert (answer.status, answer.stdout) == (1, "")
    assert "cannot be told" in answer.stderr
