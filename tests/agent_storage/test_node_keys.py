# SPDX-License-Identifier: Apache-2.0
"""Whole calls on nodes that are registered under other keys than this node expects."""

import os
from pathlib import Path

import pytest

from fencer.cluster.keys import NodeIdentity, derive_key
from fencer.model import KeyScheme, ReservationKey
from fencer.storage.transport import ScsiStatus
from tests.agent_storage.nodes import CLUSTER, NAMES, Node, Witness, bmc_options, finish, listing
from tests.rig.bmc import Bmc
from tests.rig.target import Target

pytestmark = [pytest.mark.peer, pytest.mark.skipif(os.geteuid() != 0, reason="tgtd must run as root")]


def write_conf(node: Node, *names_and_ids: tuple[str, int]) -> None:
    rows = "".join(f'<clusternode name="{name}" nodeid="{number}"/>' for name, number in names_and_ids)
    node.conf.write_text(f'<cluster name="{CLUSTER}" config_version="1"><clusternodes>{rows}</clusternodes></cluster>')


def three_nodes(node: Node) -> None:
    write_conf(node, *((name, number) for number, name in enumerate((*NAMES, "serv-0003"), 1)))


def test_a_node_registered_under_another_key_than_it_should_have_is_not_called_off(
    target: Target, nodes: tuple[Node, Node], bmc: Bmc
) -> None:
    """By another cluster file, say; of three nodes the key may be the third one's. Power proves what storage cannot."""
    one, two = nodes
    three_nodes(two)
    key = derive_key(KeyScheme.ID, CLUSTER, NodeIdentity(one.name, 1, 0))
    one.forget()
    assert two.call("off", one.name).status == 0
    assert one.call("on", one.name, key_value="id").status == 0
    writer = Witness(target.urls[0], "its-kernel", key)
    try:
        for proof in ("storage", "any"):
            answer = two.call("off", one.name, proof=proof)
            assert (answer.status, answer.stdout) == (1, "")
            assert "of no node that is known here" in answer.stderr
        assert writer.write() is ScsiStatus.GOOD
        assert two.call("status", one.name).status == 1
        for proof in ("storage", "power"):
            monitor = two.call("monitor", one.name, proof=proof, **bmc_options(bmc))
            assert monitor.status == 1
            assert "belongs to no known node" in monitor.stderr
        bmc.power = "on"
        answer = two.call("off", one.name, proof="power", **bmc_options(bmc))
        assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    finally:
        writer.close()


def test_of_two_nodes_one_that_is_registered_under_another_key_is_fenced_by_it(
    target: Target, nodes: tuple[Node, Node]
) -> None:
    """Only the other node can have that key."""
    one, two = nodes
    key = derive_key(KeyScheme.ID, CLUSTER, NodeIdentity(one.name, 1, 0))
    one.forget()
    assert two.call("off", one.name).status == 0
    assert one.call("on", one.name, key_value="id").status == 0
    writer = Witness(target.urls[0], "its-kernel", key)
    try:
        assert two.call("monitor", one.name).status == 1
        answer = two.call("off", one.name)
        assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
        assert writer.write() is ScsiStatus.RESERVATION_CONFLICT
        assert two.call("monitor", one.name).status == 0
    finally:
        writer.close()


def test_of_two_nodes_that_derive_different_keys_one_survives(
    target: Target, nodes: tuple[Node, Node], bmc: Bmc, tmp_path: Path
) -> None:
    """A cluster.conf of another name was left over on one of them. Both monitors say so, and one race decides."""
    one, two = nodes
    one.conf = tmp_path / "left-over.conf"
    one.conf.write_text(two.conf.read_text().replace(f'"{CLUSTER}"', '"old-cluster"'))
    assert two.call("off", one.name).status == 0
    one.forget()
    assert one.unfence().status == 0
    for node, other in ((one, two), (two, one)):
        monitor = node.call("monitor", other.name, **bmc_options(bmc))
        assert monitor.status == 1
        assert "belongs to no known node" in monitor.stderr
    bmc.power = "on"
    before = bmc.commands()
    calls = [node.start("off", other.name, **bmc_options(bmc)) for node, other in ((one, two), (two, one))]
    answers = [finish(call) for call in calls]
    assert sorted(answer.status for answer in answers) == [0, 1], answers
    loser = next(answer for answer in answers if answer.status)
    assert "the fence race is lost" in loser.stderr
    assert bmc.commands() == [*before, "power 0"]


@pytest.mark.parametrize("proof", ["power", "storage"])
def test_of_three_nodes_whose_files_differ_each_monitor_fails(
    target: Target, nodes: tuple[Node, Node], bmc: Bmc, tmp_path: Path, proof: str
) -> None:
    """No race decides between them: each may take the other's key for the third node's."""
    one, two = nodes
    three_nodes(two)
    assert two.call("off", one.name).status == 0
    one.conf = tmp_path / "left-over.conf"
    one.conf.write_text(two.conf.read_text().replace(f'"{CLUSTER}"', '"old-cluster"'))
    one.forget()
    assert one.unfence().status == 0
    for node, other in ((one, two), (two, one)):
        monitor = node.call("monitor", other.name, proof=proof, **bmc_options(bmc))
        assert monitor.status == 1
        assert "belongs to no known node" in monitor.stderr
        assert "give all nodes the same cluster file" in monitor.stderr
        answer = node.call("off", other.name, proof="storage")
        assert (answer.status, answer.stdout) == (1, "")


def test_no_node_is_fenced_by_a_configuration_that_was_changed_since_this_node_registered(
    target: Target, nodes: tuple[Node, Node]
) -> None:
    """With key_value=id all keys shift when a node is taken out of the file: another node's would be taken."""
    one, two = nodes
    write_conf(two, ("serv-0000", 3), (one.name, 1), (two.name, 2))
    for node in nodes:
        node.forget()
        assert node.call("on", node.name, key_value="id").status == 0
    before = [listing(url) for url in target.urls]
    write_conf(two, (one.name, 1), (two.name, 2))
    for caller, other in ((one, two), (two, one)):
        for action in ("off", "monitor"):
            answer = caller.call(action, other.name, key_value="id")
            assert (answer.status, answer.stdout) == (1, "")
            assert "whose key is whose cannot be told" in answer.stderr
    assert [listing(url) for url in target.urls] == before


@pytest.mark.parametrize("nodes_known", [2, 3])
def test_a_key_that_is_left_on_the_luns_hinders_no_fence_of_a_registered_node(
    target: Target, nodes: tuple[Node, Node], nodes_known: int
) -> None:
    """Of a node that is no more. Of three nodes it stays, and whether one that was off already is, cannot be told
    beside it; of two nodes it is taken, too."""
    one, two = nodes
    if nodes_known == 3:
        three_nodes(two)
    left = [Witness(url, "long-gone", ReservationKey(0xDEAD)) for url in target.urls]
    try:
        answer = two.call("off", one.name)
        assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
        again = two.call("off", one.name)
        if nodes_known == 2:
            assert (again.status, again.stdout) == (0, "Success: Already OFF\n"), again.stderr
        else:
            assert (again.status, again.stdout) == (1, "")
            assert "0xdead" in again.stderr
    finally:
        for witness in left:
            witness.close()
