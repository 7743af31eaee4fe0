# SPDX-License-Identifier: Apache-2.0
"""Section 10 of docs/ha-lvm.md, by its commands: dlm_controld fences a node, lvmlockd lets the other one take over."""

from collections.abc import Iterator

import pytest

from . import failovers, level3, level4, plays
from .conftest import require_level3
from .guest import GuestError
from .level3 import NODES, Cluster
from .user_cluster import boot_id, keys

A, B = NODES
DLM_SECTION = 10
pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    require_level3()
    with level3.restored() as restored:
        level4.make_bare(restored)
        for step in [*level4.steps(4), *level4.steps(DLM_SECTION, DLM_SECTION)]:
            level4.run_step(restored, step)
        failovers.listen(restored)
        yield restored


def activates(cluster: Cluster, node: str) -> bool:
    """Whether the volume can be activated there, and alone."""
    return cluster.nodes[node].run("lvchange --activate ey shared_vg/ha_lv", timeout_s=120).rc == 0


def test_a_node_takes_over_only_what_was_fenced(cluster: Cluster) -> None:
    assert keys(cluster.nodes[B]) == [1, 2], "dlm_controld unfences each node"
    assert level4.active(cluster) == A
    assert not activates(cluster, B)

    seen = failovers.strike(cluster, lambda node: plays.switch(cluster, node, "off"))
    level4.wait_until(f"{B} may activate the volume", lambda: activates(cluster, B), 300, lambda: explain(cluster))
    (fence,) = level4.history(cluster.nodes[B], "fence")
    assert (fence["outcome"], fence["target"], fence["action"]) == ("success", A, "reboot")
    assert set(fence["proofs"]) == {"power", "storage"}
    cluster.nodes[B].run(f"mount /dev/shared_vg/ha_lv {level4.MOUNT}", check=True)
    failovers.start_writer(cluster, B)

    def back() -> bool:
        return boot_id(cluster, A) != seen.boots[A] and keys(cluster.nodes[B]) == [1, 2] and _has_the_locks(cluster)

    level4.wait_until(f"{A} is back", back, 600, lambda: explain(cluster))
    assert not activates(cluster, A)
    failovers.check(cluster, seen)


def _has_the_locks(cluster: Cluster) -> bool:
    """Whether the group's lockspace has both nodes again."""
    return "members       1 2" in cluster.nodes[A].run("dlm_tool ls lvm_shared_vg", timeout_s=60).out


def explain(cluster: Cluster) -> str:
    journal = "journalctl -b --no-pager -n 100 -u dlm -u lvmlockd -u lvmlocks"
    asked = f"dlm_tool status; dlm_tool ls; fence_halvm -o history; {journal}"
    texts = []
    for name, node in cluster.nodes.items():
        try:
            texts.append(f"{name}\n{node.run(asked, timeout_s=60).out}")
        except GuestError as error:
            texts.append(str(error))
    return "\n".join(texts)
