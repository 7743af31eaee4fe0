# SPDX-License-Identifier: Apache-2.0
"""The nodes of a small cluster, each with its own state directory and its own way of calling the agent."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fencer.cluster.keys import NodeIdentity, derive_key
from fencer.model import Deadline, KeyScheme, ReservationKey
from fencer.storage.libiscsi import IscsiTransport, IscsiUrl
from fencer.storage.look import guard_key
from fencer.storage.nexus import Nexus
from fencer.storage.pr import RegisteredKeys, Reservation
from fencer.storage.transport import ScsiStatus
from tests.rig.bmc import Bmc
from tests.rig.target import Target

AGENT = Path(__file__).parents[1] / "rig" / "unhurried_agent.py"
CLUSTER = "lvm-cluster"
NAMES = ("serv-0001", "serv-0002")
CALL_S = 200.0


@dataclass(frozen=True)
class Answer:
    status: int
    stdout: str
    stderr: str


class Node:
    """One node. urls: its shared LUNs."""

    def __init__(self, number: int, directory: Path, urls: list[str]) -> None:
        self.name = NAMES[number]
        self.key: ReservationKey = derive_key(KeyScheme.NODEID, CLUSTER, NodeIdentity(self.name, number + 1, number))
        self.urls = urls
        self.state_dir = directory / f"{self.name}.run"
        self.conf = directory / "cluster.conf"
        self.python = [sys.executable, "-P"]
        """What starts the agent."""
        if not self.conf.exists():
            nodes = "".join(f'<clusternode name="{name}" nodeid="{n}"/>' for n, name in enumerate(NAMES, 1))
            self.conf.write_text(
                f'<cluster name="{CLUSTER}" config_version="1"><clusternodes>{nodes}</clusternodes></cluster>'
            )

    def options(self, action: str, plug: str, **more: object) -> Mapping[str, str]:
        basic = {
            "action": action,
            "plug": plug,
            "devices": ",".join(self.urls),
            "cluster_conf": str(self.conf),
            "local_node": self.name,
            "state_dir": str(self.state_dir),
            "journal": str(self.conf.with_name("journal.db")),
        }
        return basic | {name: str(value) for name, value in more.items()}

    def start(self, action: str, plug: str, **more: object) -> "subprocess.Popen[str]":
        """The stdin form, as fenced writes it."""
        process = subprocess.Popen(
            [*self.python, str(AGENT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = [
            "agent=fence_halvm",
            "verbose=1",  # or a success says nothing on stderr
            *(f"{name}={value}" for name, value in self.options(action, plug, **more).items()),
        ]
        assert process.stdin is not None
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, action: str, plug: str, **more: object) -> Answer:
        return finish(self.start(action, plug, **more))

    def typed(self, action: str, plug: str, *flags: str, **more: object) -> Answer:
        """The command line."""
        argv = [f"--{name.replace('_', '-')}={value}" for name, value in self.options(action, plug, **more).items()]
        return _run([*argv, *flags])

    def by_hand(self, action: str, plug: str) -> Answer:
        """The command line, its devices from cluster.conf."""
        options = self.options(action, plug)
        names = ("action", "plug", "cluster_conf", "local_node", "state_dir", "journal")
        return _run([f"--{name.replace('_', '-')}={options[name]}" for name in names])

    def unfence(self) -> Answer:
        return self.call("on", self.name)

    def forget(self) -> None:
        """What a reboot does to /run."""
        for path in self.state_dir.glob("*"):
            path.unlink()

    def reboot(self) -> None:
        """What a reboot leaves of a state directory on a disk: the marker is another boot's."""
        marker = self.state_dir / "registered.json"
        marker.write_text(json.dumps(json.loads(marker.read_text()) | {"boot_id": "an earlier boot"}))


def _run(argv: list[str]) -> Answer:
    done = subprocess.run(
        [sys.executable, "-P", str(AGENT), *argv], capture_output=True, text=True, timeout=CALL_S, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def finish(process: "subprocess.Popen[str]") -> Answer:
    stdout, stderr = process.communicate(timeout=CALL_S)
    return Answer(process.returncode, stdout, stderr)


class Witness:
    """A session of its own, as a node's kernel would have: looks, and writes under a key that it may be given."""

    def __init__(self, url: str, name: str = "witness", key: ReservationKey | None = None) -> None:
        self._transport = IscsiTransport(
            IscsiUrl.parse(url),
            initiator=f"iqn.2026-11.test.fence-halvm:{name}",
            isid=0x77,
            deadline=Deadline.after(60),
        )
        self.nexus = Nexus(self._transport)
        if key is not None:
            self.nexus.register_and_ignore(key, False, Deadline.after(60))

    def keys(self) -> RegisteredKeys:
        return self.nexus.read_keys(Deadline.after(60))

    def reservation(self) -> Reservation:
        return self.nexus.read_reservation(Deadline.after(60))

    def write(self) -> ScsiStatus:
        """One block, repeated through unit attentions as a kernel would."""
        cdb = bytes((0x2A, 0, 0, 0, 0, 8, 0, 0, 1, 0))
        while True:
            reply = self._transport.execute(cdb, data_out=bytes(512), timeout_s=60)
            if reply.sense is None or reply.sense.key != 6:
                return reply.status

    def close(self) -> None:
        self._transport.close()


def bmc_options(bmc: Bmc, **more: object) -> dict[str, object]:
    return {"ip": bmc.address, "ipport": bmc.port, "username": "ADMIN", "password": "ADMIN", "cipher": 3} | more


def fenced(target: Target, victim: Node) -> bool:
    """By the LUNs alone: the key gone from all of them, a reservation held."""
    ok = True
    for url in target.urls:
        witness = Witness(url)
        keys = witness.keys().keys
        ok = ok and not {victim.key, guard_key(victim.key)} & set(keys) and witness.reservation().type is not None
        witness.close()
    return ok


def dead_bmc() -> dict[str, object]:
    """A loopback address where no program listens."""
    return {"ip": "127.0.0.99", "ipport": 9, "username": "ADMIN", "password": "ADMIN", "login_timeout": 1}


def listing(url: str) -> object:
    """Generation and keys: any PERSISTENT RESERVE OUT but RESERVE and RELEASE moves them."""
    witness = Witness(url)
    try:
        return witness.keys()
    finally:
        witness.close()
