# SPDX-License-Identifier: Apache-2.0
"""Runs Pacemaker's fencer as its own regression tests (cts-fencing) do: without a CIB, beside a corosync."""

import re
import subprocess
import time
from types import TracebackType
from typing import Self

from tests.conformance.container import HOST_NAME, Container

DAEMON = "/usr/lib/pacemaker/pacemaker-fenced"
LOG = "/tmp/fencer.log"
READY_S = 30.0
LOCAL, VICTIM = HOST_NAME, "node2"

# The victim is in the list and not there, as a node that is to be fenced.
_COROSYNC = f"""
totem {{
  version: 2
  cluster_name: conformance
  transport: udpu
  crypto_cipher: none
  crypto_hash: none
}}
nodelist {{
  node {{
    ring0_addr: 127.0.0.1
    name: {LOCAL}
    nodeid: 1
  }}
  node {{
    ring0_addr: 127.0.0.2
    name: {VICTIM}
    nodeid: 2
  }}
}}
quorum {{
  provider: corosync_votequorum
  two_node: 1
  wait_for_all: 0
}}
logging {{
  to_logfile: yes
  logfile: /var/log/corosync.log
  to_syslog: no
}}
"""


def corosync(container: Container) -> None:
    """Starts corosync; returns once the node is a member. It ends with the container."""
    container.path("/etc/corosync/corosync.conf").write_text(_COROSYNC)
    container.start("corosync", "-f")
    until = time.monotonic() + READY_S
    while "ready to provide service" not in _text(container, "/var/log/corosync.log"):
        assert time.monotonic() < until, "corosync is not ready"
        time.sleep(0.1)


class Fencer:
    """Context manager: one pacemaker-fenced, and stonith_admin to talk to it."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def __enter__(self) -> Self:
        self.container.path(LOG).unlink(missing_ok=True)
        # Without a CIB: the flag of Pacemaker 2, and what it has become in 3.
        flags = self.container.run(DAEMON, "--help").stdout
        alone = "--stand-alone-w-cpg" if "--stand-alone-w-cpg" in flags else "--stand-alone"
        self._process = self.container.start(DAEMON, alone, "--logfile", LOG, "-VV")
        until = time.monotonic() + READY_S
        while "successfully started" not in self.log:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < until, self.log
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.run("sh", "-c", "for p in /proc/[0-9]*; do case $(readlink $p/exe) in "
                           f"{DAEMON}) kill -9 ${{p#/proc/}};; esac; done")  # fmt: skip
        self._process.wait()

    @property
    def log(self) -> str:
        """All that the fencer has logged."""
        return _text(self.container, LOG)

    def device(self, name: str, hosts: str = VICTIM, **options: object) -> None:
        """Adds a device of our agent."""
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        done = self.admin("-R", name, "-a", "fence_halvm", "-o", f"pcmk_host_list={hosts}", *words)
        assert done.returncode == 0, done.stderr

    def level(self, number: int, *devices: str, node: str = VICTIM) -> None:
        """Puts devices on one level of a node's topology: all of them have to succeed."""
        words = [word for device in devices for word in ("-v", device)]
        done = self.admin("-r", node, "-i", str(number), *words)
        assert done.returncode == 0, done.stderr

    def admin(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """stonith_admin."""
        return self.container.run("stonith_admin", *words)

    def logged(self, *patterns: str) -> None:
        """Asserts that the log has a line for each of these regular expressions, in any order."""
        missing = [pattern for pattern in patterns if not re.search(pattern, self.log)]
        assert not missing, f"not in the log: {missing}\n{self.log}"


def _text(container: Container, path: str) -> str:
    file = container.path(path)
    return file.read_text(errors="replace") if file.exists() else ""
