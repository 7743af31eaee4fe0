"""Remembers which BMC is a node's, so that another one with the same password is noticed (fencer.power.identity).

``monitor`` and ``on`` learn it, in a file a node; it must survive a reboot of this host. Where the file cannot be kept
or read, a fence goes on without: a full disk must not keep a node from being fenced.
"""

import os
from collections.abc import Mapping

from fencer.errors import UsageError
from fencer.light_typing import NamedTuple
from fencer.model import Action, BmcSettings, KnownBmc
from fencer.options import BY_NAME
from fencer.power.identity import BmcIdentity, IdentityKind, parse_guid, parse_identity, tells_apart
from fencer.regular_file import is_private, read_regular_file
from fencer.request import Request

PERSISTENT_DIRECTORY = "/var/lib/fence-halvm"
"""Of these files, unless state_dir is given: its default does not survive a reboot."""
ANY_BMC = "none"
_PREFIX = "bmc-"
_LONGEST_BYTES = 4096
_LONGEST_NAME = 200
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


class _Learnt(NamedTuple):
    """One file. bridge: "0x00" where none is."""

    node: str
    identity: BmcIdentity
    bridge: str


class KnownBmcs:
    """The BMCs that this host has learnt, for one request.

    doubt: why they cannot be relied on; None where they can.
    """

    def __init__(self, request: Request, full: Mapping[str, str]) -> None:
        """Raises UsageError for a bmc_guid that is none."""
        self.doubt: str | None = None
        self._directory = _directory(full["state_dir"])
        self._given = full.get("bmc_guid", "").strip()
        self._bmc = request.bmc
        self._node = ""
        if request.bmc is not None:
            self._node = request.target or f"{request.bmc.address} port {request.bmc.port}"

    def settled(self) -> BmcSettings | None:
        """The settings, with what is known of the BMC."""
        if self._bmc is None or self._given.lower() == ANY_BMC:
            return self._bmc
        if self._given:
            guid = parse_guid(self._given)
            if guid is None:
                raise UsageError(f"bmc_guid: not a GUID: give 32 hexadecimal digits, or {ANY_BMC}")
            return self._bmc._replace(known=KnownBmc(guid, "if the board was replaced, correct bmc_guid"))
        own, others = None, []
        for learnt in self._read():
            if learnt.bridge != _bridge(self._bmc) or learnt.identity.kind is not IdentityKind.IPMI_GUID:
                continue
            if learnt.node == self._node:
                own = learnt.identity.value
            else:
                others.append((learnt.identity.value, learnt.node))
        remedy = (
            f"look which host has this address; if the board was replaced, remove {self._path()} and run the action "
            "monitor again"
        )
        return self._bmc._replace(known=KnownBmc(own, remedy, tuple(others)))

    def learn(self, guid: bytes) -> str | None:
        """Keeps it, where it is not known yet. Why it cannot, or None."""
        if self._bmc is None or self._given or not tells_apart(guid):
            return None
        if len(self._node) > _LONGEST_NAME or "\n" in self._node:
            return None
        if any(learnt.node == self._node for learnt in self._read()):
            return None
        from pathlib import Path

        from fencer.watchdog.replacing import replace_file  # a fence writes none

        identity = BmcIdentity(IdentityKind.IPMI_GUID, guid)
        content = f"node {self._node}\nidentity {identity}\nbridge {_bridge(self._bmc)}\n".encode()
        try:
            replace_file(Path(self._path()), content, 0o600, durable=True)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return f"{self._path()}: {reason}: which BMC is that of {self._node} was not learnt"
        return None

    def _path(self) -> str:
        name = "".join(c if c in _PLAIN else "".join(f"%{byte:02x}" for byte in c.encode()) for c in self._node)
        return os.path.join(self._directory, _PREFIX + name)

    def _read(self) -> list[_Learnt]:
        """All that can be read. Others than root must not say which BMC is whose."""
        try:
            if not is_private(self._directory):
                self.doubt = (
                    f"{self._directory}: others may write to it, so what was learnt of the BMCs is not relied on: make "
                    "it writable by root alone"
                )
                return []
            names = sorted(name for name in os.listdir(self._directory) if name.startswith(_PREFIX))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            self.doubt = f"{self._directory}: {error}: what was learnt of the BMCs is not known"
            return []
        found = []
        for name in names:
            path = os.path.join(self._directory, name)
            try:
                learnt = _parse(read_regular_file(path, _LONGEST_BYTES))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                self.doubt = f"{path}: {reason}: which BMC is this node's is not known: remove the file"
                continue
            found.append(learnt)
        return found


def learns(action: Action) -> bool:
    """Not a fence: what it meets may be the wrong one, and nobody looks."""
    return action in (Action.MONITOR, Action.ON)


def _directory(state_dir: str) -> str:
    return PERSISTENT_DIRECTORY if state_dir == BY_NAME["state_dir"].default else state_dir


def _bridge(bmc: BmcSettings) -> str:
    return f"{bmc.bridge_address or 0:#04x}"


def _parse(content: bytes) -> _Learnt:
    """Raises ValueError."""
    fields = dict(line.partition(" ")[::2] for line in content.decode().splitlines())
    identity = parse_identity(fields.get("identity", ""))
    if identity is None or not fields.get("node") or not fields.get("bridge"):
        raise ValueError("not a file that says which BMC is a node's")
    return _Learnt(fields["node"], identity, fields["bridge"])
