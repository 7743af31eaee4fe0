# SPDX-License-Identifier: Apache-2.0
"""Derives a node's reservation key. Pure. The schemes and their reasons: docs/decisions/0001-reservation-keys.md."""

from collections.abc import Mapping

from fencer._typing import NamedTuple, assert_never
from fencer.errors import UsageError
from fencer.model import KeyScheme, ReservationKey


class NoKey(UsageError):
    """A node's key cannot be derived. why: what is missing. mend: what to change in the cluster's configuration."""

    def __init__(self, option: str, why: str, mend: str, otherwise: str) -> None:
        super().__init__(f"{option}: {why}: {mend}, or {otherwise}")
        self.why = why
        self.mend = mend


class NodeIdentity(NamedTuple):
    """A node as the cluster's configuration describes it, in whichever file.

    node_id: 1 to 2^32 - 1, or 0 when the configuration gives none.
    position: 0-based place in the list of nodes (``nodelist.node.N`` of corosync-cmapctl).
    ring0_addr: corosync's first address or host name, empty under cman. addresses: all of them, of every link.
    """

    name: str
    node_id: int
    position: int
    ring0_addr: str = ""
    addresses: tuple[str, ...] = ()


def derive_key(scheme: KeyScheme, cluster_name: str, node: NodeIdentity) -> ReservationKey:
    """The key by which ``node`` is registered at every LUN of the cluster.

    - NODEID: the first 32 bits of SHA-256 of the cluster's name (UTF-8), then the node id as 32 bits, so that an
      engineer reads the node off the low half of what ``sg_persist -k`` shows. A node id is at least 1, so no key
      is 0. It stays when other nodes are added or removed.
    - ID: 4 hexadecimal digits of MD5 of the cluster's name, then the node's *position* in decimal digits, read as one
      hexadecimal number; bit by bit fence_scsi 4.12.1 ``--key-value=id``. It shifts when a node above is removed.
    - HASH: 4 hexadecimal digits of MD5 of the cluster's name, then 4 of the node's name: fence_scsi
      ``--key-value=hash``. 16 bits tell nodes apart, so collisions happen.

    Raises NoKey when the configuration lacks what the scheme needs, UsageError when the number would be 0.
    """
    if not cluster_name:
        raise NoKey("key", "the cluster has no name to derive a key from", "name the cluster", "give key=")
    match scheme:
        case KeyScheme.NODEID:
            if not 0 < node.node_id < 1 << 32:
                raise NoKey(
                    "key",
                    f"node {node.name} has no node id from 1 to 4294967295",
                    "give it a nodeid in the cluster's configuration",
                    "give key=",
                )
            digest = _sha256(cluster_name.encode("utf-8", "surrogateescape"))
            return ReservationKey(int.from_bytes(digest[:4], "big") << 32 | node.node_id)
        case KeyScheme.ID:
            number = int(f"{_md5_digits(cluster_name)}{node.position:04d}", 16)
        case KeyScheme.HASH:
            number = int(_md5_digits(cluster_name) + _md5_digits(node.name), 16)
        case _:
            assert_never(scheme)
    if number == 0:
        raise UsageError(
            f"key: key_value={scheme.value} gives node {node.name} key 0, which means no key: "
            "use key_value=nodeid, or give key="
        )
    return ReservationKey(number)


def check_collisions(keys: Mapping[str, ReservationKey]) -> None:
    """Raises UsageError when two nodes would share a key: fencing one would also cut off the other.

    keys: node name to key.
    """
    owner: dict[ReservationKey, str] = {}
    for name, key in keys.items():
        if key in owner:
            raise UsageError(
                f"key: nodes {owner[key]} and {name} both have reservation key {key}: give them different node ids, "
                "or use key_value=nodeid, or give each its own key="
            )
        owner[key] = name


def _sha256(data: bytes) -> bytes:
    """By Python's own implementation: hashlib would load all of OpenSSL for these few bytes."""
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # until Python 3.11
    except ImportError:
        from hashlib import sha256
    digest: bytes = sha256(data).digest()
    return digest


def _md5_digits(text: str) -> str:
    """The 4 digits fence_scsi takes. It encodes as ASCII and dies on anything else, so no cluster has such keys."""
    if not text.isascii():
        raise UsageError(f"key: {text!r} is not ASCII, so fence_scsi has no key for it: use key_value=nodeid, or key=")
    import hashlib

    return hashlib.md5(text.encode("ascii"), usedforsecurity=False).hexdigest()[:4]
