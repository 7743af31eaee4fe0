# SPDX-License-Identifier: Apache-2.0
"""What stands in for two servers and their storage: two BMCs, a target, a cluster.conf. All on loopback."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fencer.cluster.cluster_conf import Cluster, ClusterNode, merged_attributes, read_cluster
from fencer.cluster.keys import derive_key
from fencer.cluster.problems import problems
from fencer.model import Deadline, KeyScheme, ReservationKey
from fencer.storage.libiscsi import IscsiTransport, IscsiUrl
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import Look
from fencer.storage.nexus import Nexus
from tests.demo.interrupts import Interrupts
from tests.rig.bmc import Bmc
from tests.rig.target import Target

NODES = ("serv-0001", "serv-0002")
IPMI_PORT = 623
IQN = "iqn.2026-11.demo:shared"
INITIATOR = "iqn.2026-11.fence-halvm:"
OBSERVER = INITIATOR + "observer"
AGENT_PATIENCE_S = 120.0
LOOK_S = 60.0
_ROOT = Path(__file__).parents[2]

ONLY_HERE = ("local_node", "state_dir", "journal", "cluster_conf", "verbose")
"""What the demo adds to fenced's lines: on a real node host name, /run and /etc/cluster/cluster.conf say it."""

CLUSTER_CONF = """\
<?xml version="1.0"?>
<cluster name="lvm-cluster" config_version="{version}">
  <cman two_node="1" expected_votes="1"/>
  <clusternodes>
    <clusternode name="serv-0001" nodeid="1">
      <fence><method name="bmc-and-disk"><device name="halvm1"/></method></fence>
      <unfence><device name="halvm1" action="on"/></unfence>
    </clusternode>
    <clusternode name="serv-0002" nodeid="2">
      <fence><method name="bmc-and-disk"><device name="halvm2"/></method></fence>
      <unfence><device name="halvm2" action="on"/></unfence>
    </clusternode>
  </clusternodes>
  <fencedevices>
    <fencedevice name="halvm1" agent="fence_halvm" ipaddr="{bmc1}" login="ADMIN" passwd_script="{script}" lanplus="1" \
devices="{url}"{extra}/>
    <fencedevice name="halvm2" agent="fence_halvm" ipaddr="{bmc2}" login="ADMIN" passwd_script="{script}" lanplus="1" \
devices="{url}"{extra}/>
  </fencedevices>
</cluster>
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One finished run of the agent. began_s: CLOCK_MONOTONIC; began_boot_s: CLOCK_BOOTTIME."""

    stdin: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    began_s: float
    began_boot_s: float
    took_s: float

    @property
    def ended_s(self) -> float:
        return self.began_s + self.took_s

    @property
    def said(self) -> list[str]:
        """stderr without the agent's name at the start of each line."""
        return [line.removeprefix("fence_halvm: ") for line in self.stderr.splitlines()]


def _remove(directory: Path) -> None:
    """Also what a simulator that is being ended writes there meanwhile."""
    for _ in range(40):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.05)


class Stage:
    """Context manager. Everything it starts or writes is gone when it is left."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self._stack = ExitStack()
        self._version = 2
        self.bmcs: dict[str, Bmc] = {}
        self.target = Target(iqn=IQN)

    def __enter__(self) -> Self:
        try:
            with self._interrupts.held():
                self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._interrupts.held():
            self._stack.close()

    def _build(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="halvm-demo-"))
        self._stack.callback(_remove, self._directory)
        for name, address in zip(NODES, _free_addresses(len(NODES)), strict=True):
            self.bmcs[name] = self._stack.enter_context(Bmc(address, IPMI_PORT))
        self._stack.enter_context(self.target)
        script = self._directory / "bmc-password"
        script.write_text("#!/bin/sh\necho ADMIN\n")
        script.chmod(0o700)
        self.configure()

    # --- configuration --------------------------------------------------------------------------------------------

    @property
    def cluster_conf(self) -> Path:
        return self._directory / "cluster.conf"

    def configure(self, extra: Mapping[str, str] | None = None) -> int:
        """Writes cluster.conf, with more attributes for the fence devices; its version."""
        text = CLUSTER_CONF.format(
            version=self._version,
            bmc1=self.bmcs["serv-0001"].address,
            bmc2=self.bmcs["serv-0002"].address,
            script=self._directory / "bmc-password",
            url=self.target.url(1),
            extra="".join(f' {name}="{value}"' for name, value in (extra or {}).items()),
        )
        self.cluster_conf.write_text(text)
        if wrong := problems(self.cluster):
            raise RuntimeError(f"cluster.conf: {wrong[0]}")
        self._version += 1
        return self._version - 1

    @property
    def cluster(self) -> Cluster:
        return read_cluster(str(self.cluster_conf))

    def node(self, name: str) -> ClusterNode:
        return next(node for node in self.cluster.nodes if node.name == name)

    def key(self, name: str) -> ReservationKey:
        """The reservation key that the product derives for a node."""
        cluster = self.cluster
        identity = next(node for node in cluster.identities if node.name == name)
        return derive_key(KeyScheme.NODEID, cluster.name, identity)

    def initiator(self, name: str) -> str:
        return INITIATOR + name

    def reboot(self, name: str) -> None:
        """What a reboot does to a node's /run: the note that it registered in this boot is gone."""
        for path in self._state_dir(name).glob("*"):
            path.unlink()

    # --- what is done ---------------------------------------------------------------------------------------------

    def unfence_lines(self, name: str) -> list[str]:
        """What fenced writes to the agent when node ``name`` joins: its <unfence> device."""
        return self._lines(name, on=name, unfence=True)

    def fence_lines(self, victim: str, on: str) -> list[str]:
        """What fenced on node ``on`` writes to the agent to have ``victim`` fenced."""
        return self._lines(victim, on=on, unfence=False)

    def call(self, lines: Iterable[str]) -> Call:
        """Runs the agent as fenced does: no arguments, name=value lines on stdin."""
        lines = tuple(lines)
        pipe, process = subprocess.PIPE, None
        began_s, began_boot_s = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            with self._interrupts.held():
                process = subprocess.Popen(agent_command(), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            stdout, stderr = process.communicate("".join(f"{line}\n" for line in lines), AGENT_PATIENCE_S)
        finally:
            with self._interrupts.held():
                if process is not None:
                    process.kill()
                    process.wait()
        took_s = time.monotonic() - began_s
        return Call(lines, process.returncode, stdout, stderr, began_s, began_boot_s, took_s)

    def look(self) -> tuple[Look, list[ReservationKey]]:
        """Keys and reservation as a third party reads them from the target; and every registration's key."""
        deadline = Deadline.after(LOOK_S)
        url = self.target.url(1)
        transport = IscsiTransport(IscsiUrl.parse(url), initiator=OBSERVER, isid=1, deadline=deadline)
        lun = LogicalUnit("", url, (Nexus(transport),))
        try:
            return lun.look(deadline), list(lun.nexuses[0].read_keys(deadline).keys)
        finally:
            lun.close()

    def on_disk(self, lba: int, length_bytes: int) -> bytes:
        """The bytes behind the LUN, read past the target."""
        with self.target.image(1).open("rb") as image:
            image.seek(lba * length_bytes)
            return image.read(length_bytes)

    def _lines(self, name: str, on: str, unfence: bool) -> list[str]:
        node = self.node(name)
        ref = node.unfence[0] if unfence else node.fence_methods[0].devices[0]
        merged = merged_attributes(self.cluster, node, ref)
        return [f"{option}={value}" for option, value in merged.items()] + [
            f"{option}={value}" for option, value in self._only_here(on).items()
        ]

    def _only_here(self, on: str) -> dict[str, str]:
        return {
            "local_node": on,
            "state_dir": str(self._state_dir(on)),
            # A writer that is late makes one directory at most: not this one's parent, once that has been removed.
            "journal": str(self._directory / "journal" / "journal.db"),
            "cluster_conf": str(self.cluster_conf),
            "verbose": "1",
        }

    def _state_dir(self, name: str) -> Path:
        return self._directory / f"run-{name}"


def agent_command() -> list[str]:
    """The installed agent of this virtualenv, else the one in the source tree."""
    installed = Path(sys.executable).with_name("fence_halvm")
    return [str(installed)] if installed.exists() else [sys.executable, str(_ROOT / "agents" / "fence_halvm.py")]


def _free_addresses(count: int) -> list[str]:
    """Loopback addresses whose port 623 is free, so that cluster.conf needs no port: as with real BMCs."""
    for net in range(83, 255):
        addresses = [f"127.0.{net}.{50 + number}" for number in range(count)]
        if all(_is_free(address) for address in addresses):
            return addresses
    raise RuntimeError(f"port {IPMI_PORT} is taken on every loopback address tried")


def _is_free(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, IPMI_PORT))
        except OSError:
            return False
        return True
