# SPDX-License-Identifier: Apache-2.0
"""A failover that a real Prometheus watches, at level 3.

serv-0001 runs the service, loses its storage, resets itself; serv-0002 fences it and takes over; serv-0001 comes back.
Both nodes have sidecar and exporter as units, as packaged. Prometheus runs on the host, in the lab's network, with the
shipped rules but for their times (`hurried`): nobody waits half an hour in a test.
"""

import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.alerts.server import Api, arguments

from . import user_cluster as rig
from .guest import GuestError
from .level3 import NODES, Cluster, Link
from .places import PROJECT

A, B = NODES
ADDRESS = "127.0.0.1:9090"  # of the namespace
PORT = 10623
SCRAPE_S = 4
RULES = PROJECT / "packaging/prometheus/fence-halvm.rules.yml"
UNITS = ("halvm-watchdogd.service", "halvm-exporter.service")

SIDECAR = """\
devices = ["naa.6001405fa11000000000000000000000"]
self_fence = "watchdog"
watchdog_timeout_s = 20
probe_deadline_s = 4
answer_deadline_s = 4
grace_s = 15
"""
"""Longer than the defaults: an emulated CPU that is shared stalls for seconds. The hardware does the reset: before an
immediate one, 0.3 s are left to bring the record to the disk, which was not enough here."""

PATIENT = {"deadline": "100", "vg": "", "devices": "naa.6001405fa11000000000000000000000"}
"""For the agent, for the same reason: LVM's pvs, too, takes too long at times."""

FOR_S = 10
AT_ONCE = frozenset({"HalvmFencedNodeNotBack"})
"""Fires while the victim boots, which takes no longer than 20 s."""
SHORTER = {"> time() - 3600": "> time() - 600", "< 3600": "< 600", "< 900": "< 60", "> 1800": "> 1"}
"""How the rules' times are shortened. The rest of each expression is as shipped."""


def hurried() -> str:
    """The shipped rules with every `for` FOR_S (none AT_ONCE), and the periods in expressions as SHORTER says."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "0s" if rule.get("alert") in AT_ONCE else f"{FOR_S}s"
            for words, fewer in SHORTER.items():
                rule["expr"] = re.sub(rf"{re.escape(words)}\b", fewer, rule["expr"])
    return yaml.safe_dump(rules, sort_keys=False, width=1000)


class Moments(NamedTuple):
    """Unix times of what was done or seen by the player."""

    began: float
    cut: float
    silent: float
    fenced: float
    taken_over: float
    back: float
    ended: float


class Story(NamedTuple):
    """fence: the verdict on standard output of the survivor's agent."""

    moments: Moments
    fence: str


def install(cluster: Cluster, node: str) -> None:
    """The configuration. The units are not enabled: a cold boot under emulation has enough to do."""
    guest = cluster.nodes[node]
    guest.run("mkdir -p /etc/fence-halvm", check=True)
    guest.put("/etc/fence-halvm/watchdogd.toml", SIDECAR)
    # For the group that may read the journal.
    guest.run("systemd-tmpfiles --create fence-halvm.conf && systemctl daemon-reload", check=True)


def start(cluster: Cluster, node: str) -> None:
    guest = cluster.nodes[node]
    done = guest.run(f"systemctl start {' '.join(UNITS)}", timeout_s=300)
    if done.rc:
        journal = guest.run(f"journalctl -b --no-pager -n 60 -u {' -u '.join(UNITS)}").out
        raise GuestError(f"{node}: {done.err}\n{journal}")


@contextmanager
def watched(cluster: Cluster, directory: Path) -> Iterator[Api]:
    """A Prometheus in the lab's network that scrapes both nodes."""
    config: dict[str, Any] = yaml.safe_load((PROJECT / "packaging/prometheus/scrape-config.yml").read_text())
    config["global"] = {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"{node}:{PORT}" for node in NODES]
    config["scrape_configs"][0]["relabel_configs"] += [
        {
            "source_labels": ["__address__"],
            "regex": f"{node}:(.*)",
            "replacement": f"10.9.0.{n}:$1",
            "target_label": "__address__",
        }
        for n, node in enumerate(NODES, 1)
    ]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    (directory / "fence-halvm.rules.yml").write_text(hurried())

    def fetch(url: str) -> bytes:
        asked = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=10).read().decode())"
        done = cluster.enclosure.run([sys.executable, "-c", asked, url], check=False)
        if done.returncode:
            raise OSError(done.stderr.strip().rpartition("\n")[2])
        return done.stdout.encode()

    with (directory / "prometheus.log").open("wb") as log:
        cluster.enclosure.start(["prometheus", *arguments(directory, ADDRESS)], log)  # it ends with the enclosure
        yield Api(ADDRESS, fetch)


def play(cluster: Cluster, api: Api) -> Story:
    """The whole failover. Raises TimeoutError where it does not go on."""
    rig.install(cluster)

    def prepare(node: str, other: str) -> None:
        install(cluster, node)
        start(cluster, node)
        cluster.nodes[node].run(
            f"for i in 1 2 3; do {rig.agent(other, 'monitor', **PATIENT)} && break; done", check=True
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(prepare, (A, B), (B, A)))
    cluster.activate(A)
    api.wait_until('count(halvm_sidecar_state{state="keepalive"} == 1) == 2', 60)
    began = time.time()
    time.sleep(8 * SCRAPE_S)  # all is well, for everybody to see

    cut = time.time()
    cluster.cut(A, Link.STORAGE)
    api.wait_until(f'max_over_time(up{{instance="{A}"}}[{4 * SCRAPE_S}s]) == 0', 180)
    silent = time.time()
    # What corosync on the survivor would do now.
    done = cluster.nodes[B].run(rig.agent(A, "reboot", **PATIENT), timeout_s=150, check=True)
    fenced = time.time()
    cluster.heal(A, Link.STORAGE)
    cluster.activate(B)
    taken_over = time.time()

    rig.boot(cluster, A)
    start(cluster, A)
    api.wait_until(f'halvm_sidecar_state{{instance="{A}", state="keepalive"}} == 1', 150)
    back = time.time()
    passing = 'alertname!~"HalvmNodeFencedItself|HalvmWatchdogFedLate"'
    api.wait_until(f'absent(ALERTS{{alertstate="firing", {passing}}})', 120)
    time.sleep(2 * SCRAPE_S)
    return Story(Moments(began, cut, silent, fenced, taken_over, back, time.time()), done.out)
