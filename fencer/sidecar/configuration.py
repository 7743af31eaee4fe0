"""What follows from watchdogd.toml and the cluster's files: this node and its key, everybody's keys, the LUNs."""

import os

from fencer.agent.storage_request import build_storage
from fencer.cluster.keys import NoKey
from fencer.cluster.membership import Membership, read_membership
from fencer.errors import UsageError
from fencer.model import Action
from fencer.sidecar.config import located, read_settings
from fencer.sidecar.messages import Config
from fencer.sidecar.settings import ObserverSettings, Settings
from fencer.state.snapshot import NodeSnapshot


def read_config(path: str) -> Config:
    """Raises UsageError; its message has one complaint a line."""
    settings = read_settings(path)
    try:
        return derive(settings)
    except UsageError as error:
        raise UsageError(located(str(error), path)) from error


def derive(settings: Settings) -> Config:
    """Raises UsageError when the cluster's files make no sense, or do not tell this node's key."""
    membership = read_membership(settings.cluster_conf or None, settings.local_node or None)
    membership.require()
    options = {
        "devices": ",".join(settings.devices),
        "vg": settings.vg,
        "local_key": settings.local_key,
        "key_value": settings.key_value,
        "reservation_type": settings.reservation_type,
        "aptpl": "1" if settings.aptpl else "0",
        "arbitration": "required",
        "state_dir": settings.state_dir,
    }
    try:
        storage = build_storage(options, Action.ON, None, True, membership)
    except NoKey as error:
        raise UsageError(_in_its_own_words(error, membership)) from error
    if storage.own_key is None:
        raise UsageError("local_key: this node's key is not known: give local_key")
    local = membership.local
    node = local.name if local is not None else settings.local_node or os.uname().nodename
    nodes = tuple(NodeSnapshot(name, str(key)) for name, key in storage.cluster_keys)
    if not any(each.key == str(storage.own_key) for each in nodes):
        nodes = (*(each for each in nodes if each.name != node), NodeSnapshot(node, str(storage.own_key)))
    observer = ObserverSettings(storage, settings.timing, settings.on_target_reset)
    return Config(settings, node, str(storage.own_key), nodes, observer)


def _in_its_own_words(error: NoKey, membership: Membership) -> str:
    """The agent's options are no settings of the sidecar: the remedy names what watchdogd.toml has."""
    where = f"{membership.source}: " if membership.source and membership.source not in error.why else ""
    if membership.nodes and membership.local is None:
        names = ", ".join(node.name for node in membership.nodes)
        return f"local_node: {error.why}: give local_node, one of {names}, or local_key"
    mend = error.mend if membership.source else "give cluster_conf"
    return f'local_key: {where}{error.why}: {mend}, or give local_key, as "0x1234abcd00000001"'
