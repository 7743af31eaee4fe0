# SPDX-License-Identifier: Apache-2.0
"""The two nodes of docs/ha-lvm.md in containers: corosync and Pacemaker with that page's configuration.

Each node has a BMC, and both have one LUN of tgtd's, which the agent reaches by libiscsi. There is no LVM, no kernel of
their own and no watchdog: a dummy stands for the volume and its file system. Virtual machines have these (tests/lab).
"""

import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.conformance.container import PROJECT, Container
from tests.lab import recipe
from tests.rig.bmc import Bmc
from tests.rig.target import Target

A, B = NODES = ("serv-0001", "serv-0002")
ADDRESSES = ("192.168.10.11", "192.168.10.12")
BMCS = ("192.168.1.50", "192.168.1.51")
STORAGE = "192.168.1.60"
CIB = PROJECT / "tests/contract/golden/ha-lvm.cib"
STARTED_S = 120
_HOSTS = "127.0.0.1 localhost\n" + "".join(f"{at} {name}\n" for at, name in zip(ADDRESSES, NODES, strict=True))
_PASSWORD_SCRIPT = "mkdir -p /etc/cluster && cd /etc/cluster && printf '#!/bin/sh\\necho ADMIN\\n' >bmc-password"
_LOG = "/var/log/pacemaker/pacemaker.log"


def corosync_conf() -> str:
    """The page's."""
    found = re.search(r"corosync\.conf <<'END'\n(.*?)^END$", recipe.PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def with_the_page_s(cib: str, devices: str) -> str:
    """A CIB with the resources that the page makes: the LUN by its URL, a dummy for volume and file system."""
    root, page = ElementTree.fromstring(cib), ElementTree.parse(CIB).getroot()
    ours, theirs = root.find("configuration"), page.find("configuration")
    assert ours is not None
    assert theirs is not None
    for name in ("resources", "constraints", "rsc_defaults"):
        for old in ours.findall(name):
            ours.remove(old)
        ours.extend(theirs.findall(name))
    for pair in ours.iterfind("resources/primitive/instance_attributes/nvpair[@name='vg']"):
        pair.attrib.update(name="devices", value=devices)
    (group,) = ours.iterfind("resources/group")
    volume, file_system = group.findall("primitive")
    group.remove(volume)
    file_system.attrib.update(provider="pacemaker", type="Dummy")
    file_system[:] = [child for child in file_system if child.tag != "instance_attributes"]
    return ElementTree.tostring(root, encoding="unicode")


class TwoNodes:
    """Context manager: both nodes online, the service not yet configured. root: of a Debian suite."""

    def __init__(self, root: Path) -> None:
        self._root, self._stack = root, ExitStack()
        self.nodes: dict[str, Container] = {}
        self.bmcs: dict[str, Bmc] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._make(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def configure(self) -> None:
        first = self.nodes[A]
        cib = first.run("cibadmin", "--query").stdout
        first.path("/root/halvm.cib").write_text(with_the_page_s(cib, self._target.url()))
        done = first.run("cibadmin", "--replace", "--xml-file", "/root/halvm.cib")
        assert done.returncode == 0, done.stderr

    def power_down(self, node: str) -> None:
        self.bmcs[node].power = "off"
        self.nodes[node].kill()

    def runs(self, resource: str, node: str, seen_by: str) -> bool:
        shown = self.nodes[seen_by].run("crm_mon", "--one-shot").stdout
        return re.search(rf"{resource}\s.*Started {node}\b", shown) is not None

    def log(self, node: str) -> str:
        return self.nodes[node].path(_LOG).read_text(errors="replace")

    def wait_until(self, what: str, condition: Callable[[], bool], node: str, timeout_s: float = STARTED_S) -> None:
        """Fails with the end of the node's log."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"not within {timeout_s} s: {what}\n{self.log(node)[-6000:]}"
            time.sleep(0.5)

    def _make(self, stack: ExitStack) -> None:
        world = stack.enter_context(Container(self._root, "world"))
        self.nodes = {name: stack.enter_context(Container(self._root, name)) for name in NODES}
        # Without an address of its own a bridge takes that of one of its ports, and has another one when that goes.
        world.ip("link", "add", "name", "world0", "address", "52:54:00:00:00:fe", "type", "bridge")
        world.ip("link", "set", "world0", "up")
        for address in (*BMCS, STORAGE):
            world.ip("address", "add", f"{address}/24", "dev", "world0")
        for number, node in enumerate(self.nodes.values(), 1):
            port = f"port{number}"
            world.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(node.first))
            world.ip("link", "set", port, "master", "world0", "up")
            for network in ("192.168.10.1", "192.168.1.1"):
                node.ip("address", "add", f"{network}{number}/24", "dev", "eth0")
            node.ip("link", "set", "eth0", "up")
        with world.network():
            self.bmcs = {name: stack.enter_context(Bmc(at, 623)) for name, at in zip(NODES, BMCS, strict=True)}
            self._target = stack.enter_context(Target(address=STORAGE))
        self._start()

    def _start(self) -> None:
        self.nodes[A].run("corosync-keygen", "-l")
        key = self.nodes[A].path("/etc/corosync/authkey").read_bytes()
        for node in self.nodes.values():
            node.path("/etc/hosts").write_text(_HOSTS)
            node.path("/etc/corosync/corosync.conf").write_text(corosync_conf())
            node.path("/etc/corosync/authkey").write_bytes(key)
            done = node.run("sh", "-ec", f"rm -f /var/lib/pacemaker/cib/*; {_PASSWORD_SCRIPT}; chmod 700 bmc-password")
            assert done.returncode == 0, done.stderr
            for daemon in ("corosync", "pacemakerd"):
                node.start("sh", "-c", f"exec {daemon} -f >/var/log/{daemon}.out 2>&1")

        def online() -> bool:
            return f"Online: [ {A} {B} ]" in self.nodes[A].run("crm_mon", "--one-shot").stdout

        self.wait_until("both nodes are online", online, A)
