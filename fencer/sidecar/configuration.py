# SPDX-License-Identifier: Apache-2.0
"""Derives from watchdogd.toml and the cluster's files: this node and its key, all nodes' keys, the LUNs."""

import os
from collections.abc import Mapping

from fencer.cluster import key_owners
from fencer.cluster.key_owners import GivenKeys
from fencer.cluster.keys import NoKey
from fencer.cluster.membership import Membership, read_membership
from fencer.errors import UsageError
from fencer.model import KeyScheme, ReservationKey, ReservationType
from fencer.regular_file import require_private_directory
from fencer.sidecar.config import located, read_settings
from fencer.sidecar.messages import Config
from fencer.sidecar.settings import ObserverSettings, Settings
from fencer.state.snapshot import NodeSnapshot
from fencer.storage.marker import registered_key
from fencer.storage.settings import StorageSettings


def read_config(path: str) -> Config:
    """Reads the file and the cluster's files. Raises UsageError; its message has one complaint a line."""
    settings = read_settings(path)
    try:
        return derive(settings)
    except UsageError as error:
        raise UsageError(located(str(error), path)) from error


def derive(settings: Settings) -> Config:
    """The configuration that follows from settings and the cluster's files. Raises UsageError."""
    membership = read_membership(settings.cluster_conf or None, settings.local_node or None)
    membership.require()
    _check_host(settings, membership)
    try:
        storage, keys = _storage(settings, membership)
    except NoKey as error:
        raise UsageError(_in_its_own_words(error, membership)) from error
    local = membership.local
    node = local.name if local is not None else settings.local_node or os.uname().nodename
    nodes = tuple(NodeSnapshot(name, str(key)) for name, key in keys.items())
    if not any(each.key == str(storage.own_key) for each in nodes):
        nodes = (*(each for each in nodes if each.name != node), NodeSnapshot(node, str(storage.own_key)))
    observer = ObserverSettings(storage, settings.timing, settings.on_target_reset)
    return Config(settings, node, str(storage.own_key), nodes, observer)


def _check_host(settings: Settings, membership: Membership) -> None:
    """Raises UsageError where local_node is another node than this host: the file was copied from that node.

    Registered under that node's key, this node would go on writing when it is fenced."""
    if not settings.local_node:
        return
    host, local = read_membership(settings.cluster_conf or None, None).local, membership.local
    if host is not None and local is not None and host != local:
        raise UsageError(
            f"local_node: {local.name} is another node: by {membership.source} this host is {host.name}: leave "
            "local_node out"
        )


def _storage(settings: Settings, membership: Membership) -> tuple[StorageSettings, Mapping[str, ReservationKey]]:
    """The shared LUNs, and the key of each node by its name. Raises NoKey where this node's key is not known."""
    local_key = key_owners.parse_key("local_key", settings.local_key) if settings.local_key else None
    given = GivenKeys(KeyScheme(settings.key_value), local_key)
    keys = key_owners.node_keys(membership, given, own_suffices=True)
    require_private_directory("state_dir", settings.state_dir)
    registered = registered_key(settings.state_dir) if local_key is None else None
    own: ReservationKey | None = key_owners.own_key(membership, given, keys, registered)
    if own is None:
        raise key_owners.no_own_key(membership)
    key_owners.check_not_anothers(membership, keys, own)
    storage = StorageSettings(
        devices=tuple(settings.devices),
        volume_group=None if settings.devices else settings.vg or None,
        own_key=own,
        reservation_type=ReservationType.named(settings.reservation_type),
        aptpl=settings.aptpl,
        state_dir=settings.state_dir,
        others=key_owners.other_keys(membership, given, keys, own, None),
    )
    return storage, keys


def _in_its_own_words(error: NoKey, membership: Membership) -> str:
    """The message of error, with settings of watchdogd.toml as the remedy instead of the agent's options."""
    where = f"{membership.source}: " if membership.source and membership.source not in error.why else ""
    if membership.nodes and membership.local is None:
        names = ", ".join(node.name for node in membership.nodes)
        return f"local_node: {error.why}: give local_node, one of {names}, or local_key"
    mend = error.mend if membership.source else "give cluster_conf"
    return f'local_key: {where}{error.why}: {mend}, or give local_key, as "0x1234abcd00000001"'
