# SPDX-License-Identifier: Apache-2.0
"""Level 4 with two paths to the LUN and dm-multipath over them, as the page says it for such a disk, and its plays."""

from collections.abc import Iterator
from contextlib import contextmanager

from . import changes, failovers, level3, level4, plays
from .failovers import Observed
from .fence_plays import proofs
from .guest import Guest
from .installed_disk import MULTIPATH_CONF
from .level3 import STORAGE_ADDRESS, Cluster
from .plays import Play, switch
from .user_cluster import keys

MAP = "/dev/mapper/mpatha"
SECOND_ADDRESS = "10.9.1.4"
"""Of the storage, in the same network. A path is cut by a route on its node."""
ADDRESSES = (STORAGE_ADDRESS, SECOND_ADDRESS)

_SECOND_LOGIN = f"""\
[Service]
ExecStart=/bin/sh -c 'exec lab-login $(hostname) {SECOND_ADDRESS}'
"""
_START = f"""
set -e
systemctl daemon-reload
systemctl --quiet enable --now multipathd
lab-login $(hostname) {SECOND_ADDRESS}
udevadm wait --timeout=120 {MAP}
"""


def give_second_path(cluster: Cluster) -> None:
    """Also at each boot. The volume group must not be there yet: it would keep the one path busy."""
    cluster.storage.run(f"ip address add {SECOND_ADDRESS}/24 dev eth0", check=True)
    for guest in cluster.nodes.values():
        guest.run("mkdir -p /etc/systemd/system/lab-storage.service.d", check=True)
        guest.put("/etc/systemd/system/lab-storage.service.d/second-path.conf", _SECOND_LOGIN)
        guest.put("/etc/multipath.conf", MULTIPATH_CONF)
    level4.on_all(cluster, _START)


@contextmanager
def started() -> Iterator[Cluster]:
    """The cluster of the page with the map in the place of the disk, its service running, each path registered."""
    with level3.restored() as cluster:
        level4.make_bare(cluster)
        give_second_path(cluster)
        level4.run_page(cluster, disk=MAP)
        for guest in cluster.nodes.values():
            wait_paths(guest)
        failovers.listen(cluster)
        yield cluster


def wait_paths(guest: Guest, up: int = len(ADDRESSES)) -> None:
    """Returns when the sidecar feeds, so many paths are up, and these are registered."""
    state = "keepalive" if up == len(ADDRESSES) else "degraded"

    def are_up() -> bool:
        now = changes.sidecar(guest)
        paths = [path for lun in now["luns"] for path in lun["paths"] if path["up"]]
        return now["state"] == state and [path["registered"] for path in paths] == [True] * up

    level4.wait_until(
        f"{guest.name}: {up} paths", are_up, 300, lambda: guest.run("halvm-watchdogd status; multipath -ll").out
    )


def cut(guest: Guest, path: int) -> None:
    """Lets every packet on that path vanish. Nothing tells the initiator."""
    guest.run(f"ip route add blackhole {ADDRESSES[path]}/32", check=True)


def heal(guest: Guest, path: int) -> None:
    guest.run(f"ip route del blackhole {ADDRESSES[path]}/32", check=True)


# --- plays ------------------------------------------------------------------------------------------------------------


def path_lost(cluster: Cluster) -> Observed:
    """The active node loses a path, and has it back; then the standby loses one, and has to take over."""
    victim = level4.active(cluster)
    active, standby = cluster.nodes[victim], cluster.nodes[failovers.other(victim)]
    failovers.start_writer(cluster, victim)
    before = changes.running(cluster, victim)
    cut(active, 0)
    wait_paths(active, up=1)
    changes.wait_records(cluster)
    heal(active, 0)
    wait_paths(active)
    assert keys(active, MAP) == keys(standby, MAP) == [1, 1, 2, 2]
    cut(standby, 0)
    wait_paths(standby, up=1)
    changes.wait_records(cluster)
    assert changes.running(cluster, victim) == before
    changes.assert_no_fence(cluster)
    changes.stop_writer(cluster, victim, before.writer)

    seen = plays.play(cluster, lambda node: switch(cluster, node, "off"), lambda node: heal(standby, 0))
    assert proofs(cluster, seen.survivor) == [{"power", "storage"}]
    for guest in (active, standby):
        wait_paths(guest)
    return seen


def every_path_lost(cluster: Cluster) -> Observed:
    """The sidecar of the active node resets it; the boot ends what cut its paths."""

    def fault(node: str) -> None:
        for path in range(len(ADDRESSES)):
            cut(cluster.nodes[node], path)

    seen = plays.play(cluster, fault)
    for guest in cluster.nodes.values():
        wait_paths(guest)
    return seen


PLAYS: dict[str, Play] = {
    "two paths: one lost on each node, power down": path_lost,
    "two paths: both lost": every_path_lost,
}
