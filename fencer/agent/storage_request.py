# SPDX-License-Identifier: Apache-2.0
"""Builds the storage part of a request: the shared LUNs and the reservation keys of this call."""

from collections.abc import Mapping

from fencer.agent.request import AGAINST_OTHERS, StorageRequest
from fencer.cluster import key_owners
from fencer.cluster.key_owners import GivenKeys
from fencer.cluster.membership import Membership
from fencer.errors import UsageError
from fencer.model import Action, ArbitrationMode, KeyScheme, ReservationKey, ReservationType
from fencer.regular_file import require_private_directory
from fencer.storage.marker import registered_key
from fencer.storage.settings import StorageSettings, initiator_of

_AS_A_FENCE = (*AGAINST_OTHERS, Action.VALIDATE_ALL)
"""Actions that need the target's key. Validation checks the options only, not the marker and not which node this is."""


def build_storage(
    full: Mapping[str, str], action: Action, target: str | None, local: bool, membership: Membership
) -> StorageRequest:
    """Returns the shared LUNs, this node's key, the target's key and how to arbitrate. Raises UsageError."""
    devices = tuple(full.get("devices", "").replace(",", " ").split())
    _check_iscsi_urls(devices)
    if action is Action.VALIDATE_ALL:
        _check_names(devices)
    given = _given_keys(full)
    keys = key_owners.node_keys(membership, given, own_suffices=action is Action.ON)
    state_dir = full["state_dir"]
    require_private_directory("state_dir", state_dir)  # a user who moves the marker lets a fenced node register again
    own = _own_key(given, action, local, membership, keys, state_dir)
    if action in (Action.MONITOR, Action.VALIDATE_ALL):
        key_owners.check_targets(membership, given, keys)
    if action is Action.VALIDATE_ALL and given.local is None:
        own = None  # that it can be derived is enough: the target may be any node, including this one
    by_storage_alone = action is Action.STATUS and not full.get("ip")
    target_key = _target_key(given, action, by_storage_alone, target, membership, keys)
    if action in AGAINST_OTHERS or action is Action.MONITOR:
        key_owners.check_unchanged(membership, given, keys, own)
    if action is Action.ON and local:
        key_owners.check_not_anothers(membership, keys, own)
    if own is not None and own == target_key and action in _AS_A_FENCE:
        raise UsageError(f"key: {own} is this node's own key: a node cannot fence itself; give the target's key")
    theirs = target_key or (given.target if action is not Action.ON else None)
    settings = StorageSettings(
        devices=devices,
        volume_group=None if devices else full.get("vg") or None,
        own_key=own,
        reservation_type=ReservationType.named(full["reservation_type"]),
        aptpl=full["aptpl"] == "1",
        initiator=full.get("initiator") or _initiator(membership),
        state_dir=state_dir,
        others=key_owners.other_keys(membership, given, keys, own, theirs),
    )
    return StorageRequest(
        settings,
        target_key=target_key,
        arbitration=ArbitrationMode(full["arbitration"]),
        re_register=full.get("re_register") == "1",
    )


def _check_iscsi_urls(devices: tuple[str, ...]) -> None:
    urls = [device for device in devices if device.startswith("iscsi://")]
    if urls:
        from fencer.storage.libiscsi import IscsiUrl  # brings ctypes

        for url in urls:
            IscsiUrl.parse(url)


def _check_names(devices: tuple[str, ...]) -> None:
    """Every other action looks the names up, and refuses these with the LUN's WWID (refuse_names_of_one_node)."""
    from fencer.storage.lun_names import REMEDY, is_name_of_one_node

    for device in devices:
        if is_name_of_one_node(device):
            raise UsageError(f"devices: {device} may be another LUN on another node: {REMEDY}")


def _given_keys(full: Mapping[str, str]) -> GivenKeys:
    def parsed(option: str) -> ReservationKey | None:
        return key_owners.parse_key(option, full[option]) if full.get(option) else None

    return GivenKeys(KeyScheme(full["key_value"]), parsed("local_key"), parsed("key"))


def _own_key(
    given: GivenKeys,
    action: Action,
    local: bool,
    membership: Membership,
    keys: Mapping[str, ReservationKey],
    state_dir: str,
) -> ReservationKey | None:
    """This node's key; None where it is unknown and the action does not need it."""
    if action is Action.ON and local and given.target is not None:
        return given.target  # of this node; local_key is the key of the node that fences it, where both are in a CIB
    if given.local is None and action is Action.VALIDATE_ALL and not membership.source:
        return None  # a configuration may be written on a machine without a cluster
    registered = None if given.local is not None else registered_key(state_dir)
    own = key_owners.own_key(membership, given, keys, registered)
    if own is None and (action in (*_AS_A_FENCE, Action.MONITOR) or (action is Action.ON and local)):
        raise key_owners.no_own_key(membership)
    return own


def _target_key(
    given: GivenKeys,
    action: Action,
    by_storage_alone: bool,
    target: str | None,
    membership: Membership,
    keys: Mapping[str, ReservationKey],
) -> ReservationKey | None:
    if action not in _AS_A_FENCE and not by_storage_alone:
        return None
    if given.target is not None:
        return given.target
    if action is Action.VALIDATE_ALL and (target is None or not membership.nodes):
        return None  # Pacemaker validates a device before it has a target, on any machine
    if target is None:
        raise UsageError("plug: which node's key is meant is not known: give plug=NODE (-n NODE), or key=KEY")
    return key_owners.key_of(membership, keys, target)


def _initiator(membership: Membership) -> str:
    name = membership.local.name if membership.local is not None else membership.host_names[0]
    return initiator_of(name)
