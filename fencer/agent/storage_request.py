"""The storage half of a request: LUNs, and which node has which reservation key."""

from collections.abc import Mapping

from fencer.agent.request import AGAINST_OTHERS
from fencer.cluster.keys import NoKey, check_collisions, derive_key
from fencer.cluster.membership import Membership
from fencer.errors import UsageError
from fencer.model import Action, ArbitrationMode, KeyScheme, ReservationKey, ReservationType
from fencer.regular_file import require_private_directory
from fencer.storage.marker import Marker, read_marker
from fencer.storage.settings import OtherKeys, StorageSettings

_TYPES = {
    "WERO": ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
    "WE": ReservationType.WRITE_EXCLUSIVE,
    "EARO": ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
    "EA": ReservationType.EXCLUSIVE_ACCESS,
    "WEAR": ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS,
    "EAAR": ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
}


_AS_A_FENCE = (*AGAINST_OTHERS, Action.VALIDATE_ALL)
"""What needs the target's key. Validation looks at the options alone: at no marker, and not for which node this is."""


def build_storage(
    full: Mapping[str, str], action: Action, target: str | None, local: bool, membership: Membership
) -> StorageSettings:
    """The shared LUNs, whose key is whose, and how to arbitrate. Raises UsageError."""
    devices = tuple(full.get("devices", "").replace(",", " ").split())
    group = None if devices else full.get("vg") or None
    _check_iscsi_urls(devices)
    keys = _cluster_keys(full, action, membership)
    state_dir = full["state_dir"]
    require_private_directory("state_dir", state_dir)  # who moves the marker away lets a fenced node register again
    own = _own_key(full, action, local, membership, keys, state_dir)
    if action in (Action.MONITOR, Action.VALIDATE_ALL):
        _check_targets(full, membership, keys)
    if action is Action.VALIDATE_ALL and not full.get("local_key"):
        own = None  # it could be told, which is all that matters: the target may be any node, this one, too
    target_key = _target_key(full, action, target, membership, keys)
    if action in AGAINST_OTHERS or action is Action.MONITOR:
        _check_unchanged(full, own, membership, keys)
    if own is not None and own == target_key and action in _AS_A_FENCE:
        raise UsageError(f"key: {own} is this node's own key: a node cannot fence itself; give the target's key")
    return StorageSettings(
        devices=devices,
        volume_group=group,
        own_key=own,
        target_key=target_key,
        cluster_keys=tuple(keys.items()),
        reservation_type=_TYPES[full["reservation_type"]],
        aptpl=full["aptpl"] == "1",
        arbitration=ArbitrationMode(full["arbitration"]),
        initiator=full.get("initiator") or _initiator(membership),
        state_dir=state_dir,
        re_register=full.get("re_register") == "1",
        others=_other_keys(full, action, membership, keys, own, target_key),
    )


def _check_iscsi_urls(devices: tuple[str, ...]) -> None:
    urls = [device for device in devices if device.startswith("iscsi://")]
    if urls:
        from fencer.storage.libiscsi import IscsiUrl  # brings ctypes

        for url in urls:
            IscsiUrl.parse(url)


def _cluster_keys(full: Mapping[str, str], action: Action, membership: Membership) -> dict[str, ReservationKey]:
    """Every node's derived key. A cluster whose keys are all given by hand needs no derivable ones, and for what is
    about this node alone its own key is enough."""
    scheme = KeyScheme(full["key_value"])
    try:
        keys = {node.name: derive_key(scheme, membership.name, node) for node in membership.nodes}
    except UsageError:
        if full.get("key") or (full.get("local_key") and action is Action.ON):
            return {}
        raise
    check_collisions(keys)
    return keys


def _other_keys(
    full: Mapping[str, str],
    action: Action,
    membership: Membership,
    keys: Mapping[str, ReservationKey],
    own: ReservationKey | None,
    target_key: ReservationKey | None,
) -> OtherKeys | None:
    """Where one key is given by hand, so are the others: each node but this one has one, and that of one is known."""
    if not membership.nodes:
        return None
    if _by_hand(full):
        typed = _key("key", full["key"]) if full.get("key") and action is not Action.ON else None
        theirs = target_key or (typed if typed != own else None)
        known = (theirs,) if theirs is not None else ()
        return OtherKeys(known, max(0, len(membership.nodes) - 1 - len(known)))
    local = membership.local
    return OtherKeys(tuple(key for name, key in keys.items() if local is None or name != local.name))


def _by_hand(full: Mapping[str, str]) -> bool:
    return bool(full.get("key") or full.get("local_key"))


def _check_unchanged(
    full: Mapping[str, str], own: ReservationKey | None, membership: Membership, keys: Mapping[str, ReservationKey]
) -> None:
    """What this node registered under shows whether the other nodes' keys are still what is derived for them now."""
    local = membership.local
    derived = keys.get(local.name) if local is not None else None
    if own is None or derived is None or own == derived or _by_hand(full):
        return
    raise UsageError(
        f"key_value: this node is registered as {own}, which by {membership.source} and key_value={full['key_value']} "
        f"would be {derived}: whose key is whose cannot be told: undo the change, or reboot the nodes that registered "
        "before it"
    )


def _own_key(
    full: Mapping[str, str],
    action: Action,
    local: bool,
    membership: Membership,
    keys: Mapping[str, ReservationKey],
    state_dir: str,
) -> ReservationKey | None:
    if full.get("local_key"):
        return _key("local_key", full["local_key"])
    if action is Action.ON and local and full.get("key"):
        return _key("key", full["key"])
    if action is Action.VALIDATE_ALL and not membership.source:
        return None  # it may be typed where no cluster is
    marker = read_marker(state_dir)
    if isinstance(marker, Marker):
        return marker.key
    if membership.local is not None and membership.local.name in keys:
        return keys[membership.local.name]
    if action in (*_AS_A_FENCE, Action.MONITOR) or (action is Action.ON and local):
        membership.require()
        why = _why_no_key(membership, ", ".join(membership.host_names))
        if membership.nodes or not membership.source:
            raise NoKey("local_key", why, "give local_key=KEY", "local_node=NAME")
        raise NoKey("local_key", why, "add a nodelist", "give local_key=KEY")
    return None


def _check_targets(full: Mapping[str, str], membership: Membership, keys: Mapping[str, ReservationKey]) -> None:
    """No node is named, but a fence will name one: whether its key could be told. Raises UsageError as the fence would.

    No file at all is no reason where a device is only validated: that may be done on any machine.
    """
    if full.get("key") or not membership.source:
        return
    membership.require()
    if not keys:
        raise UsageError(f"key: {_why_no_key(membership, 'the target')}: give key=KEY, or list the nodes there")
    if unnamed := membership.unnamed:
        raise UsageError(
            f"key: {membership.source} has no name for the node {unnamed[0].name}, so a fence that names it would be "
            "refused: add 'name:' to each node there, or give key=KEY"
        )


def _target_key(
    full: Mapping[str, str],
    action: Action,
    target: str | None,
    membership: Membership,
    keys: Mapping[str, ReservationKey],
) -> ReservationKey | None:
    if action not in _AS_A_FENCE and (action is not Action.STATUS or full.get("ip")):
        return None
    if full.get("key"):
        return _key("key", full["key"])
    if action is Action.VALIDATE_ALL and (target is None or not membership.nodes):
        return None  # Pacemaker validates a device before it has a target, on any machine
    if target is None:
        raise UsageError("plug: which node's key is meant is not known: give plug=NODE (-n NODE), or key=KEY")
    membership.require()
    node = membership.find(target)
    if node is None or node.name not in keys:
        raise UsageError(f"key: {_why_no_key(membership, target)}: give key=KEY, or a node of the cluster")
    return keys[node.name]


def _key(option: str, text: str) -> ReservationKey:
    try:
        return ReservationKey.parse(text)
    except UsageError as error:
        raise UsageError(f"{option}: {str(error).removeprefix('key: ')}") from error


def _why_no_key(membership: Membership, names: str) -> str:
    if not membership.source:
        return f"no cluster.conf and no corosync.conf to derive the key of {names} from"
    if not membership.nodes:
        return f"{membership.source} lists no nodes (it has no nodelist) to derive the key of {names} from"
    return f"{membership.source} has no node {names} to derive a key from"


def _initiator(membership: Membership) -> str:
    name = membership.local.name if membership.local is not None else membership.host_names[0]
    return "iqn.2026-11.fence-halvm:" + "".join(c if c.isalnum() or c in "-.:" else "-" for c in name.lower())
