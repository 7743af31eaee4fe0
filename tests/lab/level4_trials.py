# SPDX-License-Identifier: Apache-2.0
"""Long trials at level 4: `python -m tests.lab.level4_trials compare | failovers COUNT RESULTS [NAMES]`.

* compare: the active node is powered down, or hangs (``--fault hang``: its chassis is on then), under fence_halvm
  (reboot, off, and storage alone), fence_ipmilan and fence_scsi in turn, COUNT times each; NAMES: only under these.
* failovers: COUNT failovers, of each kind of plays.py in turn; NAMES: of these kinds, also of fence_plays.py and
  changes.py. With --seed kind and moment are random.

Each trial has a fresh cluster. Its result becomes a line of JSON in the file RESULTS: an interrupted run goes on
where it stopped. At the end comes a table for docs/ha-lvm.md.
"""

import argparse
import json
import random
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from . import bmc, changes, failovers, fence_plays, level4, plays
from .failovers import Observed, Times
from .guest import GuestError
from .level3 import DISK, NODES, Cluster, bmc_address
from .user_cluster import keys

A, B = NODES

LATEST_S = 6.0
"""Until a play begins where its moment is random. The snapshot from which it starts is always the same."""

_UNFENCING = (
    '<meta_attributes id="scsi-meta"><nvpair id="scsi-unfence" name="provides" value="unfencing"/></meta_attributes>'
)


def _device(name: str, agent: str, hosts: str, meta: str = "", **options: str) -> str:
    given = {"pcmk_host_list": hosts, **options}
    pairs = "".join(f'<nvpair id="{name}-{key}" name="{key}" value="{value}"/>' for key, value in given.items())
    return (
        f'<primitive id="{name}" class="stonith" type="{agent}">'
        f'<instance_attributes id="{name}-options">{pairs}</instance_attributes>{meta}'
        f'<operations><op id="{name}-monitor" name="monitor" interval="60s" timeout="60s"/>'
        f'<op id="{name}-start" name="start" interval="0" timeout="60s"/></operations></primitive>'
    )


def _ipmilan(node: str) -> str:
    login = {"username": bmc.USER, "password": bmc.PASSWORD, "lanplus": "1", "cipher": bmc.CIPHER_SUITE}
    return _device(f"fence-{node}", "fence_ipmilan", node, ip=bmc_address(node), **login)


PEERS = {
    "fence_ipmilan": {f"fence-{node}": _ipmilan(node) for node in NODES},
    "fence_scsi": {
        "scsi": _device("scsi", "fence_scsi", " ".join(NODES), _UNFENCING, devices=DISK, pcmk_reboot_action="off")
    },
}
"""Stonith devices in the place of ours: resource id and CIB text. fence_scsi's victim stays off."""
OFF = "fence_halvm, off"
"""Ours, where the victim stays off, as with fence_scsi."""
STORAGE_ALONE = "fence_halvm, storage alone"
"""Ours as fence_scsi is set up: one device for all nodes, no BMC, the victim stays off. The sidecars run on."""
METHODS = ("fence_halvm", OFF, STORAGE_ALONE, *PEERS)

EVERY_PLAY = {**plays.PLAYS, **fence_plays.PLAYS, **changes.PLAYS}

_STORAGE_DEVICE = _device(
    "storage", "fence_halvm", " ".join(NODES), _UNFENCING, vg="shared_vg", pcmk_reboot_action="off"
)


def use_peer(cluster: Cluster, devices: dict[str, str]) -> None:
    """Replaces our devices. The sidecar, which guards our keys, is stopped, and the LUN is cleared."""
    level4.set_property(cluster, "maintenance-mode", "true")
    level4.on_all(cluster, "systemctl stop halvm-watchdogd")
    _replace_devices(cluster, devices, lambda: clear_lun(cluster))


def use_storage_alone(cluster: Cluster) -> None:
    """Replaces our two devices by one."""
    level4.set_property(cluster, "maintenance-mode", "true")
    _replace_devices(cluster, {"storage": _STORAGE_DEVICE})


def _replace_devices(cluster: Cluster, devices: dict[str, str], meanwhile: Callable[[], None] = lambda: None) -> None:
    a = cluster.nodes[A]
    for node in NODES:
        for element in (f"rsc_location[@rsc='fence-{node}']", f"primitive[@id='fence-{node}']"):
            a.run(f'cibadmin --delete --xpath "//{element}"', timeout_s=120, check=True)
    meanwhile()
    for device in devices.values():
        a.run(f"cibadmin --create -o resources --xml-text '{device}'", timeout_s=120, check=True)
    for node in NODES:
        if f"fence-{node}" in devices:
            prefers = f'<rsc_location id="where-{node}" rsc="fence-{node}" node="{failovers.other(node)}" score="100"/>'
            a.run(f"cibadmin --create -o constraints --xml-text '{prefers}'", timeout_s=120, check=True)
    level4.set_property(cluster, "maintenance-mode", "false")
    level4.wait_applied(cluster, resources=frozenset({*devices, "lvm", "FS"}))


def clear_lun(cluster: Cluster) -> None:
    """Takes all keys off. The sidecar's end may have taken its own node's."""
    clear = f"for key in $(sg_persist -n -i -k {DISK} | grep -o '0x.*'); do sg_persist -n -o -C -K $key {DISK}; done"
    for node in cluster.nodes.values():
        node.run(clear, timeout_s=60)
    assert keys(cluster.nodes[A]) == []


FAULTS: dict[str, Callable[[Cluster, str], None]] = {
    "power-down": partial(plays.switch, what="off"),
    "hang": plays.freeze,
}
"""What becomes of the active node where methods are compared. After a power down its chassis is found off."""


def take_over(cluster: Cluster, method: str, fault: str) -> Observed:
    """One fault of the active node, until the volume is mounted on the other one."""
    if method in PEERS:
        use_peer(cluster, PEERS[method])
    elif method == OFF:
        level4.set_device_option(cluster, "pcmk_reboot_action", "off")
    elif method == STORAGE_ALONE:
        use_storage_alone(cluster)
    seen = failovers.strike(cluster, lambda node: FAULTS[fault](cluster, node))
    seen = failovers.wait_taken_over(cluster, seen)
    failovers.check_survivor(cluster, seen)
    return seen


def run(
    trials: Sequence[tuple[str, float]], play: Callable[[Cluster, str], Observed], results: Path
) -> list[dict[str, Any]]:
    """Plays what is missing in the file of results, one after the other, each on a fresh cluster.

    trials: names, and after how many seconds each begins.
    """
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for name, after_s in trials[len(done) :]:
        with failovers.restored() as cluster:
            time.sleep(after_s)
            try:
                times = failovers.times(cluster, play(cluster, name))
                result: dict[str, Any] = {"name": name, "fault": "", **times._asdict()}
            except (AssertionError, GuestError) as error:
                result = {"name": name, "fault": f"{str(error) or type(error).__name__}\n{where(error)}"}
        done.append(result)
        with results.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print({**result, "fault": result["fault"].partition("\n")[0]}, flush=True)
    return done


def where(error: BaseException) -> str:
    """The lines that led to it: an assertion has no text of its own here."""
    frames = traceback.extract_tb(error.__traceback__)
    return "\n".join(f"{each.filename}:{each.lineno}: {each.line}" for each in frames)


def at_random(kinds: Sequence[str], count: int, seed: int) -> list[tuple[str, float]]:
    """Kinds, and for each after how many seconds it begins. More of them begin with the same ones."""
    random_ = random.Random(seed)
    return [(random_.choice(kinds), random_.uniform(0, LATEST_S)) for _ in range(count)]


def table(results: Sequence[dict[str, Any]]) -> str:
    """Seconds from the fault to the end of each step: median (least to most) by name."""
    lines = [
        "| | played | faults | " + " | ".join(Times._fields) + " |",
        "| --- | --- | --- |" + " --- |" * len(Times._fields),
    ]
    for name in dict.fromkeys(each["name"] for each in results):
        mine = [each for each in results if each["name"] == name]
        cells = [name, str(len(mine)), str(sum(bool(each["fault"]) for each in mine))]
        for step in Times._fields:
            seconds = sorted(each[step] for each in mine if each.get(step) is not None)
            median = f"{statistics.median(seconds):.1f} ({seconds[0]:.1f} to {seconds[-1]:.1f})" if seconds else "-"
            cells.append(median)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.level4_trials")
    parser.add_argument("what", choices=["compare", "failovers"])
    parser.add_argument("count", type=int)
    parser.add_argument("results", type=Path)
    parser.add_argument("names", nargs="*", help=", ".join([*METHODS, *EVERY_PLAY]))
    parser.add_argument("--fault", choices=FAULTS, default="power-down", help="of compare")
    parser.add_argument("--seed", type=int, help="of failovers: kind and moment are random")
    given = parser.parse_args(argv)
    if given.what == "compare":
        trials = [(method, 0.0) for method in given.names or METHODS] * given.count
        results = run(trials, partial(take_over, fault=given.fault), given.results)
    else:
        kinds = [*(given.names or plays.PLAYS)]
        if given.seed is None:
            trials = ([(kind, 0.0) for kind in kinds] * given.count)[: given.count]
        else:
            trials = at_random(kinds, given.count, given.seed)
        results = run(trials, lambda cluster, name: EVERY_PLAY[name](cluster), given.results)
    print(table(results))
    return int(any(each["fault"] for each in results))


if __name__ == "__main__":
    sys.exit(main())
