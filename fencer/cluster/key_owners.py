# SPDX-License-Identifier: Apache-2.0
"""Decides whose reservation key is whose: this node's, the target's, every other node's.

A node's key is derived from the cluster's file (fencer.cluster.keys) unless the operator gives it. What this node is
registered under counts more than what would be derived for it now. Pure.
"""

from collections.abc import Mapping

from fencer._typing import NamedTuple
from fencer.cluster.keys import NoKey, check_collisions, derive_key
from fencer.cluster.membership import Membership
from fencer.errors import UsageError
from fencer.model import KeyScheme, OtherKeys, ReservationKey


class GivenKeys(NamedTuple):
    """Keys as the operator gives them.

    scheme: how keys are derived. local: this node's key. target: the key of the node that the call is about.
    """

    scheme: KeyScheme
    local: ReservationKey | None = None
    target: ReservationKey | None = None

    @property
    def typed(self) -> bool:
        """Whether a key was given. Then each node's key is taken to be given, on that node."""
        return self.local is not None or self.target is not None


def node_keys(membership: Membership, given: GivenKeys, *, own_suffices: bool = False) -> dict[str, ReservationKey]:
    """Every node's derived key, by the node's name.

    Empty where keys cannot be derived and need not be: the target's was given, or this node's (own_suffices: the call
    is about this node alone). Raises UsageError otherwise, and where two nodes would share a key.
    """
    try:
        keys = {node.name: derive_key(given.scheme, membership.name, node) for node in membership.nodes}
    except UsageError:
        if given.target is not None or (given.local is not None and own_suffices):
            return {}
        raise
    check_collisions(keys)
    return keys


def own_key(
    membership: Membership,
    given: GivenKeys,
    keys: Mapping[str, ReservationKey],
    registered: ReservationKey | None,
) -> ReservationKey | None:
    """This node's key: given, else registered in this boot, else derived. None where it is not known."""
    if given.local is not None:
        return given.local
    if registered is not None:
        return registered
    return keys.get(membership.local.name) if membership.local is not None else None


def no_own_key(membership: Membership) -> NoKey:
    """The error for a key that is needed and not known. Raises UsageError where the cluster's file makes no sense."""
    membership.require()
    why = why_no_key(membership, ", ".join(membership.host_names))
    if membership.nodes or not membership.source:
        return NoKey("local_key", why, "give local_key=KEY", "local_node=NAME")
    return NoKey("local_key", why, "add a nodelist", "give local_key=KEY")


def key_of(membership: Membership, keys: Mapping[str, ReservationKey], target: str) -> ReservationKey:
    """The key of the node that goes by this name. Raises UsageError."""
    membership.require()
    node = membership.find(target)
    if node is None or node.name not in keys:
        raise UsageError(f"key: {why_no_key(membership, target)}: give key=KEY, or a node of the cluster")
    return keys[node.name]


def other_keys(
    membership: Membership,
    given: GivenKeys,
    keys: Mapping[str, ReservationKey],
    own: ReservationKey | None,
    target: ReservationKey | None,
) -> OtherKeys | None:
    """The keys that may be on the LUNs besides own. None where no file lists the nodes.

    target: the key of another node that is known to this call. Where one key was given, so were the others, on their
    nodes: each node but this one has one, and only the target's is known here.
    """
    if not membership.nodes:
        return None
    if given.typed:
        known = (target,) if target is not None and target != own else ()
        return OtherKeys(known, max(0, len(membership.nodes) - 1 - len(known)))
    local = membership.local
    return OtherKeys(tuple(key for name, key in keys.items() if local is None or name != local.name))


def check_not_anothers(membership: Membership, keys: Mapping[str, ReservationKey], own: ReservationKey | None) -> None:
    """Raises UsageError where the key that this node is to register under is derived for another node.

    A fence of this node would find its own key absent, and take it for fenced while it writes under the other's."""
    local = membership.local
    for name, key in keys.items():
        if key == own and local is not None and name != local.name:
            raise UsageError(
                f"local_key: {own} is the key of {name}, and this node is {local.name}: two nodes with one key cannot "
                "be fenced apart: leave local_key out, or give this node's own"
            )


def check_unchanged(
    membership: Membership, given: GivenKeys, keys: Mapping[str, ReservationKey], own: ReservationKey | None
) -> None:
    """Raises UsageError where this node is registered under another key than the one derived for it now.

    Then the keys derived for the other nodes may be wrong, too."""
    local = membership.local
    derived = keys.get(local.name) if local is not None else None
    if own is None or derived is None or own == derived or given.typed:
        return
    raise UsageError(
        f"key_value: this node is registered as {own}, which by {membership.source} and key_value={given.scheme} "
        f"would be {derived}: whose key is whose cannot be told: undo the change, or reboot the nodes that registered "
        "before it"
    )


def check_targets(membership: Membership, given: GivenKeys, keys: Mapping[str, ReservationKey]) -> None:
    """Raises UsageError as a fence of another node would, where its key could not be told.

    No file at all is no reason where a device is only validated: that may be done on any machine.
    """
    if given.target is not None or not membership.source:
        return
    membership.require()
    if not keys:
        raise UsageError(f"key: {why_no_key(membership, 'the target')}: give key=KEY, or list the nodes there")
    if unnamed := membership.unnamed:
        raise UsageError(
            f"key: {membership.source} has no name for the node {unnamed[0].name}, so a fence that names it would be "
            "refused: add 'name:' to each node there, or give key=KEY"
        )


def parse_key(option: str, text: str) -> ReservationKey:
    """A typed key. Raises UsageError that names the option or setting."""
    try:
        return ReservationKey.parse(text)
    except UsageError as error:
        raise UsageError(f"{option}: {str(error).removeprefix('key: ')}") from error


def why_no_key(membership: Membership, names: str) -> str:
    """Why no key can be derived for a node of these names."""
    if not membership.source:
        return f"no cluster.conf and no corosync.conf to derive the key of {names} from"
    if not membership.nodes:
        return f"{membership.source} lists no nodes (it has no nodelist) to derive the key of {names} from"
    return f"{membership.source} has no node {names} to derive a key from"
