# SPDX-License-Identifier: Apache-2.0
"""From the call to the victim's last write that landed, for fence_halvm and its peers."""

import shlex
import time
from typing import NamedTuple

from .level3 import DISK, NODES, Cluster
from .user_cluster import BACKING, agent, fence_ipmilan, forget_records, install, revive, start_writer, unfence

A, B = NODES

_NEWEST = """
import sys; sys.path.insert(0, "/run/lab"); import oracle
print(max(r[2] for region in (1, 2) for r in oracle.records("{backing}", region) if r[0] == "{node}"))
"""
_SCSI = f"fence_scsi -d {DISK}"


class Method(NamedTuple):
    """A way to fence serv-0002 from serv-0001."""

    name: str
    command: str
    dead_bmc: bool = False
    peer: bool = False
    """Registered by fence_scsi."""


METHODS = (
    Method("fence_halvm, BMC and LUN (default)", agent(B, "off")),
    Method("fence_halvm, storage alone", agent(B, "off", ipaddr="")),
    Method("fence_halvm, proof=any, BMC dead", agent(B, "off", proof="any"), dead_bmc=True),
    Method("fence_halvm, BMC alone", agent(B, "off", vg="")),
    Method("fence_ipmilan", fence_ipmilan(B)),
    Method("fence_scsi", f"{_SCSI} -o off -k b1", peer=True),
    Method("fence_ipmilan, then fence_scsi; BMC dead", f"{fence_ipmilan(B)}; {_SCSI} -o off -k b1", True, True),
)


class Timing(NamedTuple):
    safe_s: float
    told_s: float
    rc: int


def time_to_safe(cluster: Cluster, method: Method) -> Timing:
    """Two nodes that are up. The times are counted from the call, by one clock."""
    survivor, victim = cluster.nodes[A], cluster.nodes[B]
    if method.peer:
        for node, key in ((survivor, "a1"), (victim, "b1")):
            node.run(f"{_SCSI} -o on -k {key}", check=True)
    else:
        for name in NODES:
            unfence(cluster, name)
    forget_records(cluster)
    start_writer(cluster, B)
    leads = {node.name: node.clock_lead_s() for node in (survivor, victim)}
    if method.dead_bmc:
        cluster.cut_bmc(B)
    try:
        call = f"echo $EPOCHREALTIME; {method.command} >/dev/null 2>&1; echo $? $EPOCHREALTIME"
        start, rc, end = survivor.run(call, timeout_s=200, check=True).out.split()
    finally:
        if method.dead_bmc:
            cluster.heal_bmc(B)
    time.sleep(1)
    script = _NEWEST.format(backing=BACKING, node=B)
    newest = float(cluster.storage.run(f"python3 -c {shlex.quote(script)}", check=True).out)
    began = float(start) - leads[A]
    return Timing(newest - leads[B] - began, float(end) - leads[A] - began, int(rc))


def times(cluster: Cluster, count: int) -> None:
    install(cluster)
    for method in METHODS:
        taken: list[Timing] = []
        for _ in range(count):
            taken.append(time_to_safe(cluster, method))
            cluster.nodes[A].run(f"sg_persist -n -o -I -S 0xa1 {DISK}; sg_persist -n -o -C -K 0xa1 {DISK}")
            cluster.nodes[A].run("rm -rf /run/fence-halvm")
            revive(cluster, B)
        safe, told = (sorted(getattr(each, name) for each in taken) for name in ("safe_s", "told_s"))
        middle = len(taken) // 2
        rcs = ", ".join(sorted({str(each.rc) for each in taken}))
        print(
            f"| {method.name} | {safe[middle]:.2f} ({safe[0]:.2f}-{safe[-1]:.2f}) | "
            f"{told[middle]:.2f} ({told[0]:.2f}-{told[-1]:.2f}) | {rcs} |",
            flush=True,
        )
