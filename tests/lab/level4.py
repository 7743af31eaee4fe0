# SPDX-License-Identifier: Apache-2.0
"""Level 4: the cluster of docs/ha-lvm.md on the machines of level 3, set up by that page's commands.

Its snapshot has the running cluster with the present product. Whichever test asks for it first makes it.
"""

import inspect
import json
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from . import level3, pcs, recipe
from .guest import Guest, GuestError
from .images import images_directory
from .level3 import DISK, NODES, Cluster, kind
from .places import LAB, digest, locked, prune, published
from .product import product_directory

A = NODES[0]
MOUNT = "/mnt"
SERVICE = frozenset({"lvm", "FS"})
"""All that is started in maintenance-mode: a stonith device that was stopped with its node fences all the same."""
LAST_SECTION = 6
"""Of the page: what follows looks, changes or undoes."""
SETTLED_S = 600
PAUSE_S = 3
"""Between two questions to a guest: crm_mon alone takes a second of an emulated processor."""

SIDECAR = """\
vg = "shared_vg"
self_fence = "watchdog"
watchdog_timeout_s = 20
probe_interval_s = 4
probe_deadline_s = 4
check_interval_s = 6
answer_deadline_s = 4
grace_s = 15
"""
"""Instead of the page's one line: an emulated CPU that is shared stalls for seconds. The hardware does the reset: an
immediate one leaves 0.3 s to bring the record to the disk, which is not enough here."""

_BARE = r"""
sed -i 's/^\(\s*\)system_id_source = "uname"/\1# system_id_source = "none"/' /etc/lvm/lvm.conf
rm -f /etc/init.d/corosync /etc/init.d/pacemaker
sed -i '/^Before=pacemaker/d' /etc/systemd/system/lab-storage.service
systemd-tmpfiles --create fence-halvm.conf
systemctl daemon-reload
"""
"""Takes a node of level 3 back to where the page begins: Debian's lvm.conf, and what the packages install. Pacemaker
waits for the sidecar alone, as it does with open-iscsi. Without SysV init scripts `systemctl enable` need not run Perl,
which takes an emulated processor a quarter of a minute."""


# --- what the cluster says --------------------------------------------------------------------------------------------


class Status(NamedTuple):
    """What crm_mon says on one node. started: a resource and the node on which it is started."""

    online: frozenset[str]
    unclean: frozenset[str]
    started: dict[str, str]
    quorate: bool


def status(node: Guest) -> Status:
    """Raises GuestError where the node's Pacemaker does not answer."""
    done = node.run("crm_mon -1 --output-as=xml", timeout_s=60)
    if done.rc:
        raise GuestError(f"{node.name}: crm_mon: {done.err or done.out}")
    root = ElementTree.fromstring(done.out)
    nodes = root.findall("./nodes/node")
    started = {}
    for resource in root.iter("resource"):
        where = resource.find("node")
        if resource.get("role") == "Started" and where is not None and resource.get("pending") is None:
            started[str(resource.get("id"))] = str(where.get("name"))
    current = root.find("./summary/current_dc")
    return Status(
        frozenset(str(each.get("name")) for each in nodes if each.get("online") == "true" != each.get("pending")),
        frozenset(str(each.get("name")) for each in nodes if each.get("unclean") == "true"),
        started,
        current is not None and current.get("with_quorum") == "true",
    )


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float, explain: Callable[[], str] = str) -> None:
    """Asks until the condition holds; a guest that does not answer counts as no. Raises GuestError."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except GuestError as error:
            last = f"; {error}"
        else:
            last = ""
        if time.monotonic() > end:
            raise GuestError(f"not within {timeout_s} s: {what}{last}\n{explain()}")
        time.sleep(PAUSE_S)


def all_resources(cluster: Cluster) -> frozenset[str]:
    """What the page's commands create: the service, and a stonith device for each node."""
    return SERVICE.union(f"fence-{node}" for node in cluster.nodes)


def settled(cluster: Cluster, node: str, resources: frozenset[str] | None = None) -> bool:
    """Whether all nodes are online and these resources run, or all of them, as this node sees it."""
    now = status(cluster.nodes[node])
    wanted = all_resources(cluster) if resources is None else resources
    return now.online == set(cluster.nodes) and not now.unclean and set(now.started) >= wanted


def wait_settled(
    cluster: Cluster, node: str, timeout_s: float = SETTLED_S, resources: frozenset[str] | None = None
) -> None:
    guest = cluster.nodes[node]
    wait_until(
        "all nodes online, every resource started",
        lambda: settled(cluster, node, resources),
        timeout_s,
        lambda: guest.run("crm_mon -1 -r -f; journalctl -b --no-pager -n 60 | grep -v qemu-ga").out,
    )


def wait_applied(cluster: Cluster, node: str = A, resources: frozenset[str] | None = None) -> None:
    """Returns when Pacemaker has done what follows from a change of its configuration, and the cluster has settled.

    Right after a change the cluster looks settled, also where the service is to be stopped.
    """
    wait = f"crm_resource --wait --timeout={SETTLED_S}s"
    cluster.nodes[node].run(wait, timeout_s=SETTLED_S + 60, check=True)
    wait_settled(cluster, node, resources=resources)


def mounted(node: Guest) -> bool:
    return f" {MOUNT} ext4 " in node.run("cat /proc/mounts", timeout_s=30, check=True).out


def active(cluster: Cluster) -> str:
    """The one node that has the volume mounted. Raises GuestError where it is none or several."""
    where = [name for name, node in cluster.nodes.items() if mounted(node)]
    if len(where) != 1:
        raise GuestError(f"{MOUNT} is mounted on {where or 'no node'}")
    return where[0]


def set_property(cluster: Cluster, name: str, value: str) -> None:
    command = f"crm_attribute --type crm_config --name {name} --update {value}"
    cluster.nodes[A].run(command, timeout_s=120, check=True)


def set_device_option(cluster: Cluster, option: str, value: str) -> None:
    """Changes all stonith devices while the cluster runs. For that Pacemaker stops and starts the service."""
    for node in cluster.nodes:
        change = f"crm_resource --resource fence-{node} --set-parameter {option} --parameter-value {value}"
        cluster.nodes[A].run(change, timeout_s=120, check=True)
    wait_applied(cluster)


def unfenced_first(node: Guest) -> bool:
    """Whether this node's log has its unfencing before the start of its first resource."""
    unfenced = rf"Operation 'on' targeting {node.name} .*: OK"
    lines = node.run("journalctl -b --no-pager -u pacemaker", timeout_s=60, check=True).out.splitlines()
    on = [number for number, line in enumerate(lines) if re.search(unfenced, line)]
    started = [
        number for number, line in enumerate(lines) if re.search(r"start operation for lvm on \S+: (ok|OK)", line)
    ]
    return bool(on) and all(on[0] < number for number in started)


def history(node: Guest, kind: str) -> list[dict[str, Any]]:
    """The events of a kind in the journal of the node's agent, the newest first."""
    out = node.run("fence_halvm -o history --json --limit=0", timeout_s=60, check=True).out
    return [event for event in map(json.loads, out.splitlines()) if event["kind"] == kind]


# --- how it is set up -------------------------------------------------------------------------------------------------


def on_all(cluster: Cluster, command: str, timeout_s: float = 600) -> None:
    with ThreadPoolExecutor(len(cluster.nodes)) as pool:
        list(pool.map(lambda node: node.run(command, timeout_s=timeout_s, check=True), cluster.nodes.values()))


def run_step(cluster: Cluster, step: recipe.Step, disk: str = DISK) -> None:
    """One block of the page, on the nodes that it names, these side by side. disk: what they have as the shared one."""
    commands = recipe.in_the_lab(step.commands).replace(DISK, disk)
    if packages := recipe.packages(commands):
        commands = f"dpkg-query --show {' '.join(sorted(packages))}\n{recipe.without_installation(commands)}"
    commands = commands.replace("""echo 'vg = "shared_vg"' >""", f"printf %s '{SIDECAR}' >")
    edits, file = recipe.edits(commands)
    before, _, after = commands.partition(edits) if edits else (commands, "", "")
    _run(cluster, step.nodes, recipe.without_copies(before))
    first = cluster.nodes[step.nodes[0]]
    if edits:
        first.put(f"/root/{file}", pcs.edited(first.get(f"/root/{file}").decode(), file, edits))
        _run(cluster, step.nodes, after)
    for path, node, directory in recipe.copies(commands):
        target = f"{directory}{path.rpartition('/')[2]}"
        cluster.nodes[node].put(target, first.get(path))
        mode = first.run(f"stat -c %a {path}", check=True).out.strip()
        cluster.nodes[node].run(f"chmod {mode} {target}", check=True)


def _run(cluster: Cluster, nodes: Sequence[str], commands: str) -> None:
    if commands.strip():
        script = f"set -eu -o pipefail; cd /root\n{commands}"
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda name: cluster.nodes[name].run(script, timeout_s=600, check=True), nodes))


def steps(last: int, first: int = 1, nodes: Sequence[str] = NODES) -> list[recipe.Step]:
    """The blocks of these sections of the page, for two nodes or for three."""
    page = recipe.PAGE.read_text()
    every = recipe.steps(page) if tuple(nodes) == NODES else recipe.steps_of_three(page)
    return [step for step in every if first <= step.at <= last]


def make_bare(cluster: Cluster) -> None:
    """Takes the machines of level 3 back to where the page begins."""
    first = cluster.nodes[A]
    wait_until("the disk answers after the restore", lambda: first.run("vgs shared_vg").rc == 0, 60)
    empty = f"wipefs --all --quiet /dev/shared_vg/ha_lv && vgremove --yes shared_vg && pvremove {DISK}"
    first.run(f"lvchange --activate y shared_vg/ha_lv && {empty}", check=True)
    on_all(cluster, f"set -e\n{_BARE}")


def set_up(cluster: Cluster, say: Callable[[str], None] = lambda what: None) -> None:
    """Runs the page from its beginning."""
    make_bare(cluster)
    run_page(cluster, say)


def run_page(cluster: Cluster, say: Callable[[str], None] = lambda what: None, disk: str = DISK) -> None:
    """Its sections up to the service, on machines that have nothing of it."""
    for step in steps(LAST_SECTION, nodes=tuple(cluster.nodes)):
        run_step(cluster, step, disk)
        say(f"{step.section}: {step.commands.splitlines()[0]}")
    # An emulated processor is always loaded. By default Pacemaker then does one thing at a time on that node.
    set_property(cluster, "load-threshold", "1000%")
    wait_settled(cluster, A)


# --- the snapshot -----------------------------------------------------------------------------------------------------


def snapshot_directory(nodes: Sequence[str] = NODES) -> Path:
    """Where the snapshot of the running cluster is, or would be: it belongs to the page and to the product."""
    page = "".join(step.section + recipe.in_the_lab(step.commands) for step in steps(LAST_SECTION, nodes=nodes))
    sources = (inspect.getsource(each) for each in (set_up, run_page, make_bare, run_step))
    parts = [level3.snapshot_directory(nodes).name, product_directory().name, page, SIDECAR, _BARE, *sources]
    return LAB / "snapshots" / f"{kind('level4', nodes)}-{digest(parts)}"


def make_snapshot(nodes: Sequence[str] = NODES) -> Path:
    """Runs the page's commands on level 3's machines and keeps the cluster that runs then."""
    snapshot = snapshot_directory(nodes)
    with locked(f"{kind('level4', nodes)}."):
        if not snapshot.exists():
            level3.make_snapshot(nodes)
            with published(snapshot) as scratch, level3.restored(nodes=nodes) as cluster:
                set_up(cluster)
                level3.keep(cluster, images_directory(), scratch)
            prune(snapshot.parent, f"{kind('level4', nodes)}-{'?' * 16}")
    return snapshot


@contextmanager
def restored(nodes: Sequence[str] = NODES) -> Iterator[Cluster]:
    """The cluster with its service on one node, until the block ends."""
    with level3.restored(snapshot=make_snapshot(nodes), nodes=nodes) as cluster:
        yield cluster
