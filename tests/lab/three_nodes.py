# SPDX-License-Identifier: Apache-2.0
"""Plays at level 4 with three nodes, set up by section 11 of docs/ha-lvm.md.

Two of three votes are the quorum: the two nodes that are left fence the third one, and one of them takes over.
"""

import time
from collections.abc import Iterable
from typing import Any

from . import failovers, level4, plays, reconfigured
from .failovers import Observed
from .level3 import THREE_NODES, Cluster, Link
from .plays import Play, switch
from .user_cluster import boot_id, keys

HELD_BACK_S = 60
"""Longer than a failover takes: a node without quorum that were to fence or to start something would have begun."""


def keys_without(node: str) -> list[int]:
    """The node ids of the two others, as user_cluster.keys names them."""
    return [number for number, each in enumerate(THREE_NODES, 1) if each != node]


def fences(cluster: Cluster, nodes: Iterable[str]) -> list[dict[str, Any]]:
    """Every fence that the agents of these nodes were asked for."""
    return [event for node in nodes for event in level4.history(cluster.nodes[node], "fence")]


def check_fence(cluster: Cluster, victim: str, *proofs: str) -> None:
    """The victim, and no other node, was fenced by the two others, once, and this proved it. The victim may be off."""
    asked = fences(cluster, failovers.others(cluster, victim))
    assert {event["target"] for event in asked} == {victim}
    succeeded = [event for event in asked if event["outcome"] == "success"]
    assert [set(event["proofs"]) for event in succeeded] == [set(proofs)], asked


def check_order(cluster: Cluster, seen: Observed) -> None:
    """The victim was fenced before the survivor took the volume group. The fence may be another node's."""
    events = fences(cluster, failovers.others(cluster, seen.victim))
    (fence,) = (event for event in events if (event["target"], event["outcome"]) == (seen.victim, "success"))
    actor_lead_s = cluster.nodes[fence["actor"]].clock_lead_s()
    proved_s = fence["at_unix_s"] + fence["took_s"] - actor_lead_s - seen.fault_s
    lvm_s = failovers.times(cluster, seen).lvm
    print(f"proved by {fence['actor']} {proved_s:.1f} s after the fault")
    assert lvm_s is not None and proved_s < lvm_s


def check_end(cluster: Cluster, seen: Observed, *proofs: str) -> None:
    """The same when the victim is back. It fenced no node itself."""
    check_fence(cluster, seen.victim, *proofs)
    check_order(cluster, seen)
    assert fences(cluster, [seen.victim]) == []


def power_down(cluster: Cluster) -> Observed:
    seen = plays.power_down(cluster)
    check_end(cluster, seen, "power", "storage")
    return seen


def network_cut(cluster: Cluster) -> Observed:
    """The active node alone loses its quorum. When it has booted, it starts nothing until the cut is mended.

    Its sidecar registers its key at the boot, as at each boot.
    """
    boots = {node: boot_id(cluster, node) for node in cluster.nodes}

    def repair(victim: str) -> None:
        guest = cluster.nodes[victim]

        def waits() -> bool:
            return boot_id(cluster, victim) != boots[victim] and not level4.status(guest).quorate

        level4.wait_until(f"{victim} waits", waits, plays.BOOT_S, lambda: failovers.log(guest))
        assert fences(cluster, [victim]) == []
        assert level4.active(cluster) != victim
        cluster.heal(victim, Link.CLUSTER)

    seen = plays.play(cluster, lambda node: cluster.cut(node, Link.CLUSTER), repair)
    check_end(cluster, seen, "power", "storage")
    return seen


def dead_bmc(cluster: Cluster) -> Observed:
    """proof=any: the fence takes the victim's key alone away. A person repairs the BMC and switches the node on."""
    reconfigured.push(cluster, *reconfigured.options(cluster, proof="any"))

    def fault(node: str) -> None:
        switch(cluster, node, "off")
        cluster.cut_bmc(node)

    def repair(victim: str) -> None:
        check_fence(cluster, victim, "storage")
        for node in failovers.others(cluster, victim):
            assert keys(cluster.nodes[node]) == keys_without(victim)
        cluster.heal_bmc(victim)
        switch(cluster, victim, "on")

    seen = plays.play(cluster, fault, repair)
    check_end(cluster, seen, "storage")
    return seen


def two_lost(cluster: Cluster) -> Observed:
    """The active node and one standby lose power at once. The third has one of three votes: it does nothing.

    A person switches the standby on. Two votes are the quorum again: the active node is fenced, the service starts.
    """
    victim = level4.active(cluster)
    lost, third = failovers.others(cluster, victim)
    guest = cluster.nodes[third]

    def fault(node: str) -> None:
        for each in (node, lost):
            switch(cluster, each, "off")

    seen = failovers.strike(cluster, fault)
    level4.wait_until(f"{third} has no quorum", lambda: not level4.status(guest).quorate, 120)
    time.sleep(HELD_BACK_S)
    now = level4.status(guest)
    assert not now.quorate
    assert not {"lvm", "FS"} & {name for name, node in now.started.items() if node == third}
    assert not level4.mounted(guest)
    assert fences(cluster, [third]) == []
    assert keys(guest) == [1, 2, 3]
    switch(cluster, lost, "on")
    seen = failovers.wait_taken_over(cluster, seen)
    failovers.start_writer(cluster, seen.survivor)
    failovers.wait_back(cluster, seen, plays.BOOT_S)
    seen.boots[lost] = boot_id(cluster, lost)
    failovers.check(cluster, seen)
    asked = fences(cluster, THREE_NODES)
    # Pacemaker may also fence the node that returns, where it sees corosync there before it sees itself.
    assert {event["target"] for event in asked} <= {victim, lost}, asked
    of_victim = [event for event in asked if (event["target"], event["outcome"]) == (victim, "success")]
    assert [set(event["proofs"]) for event in of_victim] == [{"power", "storage"}], asked
    print(f"{lost} was fenced, too: {any(event['target'] == lost for event in asked)}")
    check_order(cluster, seen)
    return seen


PLAYS: dict[str, Play] = {
    "power down": power_down,
    "network cut": network_cut,
    "dead BMC": dead_bmc,
    "two lost": two_lost,
}
