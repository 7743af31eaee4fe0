# SPDX-License-Identifier: Apache-2.0
"""The article's cluster on level 3: two nodes, BMCs that cut the power, one shared LUN, a volume group that moves."""

import json
import re
import time

import pytest

from . import user_cluster as rig
from .level3 import NODES, Cluster, Link
from .rows import further

A, B = NODES
pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def rigged(cluster: Cluster) -> Cluster:
    """Configured, both nodes unfenced."""
    rig.install(cluster)
    for node in NODES:
        assert "Success" in rig.unfence(cluster, node).out
    return cluster


@pytest.mark.slow
def test_the_whole_story(rigged: Cluster) -> None:
    a, b = rigged.nodes.values()
    assert rig.keys(a) == [1, 2]
    rigged.activate(A)
    a.run("echo from serv-0001 >/srv/ha/witness && sync", check=True)
    rig.start_writer(rigged, A)
    boot = rig.boot_id(rigged, A)

    fenced = rig.fence(rigged, B, A, rig.agent(A, "reboot", deadline="120"))
    assert fenced["rc"] == 0, fenced
    assert "proved by power" in fenced["output"]
    assert "and storage" in fenced["output"]
    assert fenced["mark"] > 0
    assert rig.violations(rigged, A, fenced["mark"]) == 0
    assert rig.keys(b) == [2]

    rigged.activate(B)  # while the other node boots
    assert b.run("cat /srv/ha/witness", check=True).out == "from serv-0001\n"
    b.run("echo from serv-0002 >>/srv/ha/witness && sync", check=True)

    rig.boot(rigged, A)
    assert rig.boot_id(rigged, A) != boot
    assert "Invalid exchange" in rig.refused(rigged, A)
    assert rig.violations(rigged, A, fenced["mark"]) == 0
    rig.unfence(rigged, A)
    assert rig.refused(rigged, A) == ""
    assert rig.keys(b) == [1, 2]
    a.run(f"kill {rig.start_writer(rigged, A).pid}", check=True)
    assert rig.violations(rigged, A, fenced["mark"]) > 0


def test_the_bmc_died_with_its_node(rigged: Cluster) -> None:
    """Silence is no proof of power; storage may stand in where that is asked for, and only then."""
    b = rigged.nodes[B]
    rigged.cut_bmc(B)
    try:
        rig.start_writer(rigged, B)
        started = time.monotonic()
        power = rigged.nodes[A].run(rig.agent(B, "reboot", proof="power", deadline="12"))
        assert power.rc == 1, power
        assert time.monotonic() - started > 12
        assert "opened no session within" in power.err
        assert "proved" not in power.err

        # The operator's word, instead of a reboot.
        b.run(f"fence_halvm -o on -n {B} --vg=shared_vg --re-register", check=True)
        writer = rig.start_writer(rigged, B)
        storage = rig.fence(rigged, A, B, rig.agent(B, "reboot", proof="any", deadline="30"))
        assert storage["rc"] == 0, storage
        assert "proved by storage" in storage["output"]
        assert "by power" not in storage["output"]
        assert re.search("was not (seen )?powered off", storage["output"])
        assert rig.violations(rigged, B, storage["mark"]) == 0
        assert json.loads(writer.wait(20).out)["errno"] == "EBADE"
        assert "Invalid exchange" in rig.refused(rigged, B)
        assert "fsync" in rig.refused(rigged, B, buffered=True)
        assert b.is_running()
    finally:
        rigged.heal_bmc(B)
        rig.revive(rigged, B)
        rig.unfence(rigged, B)


def _hung(cluster: Cluster) -> None:
    cluster.nodes[B].qmp("stop")


def _panicked(cluster: Cluster) -> None:
    before = len(cluster.nodes[B].console())
    cluster.nodes[B].spawn("echo c >/proc/sysrq-trigger")
    end = time.monotonic() + 20
    while "Kernel panic" not in cluster.nodes[B].console()[before:]:
        assert time.monotonic() < end, cluster.nodes[B].console()[before:]
        time.sleep(0.1)


def _short_of_memory(cluster: Cluster) -> None:
    eater = "while :; do python3 -c 'x = []\nwhile 1: x.append(bytes([1]) * (1 << 20))'; done"
    cluster.nodes[B].run(f'setsid bash -c "{eater}" </dev/null >/dev/null 2>&1 & sleep 3')


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble", [_hung, *further(_panicked, _short_of_memory)], ids=lambda each: each.__name__.strip("_")
)
def test_a_node_in_trouble_comes_back(rigged: Cluster, trouble: "object") -> None:
    assert callable(trouble)
    rig.start_writer(rigged, B)
    boot = rig.boot_id(rigged, B)
    trouble(rigged)
    fenced = rig.fence(rigged, A, B, rig.agent(B, "reboot", deadline="120"))
    assert fenced["rc"] == 0, fenced
    assert "proved by power" in fenced["output"]
    assert rig.violations(rigged, B, fenced["mark"]) == 0
    rig.boot(rigged, B)
    assert rig.boot_id(rigged, B) != boot
    rig.unfence(rigged, B)
    rigged.nodes[B].run(f"kill {rig.start_writer(rigged, B).pid}", check=True)
    assert rig.violations(rigged, B, fenced["mark"]) > 0


def _members(cluster: Cluster, node: str, count: int) -> None:
    """Waits until corosync on a node has so many members."""
    end = time.monotonic() + 90
    while (found := cluster.nodes[node].run("corosync-quorumtool -s | grep -x 'Nodes: *[0-9]*'").out.split()[1:]) != [
        str(count)
    ]:
        assert time.monotonic() < end, f"{node}: {found}"
        time.sleep(0.5)


@pytest.mark.slow
def test_the_loser_of_a_split_cluster_does_not_shoot_the_winner(rigged: Cluster) -> None:
    """corosync with wait_for_all: 0, under which a node that boots alone has quorum."""
    a, b = rigged.nodes.values()
    for guest in (a, b):
        guest.run("systemctl start corosync", check=True)
    for node in NODES:
        _members(rigged, node, 2)
    rigged.cut(A, Link.CLUSTER)
    _members(rigged, A, 1)
    fenced = a.run(rig.agent(B, "reboot", deadline="120"))
    assert fenced.rc == 0, fenced
    boot = rig.boot_id(rigged, A)

    rig.boot(rigged, B)
    b.run("systemctl start corosync", check=True)
    _members(rigged, B, 1)
    assert "a fence of the other node would be refused" in rig.unfence(rigged, B).err
    assert rig.keys(b) == [1, 2]
    refused = b.run(rig.agent(A, "reboot"))
    assert refused.rc == 1, refused
    assert "the fence is refused, nothing was powered off" in refused.err
    assert "remove /var/lib/fence-halvm/fenced.json" in refused.err
    assert rig.keys(b) == [1, 2]
    assert rig.boot_id(rigged, A) == boot

    rigged.heal(A, Link.CLUSTER)
    _members(rigged, B, 2)
    assert "the two have met since" in rig.unfence(rigged, B).err  # a fence may have been asked for before
    refused = b.run(rig.agent(A, "reboot"))
    assert refused.rc == 1, refused
    assert rig.boot_id(rigged, A) == boot
    for guest in (a, b):
        guest.run("systemctl stop corosync", check=True)
