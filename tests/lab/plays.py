# SPDX-License-Identifier: Apache-2.0
"""Each kind of trouble for the cluster of level 4, from the running service until the victim is a standby again.

A play ends well only where the volume is mounted on one node, every acknowledged record is there, and the survivor was
not reset. Else it raises GuestError or AssertionError.
"""

import time
from collections.abc import Callable

from . import failovers, level4
from .failovers import Observed
from .level3 import NODES, Cluster, Link
from .user_cluster import boot_id

Play = Callable[[Cluster], Observed]
Fault = Callable[[str], None]
"""Done to the node of that name."""
BOOT_S = 600
AFTERWARDS_S = 40
"""Until a fence that was asked for before the network was mended has been tried again, and has failed."""


def play(cluster: Cluster, fault: Fault, repair: Fault = lambda node: None) -> Observed:
    """A fault at the active node; what it needs to come back is repaired when the service runs elsewhere."""
    seen = failovers.strike(cluster, fault)
    seen = failovers.wait_taken_over(cluster, seen)
    failovers.start_writer(cluster, seen.survivor)
    repair(seen.victim)
    failovers.wait_back(cluster, seen, BOOT_S)
    failovers.check(cluster, seen)
    return seen


def power_down(cluster: Cluster) -> Observed:
    """As the article did at its end."""
    return play(cluster, lambda node: switch(cluster, node, "off"))


def power_down_twice(cluster: Cluster) -> Observed:
    """The node that was fenced takes over again, directly after it came back."""
    first = power_down(cluster)
    seen = power_down(cluster)
    assert seen.survivor == first.victim
    return seen


def hang(cluster: Cluster) -> Observed:
    return play(cluster, lambda node: freeze(cluster, node))


def panic(cluster: Cluster) -> Observed:
    return play(cluster, lambda node: _panic(cluster, node))


def administrator(cluster: Cluster) -> Observed:
    """A person has the cluster fence the active node."""
    return play(cluster, lambda node: _ask(cluster, node))


def storage_cut(cluster: Cluster) -> Observed:
    """The sidecar resets the node; its path is repaired when the service runs elsewhere."""
    return play(
        cluster,
        lambda node: cluster.cut(node, Link.STORAGE),
        lambda node: cluster.heal(node, Link.STORAGE),
    )


def dead_bmc(cluster: Cluster) -> Observed:
    """proof=any: the removal of the key is enough. A person repairs the BMC and switches the node on."""
    level4.set_device_option(cluster, "proof", "any")

    def fault(node: str) -> None:
        switch(cluster, node, "off")
        cluster.cut_bmc(node)

    def repair(node: str) -> None:
        cluster.heal_bmc(node)
        switch(cluster, node, "on")

    seen = play(cluster, fault, repair)
    assert level4.history(cluster.nodes[seen.survivor], "fence")[0]["proofs"] == ["storage"]
    return seen


def network_cut(cluster: Cluster) -> Observed:
    """One node wins, as a rule the one with the service. The other one boots, waits for its peer, does not fence."""

    def waits(loser: str) -> bool:
        return not level4.status(cluster.nodes[loser]).quorate

    return network_cut_until(cluster, waits)


def network_cut_without_waiting(cluster: Cluster) -> Observed:
    """The same with wait_for_all: 0: the node that booted is quorate alone and fences; the agent refuses that."""
    edit = "sed -i 's/^  two_node: 1$/&\\n  wait_for_all: 0/' /etc/corosync/corosync.conf"
    level4.on_all(cluster, f"{edit} && grep -q 'wait_for_all: 0' /etc/corosync/corosync.conf && sync")
    cluster.nodes[NODES[0]].run("corosync-cfgtool -R", timeout_s=60, check=True)

    def refused(loser: str) -> bool:
        return any("the fence is refused" in event["error"] for event in level4.history(cluster.nodes[loser], "fence"))

    seen = network_cut_until(cluster, refused)
    time.sleep(AFTERWARDS_S)
    failovers.check(cluster, seen)
    assert not any(event["outcome"] == "success" for event in level4.history(cluster.nodes[seen.victim], "fence"))
    return seen


def network_cut_until(cluster: Cluster, holds_back: Callable[[str], bool]) -> Observed:
    """holds_back: whether the node that was fenced does so, while it is up and the network is still cut."""
    active = level4.active(cluster)
    failovers.start_writer(cluster, active)
    boots = {node: boot_id(cluster, node) for node in NODES}
    leads_s, fault_s = {node: cluster.nodes[node].clock_lead_s() for node in NODES}, time.time()
    cluster.cut(active, Link.CLUSTER)
    level4.wait_until("a node has booted", lambda: len(_booted(cluster, boots)) == 1, BOOT_S)
    (loser,) = _booted(cluster, boots)
    winner = failovers.other(loser)
    seen = Observed(loser, winner, fault_s, leads_s[winner], failovers.acknowledged(cluster), boots)
    level4.wait_until(
        f"{loser} holds back", lambda: holds_back(loser), BOOT_S, lambda: failovers.log(cluster.nodes[loser])
    )
    seen = failovers.wait_taken_over(cluster, seen)
    cluster.heal(active, Link.CLUSTER)
    failovers.wait_back(cluster, seen, BOOT_S)
    failovers.check(cluster, seen)
    return seen


def _booted(cluster: Cluster, boots: dict[str, str]) -> list[str]:
    """The nodes that have another boot id than before. Raises GuestError while one does not answer."""
    return [node for node in NODES if boot_id(cluster, node) != boots[node]]


def switch(cluster: Cluster, node: str, what: str) -> None:
    cluster.ipmitool(node, "chassis", "power", what)


def freeze(cluster: Cluster, node: str) -> None:
    """Stops the node's processor, as a hang does. Its chassis stays on."""
    cluster.nodes[node].qmp("stop")


def _panic(cluster: Cluster, node: str) -> None:
    cluster.nodes[node].spawn("echo c >/proc/sysrq-trigger")


def _ask(cluster: Cluster, node: str) -> None:
    cluster.nodes[failovers.other(node)].run(f"stonith_admin --reboot {node}", timeout_s=180, check=True)


PLAYS: dict[str, Play] = {
    "power down": power_down,
    "network cut": network_cut,
    "network cut, wait_for_all: 0": network_cut_without_waiting,
    "storage cut": storage_cut,
    "dead BMC": dead_bmc,
    "power down of one node, then of the other": power_down_twice,
    "hang": hang,
    "panic": panic,
    "stonith_admin": administrator,
}
