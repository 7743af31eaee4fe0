# SPDX-License-Identifier: Apache-2.0
"""Section 13 of docs/ha-lvm.md: the cluster is taken apart, and the disk is an ordinary one again."""

import time

import pytest

from . import failovers, level4
from .conftest import require_level3
from .level3 import NODES
from .user_cluster import boot_id, keys

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]
SECTION = 13
DISABLE = "pcs resource disable serv --wait\n"
WITHOUT_PCS = """crm_resource --resource serv --meta --set-parameter target-role --parameter-value Stopped
crm_resource --wait --timeout=600s
"""
"""The same without pcs, which takes minutes of an emulated processor."""
WATCHDOGS_S = 45
"""Longer than the timeout of the lab's watchdog, 20 s: one that was left armed resets its node."""
USE = f"""
vgchange --activate y shared_vg && mount /dev/shared_vg/ha_lv {level4.MOUNT} && cat {failovers.FILE}
umount {level4.MOUNT} && vgchange --activate n shared_vg
"""


@pytest.mark.parametrize("moved", [False, True], ids=["as it began", "after the service has moved"])
def test_the_disk_is_an_ordinary_one_again(moved: bool) -> None:
    require_level3()
    with failovers.restored() as cluster:
        active = level4.active(cluster)
        if moved:
            cluster.nodes[active].run(
                f"crm_resource --resource serv --move --node {failovers.other(active)}", check=True
            )
            active = failovers.wait_started(cluster, [failovers.other(active)])
        failovers.start_writer(cluster, active)
        boots = {node: boot_id(cluster, node) for node in NODES}
        steps = level4.steps(SECTION, SECTION)
        assert steps[0].commands == DISABLE
        for step in [steps[0]._replace(commands=WITHOUT_PCS), *steps[1:]]:
            level4.run_step(cluster, step)
        assert keys(cluster.nodes[NODES[0]]) == []
        time.sleep(WATCHDOGS_S)
        assert {node: boot_id(cluster, node) for node in NODES} == boots
        for node in NODES:
            records = cluster.nodes[node].run(f"set -e; {USE}", timeout_s=120, check=True).out.splitlines()
            assert {int(line.split()[0]) for line in records} >= set(range(1, failovers.acknowledged(cluster) + 1))
