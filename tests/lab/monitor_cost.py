# SPDX-License-Identifier: Apache-2.0
"""What a monitor costs in a node, beside the peers': `python -m tests.lab.monitor_cost [ROUNDS]`.

The processor time of a control group: of all processes that a call starts, also those that outlive it. The calls
are made in turns, on the node that does not run the service, with the options of its stonith devices on standard input.
"""

import statistics
import sys
from collections.abc import Mapping

from . import bmc, failovers, level4
from .guest import Guest
from .level3 import DISK, Cluster, bmc_address

LEAVES_S = 20
"""Until the journal's writer, which outlives the call, has ended."""
_PEER_LOGIN = {"username": bmc.USER, "password": bmc.PASSWORD, "lanplus": "1", "cipher": bmc.CIPHER_SUITE}


def measure(guest: Guest, agent: str, options: Mapping[str, str]) -> float:
    """Milliseconds of the guest's processor. Raises GuestError where the monitor fails."""
    given = "".join(f"{name}={value}\n" for name, value in {"action": "monitor", **options}.items())
    guest.put("/run/monitor-cost.options", given)
    script = f"""
group=/sys/fs/cgroup/monitor-cost
mkdir -p $group
before=$(sed -n 's/^usage_usec //p' $group/cpu.stat)
(echo $BASHPID >$group/cgroup.procs; exec {agent} </run/monitor-cost.options >/run/monitor-cost.said 2>&1)
rc=$?
for i in {{1..{LEAVES_S * 10}}}; do grep -q 'populated 0' $group/cgroup.events && break; sleep 0.1; done
echo $(($(sed -n 's/^usage_usec //p' $group/cpu.stat) - before))
cat /run/monitor-cost.said >&2
exit $rc
"""
    return int(guest.run(script, timeout_s=120, check=True).out) / 1000


def calls(cluster: Cluster, node: str) -> dict[str, tuple[str, dict[str, str]]]:
    """By title: the agent and its options, for monitors of the devices that fence the other node."""
    other = failovers.other(node)
    ours = {"plug": other, "ip": bmc_address(other), "username": bmc.USER, "password": bmc.PASSWORD}
    return {
        "fence_halvm, BMC": ("fence_halvm", ours),
        "fence_ipmilan": ("fence_ipmilan", {"ip": bmc_address(other), **_PEER_LOGIN}),
        "fence_halvm, BMC and vg=": ("fence_halvm", {**ours, "vg": "shared_vg"}),
        "fence_halvm, vg=": ("fence_halvm", {"plug": other, "vg": "shared_vg"}),
        "fence_scsi": ("fence_scsi", {"plug": other, "devices": DISK}),
    }


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with failovers.restored() as cluster:
        node = failovers.other(level4.active(cluster))
        guest, made = cluster.nodes[node], calls(cluster, node)
        guest.put("/run/cluster.key", "a51146d300000001\n")  # of fence_scsi, which was not set up here
        guest.put("/run/cluster.dev", f"{DISK}\n")
        spent: dict[str, list[float]] = {title: [] for title in made}
        for _ in range(rounds + 1):
            for title, (agent, options) in made.items():
                spent[title].append(measure(guest, agent, options))
    print(f"| {rounds} rounds | processor, ms: median (least to most) |")
    print("| --- | ---: |")
    for title, (_, *taken) in spent.items():  # the first of each loads from the disk
        print(f"| {title} | {statistics.median(taken):.0f} ({min(taken):.0f} to {max(taken):.0f}) |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
