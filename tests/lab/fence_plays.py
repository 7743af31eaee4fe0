# SPDX-License-Identifier: Apache-2.0
"""Plays at level 4 about what proves a fence: proof=self, fencing levels."""

import functools
import json
import re
from datetime import datetime

from . import failovers, level4, plays, reconfigured
from .failovers import Observed
from .guest import Guest
from .level3 import NODES, Cluster
from .plays import Play, switch

_OF_THE_LAB = re.compile(r"--check-config: sd[bc](, sdc)?: (the SCSI timeout|replacement_timeout) is ")
MARGIN_S = 15
"""Above the bound for the deadline of the fence, and above that for Pacemaker's own time."""


def self_fence_bound_s(cluster: Cluster) -> int:
    """The bound that the sidecars name, in whole seconds, rounded up."""
    said = [node.run("halvm-watchdogd --check-config", check=True).out for node in cluster.nodes.values()]
    bounds = [float(re.findall(r"reset at the latest (\S+) s after", text)[0]) for text in said]
    return -int(-max(bounds) // 1)


def rely_on_self_fence(cluster: Cluster) -> None:
    """Sets proof=self on both devices, with the times that the page of the sidecar asks for."""
    bound_s = self_fence_bound_s(cluster)
    deadline_s = bound_s + MARGIN_S
    options = f"proof=self self_fence_bound={bound_s} deadline={deadline_s}"
    times = f"pcmk_reboot_timeout={deadline_s + MARGIN_S}s pcmk_off_timeout={deadline_s + MARGIN_S}s"
    reconfigured.push(cluster, *[f"stonith update fence-{node} {options} {times}" for node in NODES])


def proofs(cluster: Cluster, node: str) -> list[set[str]]:
    """What proved each fence that succeeded, by this node's journal, the newest first."""
    events = level4.history(cluster.nodes[node], "fence")
    return [set(event["proofs"]) for event in events if event["outcome"] == "success"]


def self_fence_power_off(cluster: Cluster) -> Observed:
    """proof=self: power off, and the BMC is dead with its node. The survivor waits for the bound."""
    rely_on_self_fence(cluster)
    seen = plays.play(cluster, _off_with_its_bmc(cluster), _on_with_its_bmc(cluster))
    assert proofs(cluster, seen.survivor) == [{"storage", "self"}]
    return seen


def self_fence_network_cut(cluster: Cluster) -> Observed:
    """proof=self: the network between the nodes is cut, and both BMCs are dead.

    The sidecar of the loser resets it before the winner's fence is a success.
    """
    rely_on_self_fence(cluster)
    for node in NODES:
        cluster.cut_bmc(node)

    def held_back(loser: str) -> bool:
        winner = cluster.nodes[failovers.other(loser)]
        succeeded = [event for event in level4.history(winner, "fence") if event["outcome"] == "success"]
        if not succeeded or level4.status(cluster.nodes[loser]).quorate:
            return False
        assert [set(event["proofs"]) for event in succeeded] == [{"storage", "self"}]
        booted_s = _booted_at_s(cluster, loser)
        end_s = datetime.fromisoformat(succeeded[0]["at"]).timestamp() + succeeded[0]["took_s"] - winner.clock_lead_s()
        print(f"{loser} was booting {end_s - booted_s:.1f} s before the fence was a success")
        assert booted_s < end_s, f"{loser} still ran when its fence was a success"
        for node in NODES:
            cluster.heal_bmc(node)
        return True

    return plays.network_cut_until(cluster, held_back)


def _booted_at_s(cluster: Cluster, node: str) -> float:
    """When its kernel began, by our clock."""
    guest = cluster.nodes[node]
    now_s, up_s = guest.run("date +%s.%N; cut -d' ' -f1 /proc/uptime", check=True).out.split()
    return float(now_s) - float(up_s) - guest.clock_lead_s()


def second_level(cluster: Cluster) -> Observed:
    """Fencing levels: the first one, by power, cannot succeed: the BMC is dead. The second one is storage alone."""
    disks = frozenset(f"disk-{node}" for node in NODES)
    commands = []
    for node in NODES:
        commands += [
            f"stonith create disk-{node} fence_halvm pcmk_host_list={node} plug={node} vg=shared_vg "
            "op start timeout=60s op monitor interval=60s timeout=60s meta provides=unfencing failure-timeout=60s",
            f"constraint location disk-{node} prefers {failovers.other(node)}=100",
            f"stonith level add 1 {node} fence-{node}",
            f"stonith level add 2 {node} disk-{node}",
        ]
    reconfigured.push(cluster, *commands, resources=level4.all_resources(cluster) | disks)
    check_content(cluster)
    seen = plays.play(cluster, _off_with_its_bmc(cluster), _on_with_its_bmc(cluster))
    assert proofs(cluster, seen.survivor) == [{"storage"}]
    level4.wait_settled(cluster, seen.survivor, resources=level4.all_resources(cluster) | disks)
    return seen


def check_findings(guest: Guest) -> list[str]:
    """What `halvmctl check` finds, but for the times of the lab's iSCSI, which are not those of a site."""
    done = guest.run("halvmctl check --json", timeout_s=180)
    findings = json.loads(done.out)["findings"]
    return [f"{each['weight']}: {each['text']}" for each in findings if not _OF_THE_LAB.search(each["text"])]


def check_content(cluster: Cluster) -> None:
    """Returns when `halvmctl check` finds nothing on either node. It may time out beside the cluster's own monitors."""
    for guest in cluster.nodes.values():
        level4.wait_until(
            f"{guest.name}: halvmctl check finds nothing",
            functools.partial(_finds_nothing, guest),
            240,
            functools.partial(_checked, guest),
        )


def _finds_nothing(guest: Guest) -> bool:
    return not check_findings(guest)


def _checked(guest: Guest) -> str:
    return guest.run("halvmctl check", timeout_s=180).out


def _off_with_its_bmc(cluster: Cluster) -> plays.Fault:
    def fault(node: str) -> None:
        switch(cluster, node, "off")
        cluster.cut_bmc(node)

    return fault


def _on_with_its_bmc(cluster: Cluster) -> plays.Fault:
    def repair(node: str) -> None:
        cluster.heal_bmc(node)
        switch(cluster, node, "on")

    return repair


PLAYS: dict[str, Play] = {
    "proof=self: power off, dead BMC": self_fence_power_off,
    "proof=self: network cut, dead BMCs": self_fence_network_cut,
    "fencing levels: the second one succeeds": second_level,
}
