# SPDX-License-Identifier: Apache-2.0
"""Level 3, the sidecar as a unit of systemd, and a cluster without BMCs: the survivor takes the disk, the victim resets
itself."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from . import user_cluster as rig
from .guest import GuestError
from .level3 import NODES, Cluster, Link
from .watchdog_rig import CONFIG, ResetWatch

A, B = NODES
TIMEOUT_S = 120
"""A killed daemon is to be started again by then, on a processor that is emulated and shared."""
SNAPSHOT = "/run/fence-halvm/watchdogd.json"

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]


def _snapshot(cluster: Cluster, node: str) -> dict[str, Any]:
    said = cluster.nodes[node].run(f"cat {SNAPSHOT} 2>/dev/null; true").out
    snapshot: dict[str, Any] = json.loads(said) if said else {"state": "", "pid": 0}
    return snapshot


def _wait_feeding(cluster: Cluster, node: str, after_pid: int = 0) -> dict[str, Any]:
    end = time.monotonic() + 240
    while (snapshot := _snapshot(cluster, node))["state"] != "keepalive" or snapshot["pid"] == after_pid:
        if time.monotonic() > end:
            raise GuestError(cluster.nodes[node].run("journalctl -b -u halvm-watchdogd --no-pager | tail -30").out)
        time.sleep(0.3)
    return snapshot


@pytest.fixture(scope="module")
def guarded(cluster: Cluster) -> Iterator[Cluster]:
    """Both nodes unfenced; the first has the volume group active, a writer, and the sidecar as a unit."""
    rig.install(cluster)
    for node in NODES:
        rig.unfence(cluster, node)
    a = cluster.nodes[A]
    a.run("mkdir -p /etc/fence-halvm", check=True)
    a.put(CONFIG, f'vg = "shared_vg"\nwatchdog_timeout_s = {TIMEOUT_S}\n')
    start = "modprobe i6300esb && systemctl daemon-reload && systemctl start --no-block halvm-watchdogd"
    a.run(start, check=True)
    _wait_feeding(cluster, A)
    cluster.activate(A)
    a.run("echo from serv-0001 >/srv/ha/witness && sync", check=True)
    rig.start_writer(cluster, A)
    yield cluster


def test_systemd_starts_a_killed_sidecar_again(guarded: Cluster) -> None:
    """In time: nobody is reset, and its key was never away."""
    before = _snapshot(guarded, A)
    boot = rig.boot_id(guarded, A)
    guarded.nodes[A].run(f"kill -KILL {before['pid']}", check=True)
    after = _wait_feeding(guarded, A, before["pid"])
    assert after["watchdog"]["armed"]
    assert rig.keys(guarded.nodes[B]) == [1, 2]
    assert rig.boot_id(guarded, A) == boot


def test_the_whole_chain_without_a_bmc(guarded: Cluster) -> None:
    a, b = guarded.nodes.values()
    boot = rig.boot_id(guarded, A)
    bound_s = _snapshot(guarded, A)["bound_s"]
    resets = ResetWatch(a)
    try:
        guarded.cut(A, Link.CLUSTER)
        guarded.cut_bmc(A)
        fenced = rig.fence(guarded, B, A, rig.agent(A, "reboot", proof="storage", deadline="60"))
        done_unix_s = time.time()
        assert fenced["rc"] == 0, fenced
        assert "proved by storage" in fenced["output"]
        reset = resets.wait(bound_s + 60)
    finally:
        resets.close()
        guarded.heal_bmc(A)
        guarded.heal(A, Link.CLUSTER)
    assert reset is not None, a.console()[-2000:]
    print(f"the victim reset itself {reset.at_unix_s - done_unix_s:.2f} s after the fence was a success")
    assert not reset.by_hardware
    assert "self-fence: preempted" in a.console()

    guarded.activate(B)
    assert b.run("cat /srv/ha/witness", check=True).out == "from serv-0001\n"
    b.run("echo from serv-0002 >>/srv/ha/witness && sync", check=True)
    assert rig.violations(guarded, A, fenced["mark"]) == 0

    rig.boot(guarded, A)
    assert rig.boot_id(guarded, A) != boot
    print(a.run("halvm-watchdogd last", check=True).out)  # 0.3 s may be too short for its record on this processor
    assert "Invalid exchange" in rig.refused(guarded, A)
    assert rig.violations(guarded, A, fenced["mark"]) == 0
