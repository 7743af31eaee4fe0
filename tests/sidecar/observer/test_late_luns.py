# SPDX-License-Identifier: Apache-2.0
"""A LUN that is registered later than the others: alone, and only on a node that was not fenced on any of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fencer.errors import TransportError
from fencer.storage import procedure
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.marker import Marker, read_marker
from fencer.storage.nexus import Nexus
from tests.sidecar.observer.test_registrar import Node, targets
from tests.storage.nodes import WERO, A, B, deadline


def _one_of_two(tmp_path: Path) -> Node:
    """Registered on the first LUN; the second one has just come back."""
    node = Node(tmp_path, *targets())
    node.probes[1].reason = "EIO: Input/output error"
    node.go(4.0)
    assert [A in target.keys for target in node.targets] == [True, False]
    node.probes[1].reason = ""
    return node


def test_a_lun_that_comes_later_is_registered_alone(tmp_path: Path) -> None:
    """A start goes on where it was, rather than with the first LUN again."""
    node = _one_of_two(tmp_path)
    writes = len(node.targets[0].log)
    node.go(4.0)
    assert A in node.targets[1].keys
    assert len(node.targets[0].log) == writes
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert [mark.registered for mark in found.luns] == [True, True]


def test_a_lun_that_could_not_be_read_again_is_not_done_before_its_mark_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its mark would say "begun" as long as this process lives, and no fence of it would count as a preemption."""
    looks = procedure.looks_of
    silent = True

    def looks_of(luns: Sequence[LogicalUnit], *more: Any) -> object:
        wants = [len(target.log) > 0 for target in node.targets]
        return [(unit, TransportError("gone") if silent and all(wants) else look) for unit, look in looks(luns, *more)]

    monkeypatch.setattr(procedure, "looks_of", looks_of)
    node = Node(tmp_path, *targets())
    node.go(1.0)
    assert all(A in target.keys for target in node.targets)
    assert not any(each.watch.unfenced for each in node.luns)
    silent = False
    node.go(3.0)
    found = read_marker(str(tmp_path))
    assert isinstance(found, Marker)
    assert [mark.registered for mark in found.luns] == [True, True]
    assert all(each.watch.unfenced for each in node.luns)


def test_a_lun_that_comes_later_is_not_registered_on_a_node_that_was_fenced_meanwhile(tmp_path: Path) -> None:
    """On the LUN that is registered already, and before it was read again."""
    node = _one_of_two(tmp_path)
    first, second = node.targets
    assert Nexus(first.nexus("b")).preempt_and_abort(B, A, WERO, deadline()) is not None
    node.luns[1].paths[0].turn()
    assert node.luns[1].good and not node.luns[0].watch.fenced
    node.registrar.turn()
    assert A not in second.keys
