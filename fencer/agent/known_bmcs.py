# SPDX-License-Identifier: Apache-2.0
"""Stores the GUID of each node's BMC, so that another BMC with the same password is refused (fencer.power.identity).

``monitor`` and ``on`` learn the GUID; so does a fence that saw the chassis go from on to off. There is one file for
each BMC of a node, since a node with two power supplies may have two BMCs. The files survive a reboot of this host. A
fence goes on where they cannot be read or written: a full disk must not prevent a fence.
"""

import os
from collections.abc import Mapping

from fencer._typing import NamedTuple
from fencer.agent.request import Request
from fencer.cluster.membership import Membership
from fencer.errors import UsageError
from fencer.model import BmcSettings, KnownBmc
from fencer.network_file import in_time, stand_apart
from fencer.power.identity import BmcIdentity, IdentityKind, parse_guid, parse_identity, tells_apart
from fencer.regular_file import is_private, read_regular_file
from fencer.state.directories import persistent_directory

ANY_BMC = "none"
_PREFIX = "bmc-"
_BY_LOOKING, _BY_FENCE = "monitor", "fence"
_LONGEST_BYTES = 4096
_LONGEST_NAME = 200
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


class _Learnt(NamedTuple):
    """The content of one file.

    node: "" where no node was named. where: address and port. bridge: "0x00" where there is none.
    looked: monitor or on learnt it. What a fence learnt is not compared with the BMCs of other nodes.
    """

    node: str
    where: str
    bridge: str
    identity: BmcIdentity
    looked: bool


class KnownBmcs:
    """The BMC identities that this host has stored, as one request needs them.

    doubt: why they are not used; None where they are.
    """

    def __init__(self, request: Request, full: Mapping[str, str], membership: Membership) -> None:
        """full: option text with defaults."""
        self.doubt: str | None = None
        self._directory = persistent_directory(full["state_dir"])
        self._given = full.get("bmc_guid", "").strip()
        self._bmc = request.bmc
        self._membership = membership
        self._node = self._named(request.target or "")

    def settled(self) -> BmcSettings | None:
        """The BMC settings of the request, with what is known of the BMC. Raises UsageError for an invalid bmc_guid."""
        if self._bmc is None or self._given.lower() == ANY_BMC:
            return self._bmc
        if self._given:
            guid = parse_guid(self._given)
            if guid is None:
                raise UsageError(f"bmc_guid: not a GUID: give 32 hexadecimal digits, or {ANY_BMC}")
            return self._bmc._replace(known=KnownBmc(guid, "if the board was replaced, correct bmc_guid"))
        here, others = dict[str, _Learnt](), []
        for learnt in self._read():
            if learnt.bridge != _bridge(self._bmc) or learnt.identity.kind is not IdentityKind.IPMI_GUID:
                continue
            node = self._node_of(learnt.node)
            if learnt.where == _where(self._bmc) and node in (self._node, ""):
                if node not in here or learnt.node == node:
                    here[node] = learnt
            elif learnt.looked and node and self._node and node != self._node:
                files = os.path.join(self._directory, f"{_PREFIX}{_escaped(learnt.node)}@*")
                others.append((learnt.identity.value, node, files))
        if "" in here and here[""].identity.value in [guid for guid, _, _ in others]:
            del here[""]  # this address leads to the BMC of another node
        # Pacemaker's monitor names no node, unless the device has a plug: what it has seen at this address counts, too.
        known = here.get(self._node) or here.get("")
        path = self._path(self._bmc, self._node if known is None else known.node)
        remedy = (
            f"look which host has this address; if the board was replaced, remove {path} and run the action monitor "
            "again"
        )
        return self._bmc._replace(
            known=KnownBmc(None if known is None else known.identity.value, remedy, tuple(others))
        )

    def _node_of(self, name: str) -> str:
        """The node that a file is about; "" where that cannot be told."""
        if not self._node or name == self._node:
            return name
        own, found = self._membership.find(self._node), self._membership.find(name)
        if own is not None and own == found:
            return self._node
        return self._named(name) if found is None else found.name

    def _named(self, name: str) -> str:
        """The name, or "" for a number that is no node's name: a plug's, which Pacemaker leaves as it is.

        Any other name that the cluster does not know may be a node's all the same: a remote one's, say.
        """
        is_number = name.isascii() and name.isdecimal()
        return "" if is_number and self._membership.find(name) is None else name

    def learn(self, guid: bytes, *, looked: bool = True) -> str | None:
        """Stores the GUID unless it is stored already. Returns why that failed, or None. looked: see _Learnt."""
        if self._bmc is None or self._given or not tells_apart(guid):
            return None
        path = self._path(self._bmc, self._node)
        if "\n" in self._node + self._bmc.address or len(os.path.basename(path)) > _LONGEST_NAME:
            return None
        learnt = _Learnt(
            self._node, _where(self._bmc), _bridge(self._bmc), BmcIdentity(IdentityKind.IPMI_GUID, guid), looked
        )
        if any(each in (learnt, learnt._replace(looked=True)) for each in self._read()):
            return None
        from fencer.atomic_file import replace_file  # not needed on the hot path of a fence

        try:
            in_time(lambda: replace_file(path, _content(learnt), 0o600, durable=True), path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return f"{path}: {reason}: whose BMC this is was not learnt"
        return None

    def learn_unwaited(self, guid: bytes) -> None:
        """Stores the GUID in a child process, without waiting: a disk that hangs must not delay the end of a fence."""
        try:
            if os.fork():
                return
        except OSError:
            return
        try:
            stand_apart(-1)
            self.learn(guid, looked=False)
        finally:
            os._exit(0)

    def _path(self, bmc: BmcSettings, node: str) -> str:
        bridge = f"%{bmc.bridge_address:02x}" if bmc.bridge_address else ""
        name = f"{_escaped(node)}@{_escaped(bmc.address)}%{bmc.port}{bridge}"
        return os.path.join(self._directory, _PREFIX + name)

    def _read(self) -> list[_Learnt]:
        """All files that can be read; none where users other than root may write to the directory."""
        try:
            if not is_private(self._directory):
                self.doubt = (
                    f"{self._directory}: others may write to it, so what was learnt of the BMCs is not relied on: make "
                    "it writable by root alone"
                )
                return []
            listed = in_time(lambda: os.listdir(self._directory), self._directory)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            self.doubt = f"{self._directory}: {error}: what was learnt of the BMCs is not known"
            return []
        found = []
        for name in sorted(name for name in listed if name.startswith(_PREFIX)):
            path = os.path.join(self._directory, name)
            try:
                learnt = _parse(read_regular_file(path, _LONGEST_BYTES))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                self.doubt = f"{path}: {reason}: whose BMC it was about is not known: remove the file"
                if isinstance(error, TimeoutError):
                    return []  # the others would hang as long, one after the other
                continue
            found.append(learnt)
        return found


def _where(bmc: BmcSettings) -> str:
    return f"{bmc.address} port {bmc.port}"


def _escaped(name: str) -> str:
    raw = name.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02x}" for byte in raw)


def _bridge(bmc: BmcSettings) -> str:
    return f"{bmc.bridge_address or 0:#04x}"


def _content(learnt: _Learnt) -> bytes:
    fields = {
        "node": learnt.node,
        "where": learnt.where,
        "bridge": learnt.bridge,
        "identity": str(learnt.identity),
        "by": _BY_LOOKING if learnt.looked else _BY_FENCE,
    }
    return "".join(f"{name} {value}\n" for name, value in fields.items()).encode("utf-8", "surrogateescape")


def _parse(content: bytes) -> _Learnt:
    """Raises ValueError where content is not that of such a file."""
    fields = dict(line.partition(" ")[::2] for line in content.decode("utf-8", "surrogateescape").split("\n"))
    identity = parse_identity(fields.get("identity", ""))
    if identity is None or not {"node", "where", "bridge", "by"} <= set(fields):
        raise ValueError("not a file that says whose BMC this is")
    return _Learnt(fields["node"], fields["where"], fields["bridge"], identity, fields["by"] == _BY_LOOKING)
