# SPDX-License-Identifier: Apache-2.0
"""docs/ha-lvm.md on a Debian that has nothing of it, word for word but for the addresses, apt-get, scp and pcs too.

FENCE_HALVM_LAB_SUITE=trixie plays it on Debian 13.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import failovers, fresh, images, level4, plays, recipe
from .conftest import PROGRAMS, require
from .guest import Guest
from .level3 import NODES, Cluster

A, B = NODES
STEP_S = 3000
LOOK_SECTION = 7
pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(9000)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    require(images.images_directory(), (*PROGRAMS, "debootstrap", "ipmi_sim", "ipmitool"))
    with fresh.started() as started:
        yield started


def _run(cluster: Cluster, step: recipe.Step) -> list[str]:
    """One block of the page. What it printed on each of its nodes."""
    began = time.monotonic()
    with ThreadPoolExecutor(len(step.nodes)) as pool:
        said = list(pool.map(lambda name: _shell(cluster.nodes[name], recipe.in_the_lab(step.commands)), step.nodes))
    print(f"{time.monotonic() - began:6.0f} s  {step.section}: {step.commands.splitlines()[0]}", flush=True)
    return said


def _shell(guest: Guest, commands: str) -> str:
    """Runs commands as root in /root. While packages are installed, a guest may not answer for a minute."""
    guest.put("/root/.step", f"cd /root\n{_END}\nset -eu -o pipefail\n{commands}".encode())
    guest.run("rm -f /root/.ended; setsid nohup bash /root/.step >/root/.said 2>&1 </dev/null &", check=True)
    level4.wait_until(
        f"{guest.name}: {commands.splitlines()[0]}", lambda: guest.run("cat /root/.ended").out != "", STEP_S,
        lambda: guest.run("tail -n 40 /root/.said").out,
    )  # fmt: skip
    said = guest.run("cat /root/.said", check=True).out
    assert guest.run("cat /root/.ended").out.strip() == "0", f"{guest.name}: {commands}\n{said[-4000:]}"
    return said


_END = "trap 'echo $? >.ended.new; mv .ended.new .ended' EXIT"


def test_the_page_word_for_word(cluster: Cluster) -> None:
    assert all(guest.run("command -v pcs lvm corosync fence_halvm").out == "" for guest in cluster.nodes.values())
    for step in level4.steps(level4.LAST_SECTION):
        _run(cluster, step)
    level4.wait_settled(cluster, A, timeout_s=1800)
    assert all(level4.unfenced_first(guest) for guest in cluster.nodes.values())
    for step in level4.steps(LOOK_SECTION, LOOK_SECTION):
        # 3: warnings alone. There is one, about the times of the lab's iSCSI.
        commands = step.commands.replace("halvmctl check\n", "halvmctl check || test $? -eq 3\n")
        for said in _run(cluster, step._replace(commands=commands)):
            print(said)
    assert level4.active(cluster) == A
    failovers.listen(cluster)
    seen = plays.power_down(cluster)
    print(failovers.times(cluster, seen))
    assert (seen.victim, seen.survivor) == (A, B)
    seen = plays.play(cluster, lambda node: _fence_by_pcs(cluster, node))
    print("pcs stonith fence:", failovers.times(cluster, seen))
    assert (seen.victim, seen.survivor) == (B, A)


def _fence_by_pcs(cluster: Cluster, node: str) -> None:
    """As a person has the cluster fence a node."""
    cluster.nodes[failovers.other(node)].run(f"pcs stonith fence {node}", timeout_s=300, check=True)
