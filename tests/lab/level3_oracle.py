# SPDX-License-Identifier: Apache-2.0
"""Fences under load with random faults: no record of a victim may land after a success."""

import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import NamedTuple

from .guest import GuestError
from .level3 import NODES, Cluster, Link, bmc_address
from .places import PROJECT
from .user_cluster import (
    agent,
    ended,
    fence_command,
    forget_records,
    install,
    revive,
    start_writer,
    unfence,
    violations,
    words,
)

A, B = NODES


class Fault(StrEnum):
    """What is done to a fence."""

    LOSS = "30 % packet loss to the BMC, each way"
    VICTIMS_PATH = "the victim's storage path cut and healed"
    CALLERS_PATH = "the caller's storage path cut and healed"
    KILLED = "agent killed and run again"
    SIMULTANEOUS = "simultaneous fence"


class Trial(NamedTuple):
    fault: Fault
    proof: str
    caller: str
    rcs: dict[str, int | None]
    """By node that fenced; None where it was shot."""
    mark: int
    records_after: int
    said: str

    @property
    def succeeded(self) -> bool:
        return 0 in self.rcs.values()

    @property
    def faults(self) -> list[str]:
        found = []
        if self.records_after:
            found.append(f"{self.records_after} records of the victim landed after the success")
        if self.succeeded and not self.mark:
            found.append("the victim had not written: this proves nothing")
        if list(self.rcs.values()).count(0) > 1:
            found.append(f"two winners: {self.rcs}")
        if not self.succeeded and self.fault is not Fault.CALLERS_PATH:
            found.append(f"the fence failed: {self.said}")
        return found


_PROXY = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.rig.udp_proxy import UdpProxy
with UdpProxy((sys.argv[2], 623), address="10.9.2.254", drop=0.3, seed=int(sys.argv[3])) as proxy:
    print(proxy.port, flush=True)
    time.sleep(3600)
"""


def _lossy_port(cluster: Cluster, node: str, seed: int) -> str:
    log = cluster.run_directory / f"proxy-{node}-{seed}"
    with log.open("wb") as output:
        command = [sys.executable, "-c", _PROXY, str(PROJECT), bmc_address(node), str(seed)]
        cluster.enclosure.start(command, output)
    end = time.monotonic() + 10
    while not log.read_text().strip().isdigit():
        if time.monotonic() > end:
            raise GuestError(f"no proxy: {log.read_text()}")
        time.sleep(0.05)
    return log.read_text().strip()


def trial(cluster: Cluster, fault: Fault, chance: random.Random) -> Trial:
    """One fence of two nodes that are up and registered."""
    caller, victim = chance.sample(NODES, 2)
    proof = chance.choice(["power", "any", "all"])
    moment_s, long_s = chance.uniform(0.2, 4), chance.uniform(0.5, 3)
    forget_records(cluster)
    writers = {node: start_writer(cluster, node) for node in NODES}
    options = {"proof": proof, "deadline": "120"}
    if fault is Fault.LOSS:
        options |= {"ipaddr": "10.9.2.254", "ipport": _lossy_port(cluster, victim, chance.randrange(1 << 16))}
    command = agent(victim, "off", **options)
    if fault is Fault.KILLED:
        cluster.nodes[caller].put("/run/lab/words", words(victim, "off", **options))
        once = "fence_halvm </run/lab/words"
        command = f"{once} & sleep {moment_s:.3f}; kill -9 $!; wait $!; {once}"
    jobs = {caller: cluster.nodes[caller].spawn(fence_command(victim, command))}
    if fault is Fault.SIMULTANEOUS:
        other = agent(caller, "off", **options)
        jobs[victim] = cluster.nodes[victim].spawn(fence_command(caller, f"sleep {moment_s / 8:.3f}; {other}"))
    cut = {Fault.VICTIMS_PATH: victim, Fault.CALLERS_PATH: caller}.get(fault)

    def disturb() -> None:
        if cut:
            time.sleep(moment_s)
            cluster.cut(cut, Link.STORAGE)
            time.sleep(long_s)
            cluster.heal(cut, Link.STORAGE)

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    with ThreadPoolExecutor(2) as pool:
        ends = dict(zip(jobs, pool.map(lambda node: ended(cluster, node, jobs[node]), jobs), strict=True))
    disturbing.join()
    rcs = {node: outcome["rc"] if outcome else None for node, outcome in ends.items()}
    winner = next((node for node, rc in rcs.items() if rc == 0), None)
    mark, after = 0, 0
    if winner:
        won = ends[winner]
        assert won is not None
        mark = won["mark"] or 0
        after = violations(cluster, B if winner == A else A, mark)
    for node, writer in writers.items():
        if cluster.is_powered(node):
            cluster.nodes[node].run(f"kill {writer.pid}")
    said = " / ".join(f"{node}: {outcome['output'] if outcome else 'shot'}" for node, outcome in ends.items())
    return Trial(fault, proof, caller, rcs, mark, after, said)


def trials(cluster: Cluster, count: int, chance: random.Random) -> list[Trial]:
    install(cluster)
    made: list[Trial] = []
    fenced: set[str] = set()
    for number in range(count):
        for node in NODES:
            if node in fenced or not cluster.is_powered(node):
                revive(cluster, node)
            elif made:
                continue  # registered as before
            unfence(cluster, node)
        made.append(trial(cluster, list(Fault)[number % len(Fault)], chance))
        each = made[-1]
        # Whoever was aimed at may be shut out although the fence was not a success.
        fenced = {B if node == A else A for node in each.rcs}
        print(
            f"| {each.fault} | {each.proof} | {each.caller} | {each.rcs} | {each.mark} | {each.records_after} | "
            f"{'; '.join(each.faults) or 'none'} |",
            flush=True,
        )
        if not each.succeeded:
            print(f"  {each.said}", file=sys.stderr, flush=True)
    return made
