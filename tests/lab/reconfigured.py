# SPDX-License-Identifier: Apache-2.0
"""Changes the configuration of the running cluster of level 4, as its administrator does: by pcs, pushed at once."""

import xml.etree.ElementTree as ElementTree

from . import level4, pcs
from .guest import GuestError
from .level3 import NODES, Cluster

A = NODES[0]
FILE = "halvm.cib"


def push(cluster: Cluster, *commands: str, resources: frozenset[str] | None = None) -> None:
    """Returns when all nodes are online, and these resources, or all of the page's, are started again.

    commands: of pcs, without `pcs -f FILE`. Raises RuntimeError where pcs refuses one.
    """
    guest = cluster.nodes[A]
    before = guest.run("cibadmin --query", timeout_s=60, check=True).out
    edited = pcs.edited(before, FILE, "".join(f"pcs -f {FILE} {command}\n" for command in commands))
    configuration = ElementTree.fromstring(edited).find("configuration")
    if configuration is None:
        raise GuestError(f"pcs left no configuration: {edited}")
    guest.put(f"/root/{FILE}", ElementTree.tostring(configuration))
    replace = f"cibadmin --replace --scope configuration --xml-file /root/{FILE}"
    guest.run(replace, timeout_s=120, check=True)
    level4.wait_applied(cluster, resources=resources)


def options(cluster: Cluster, **values: str) -> list[str]:
    """The commands that set options of all nodes' stonith devices."""
    words = " ".join(f"{name}={value}" for name, value in values.items())
    return [f"stonith update fence-{node} {words}" for node in cluster.nodes]
