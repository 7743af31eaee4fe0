# SPDX-License-Identifier: Apache-2.0
"""Fills in from cluster.conf what a person did not type: which node is meant, and how it is fenced.

Only for command lines such as ``fence_halvm -o reboot``. A caller on stdin gives all options itself.
"""

from collections.abc import Mapping, Sequence

from fencer._typing import NamedTuple
from fencer.agent.option_input import parse_stdin
from fencer.agent.report import in_words
from fencer.agent.request_builder import target_name
from fencer.cluster.cluster_conf import Cluster, ClusterNode, DeviceRef, fence_device, merged_attributes, other_node
from fencer.cluster.membership import Membership
from fencer.errors import UsageError
from fencer.model import Action

AGENT = "fence_halvm"

_LUNS = ("devices", "vg")
_ADDRESS = ("action", "plug", "node")
"""Options that name the action and the node. This module resolves them."""


class ClusterDefaults(NamedTuple):
    """The resolved call.

    introduction: the sentence that says which node is about to be fenced, and why that one.
    methods: tried in order. Each is the option text of its steps; all steps must succeed.
    """

    introduction: str
    methods: tuple[tuple[Mapping[str, str], ...], ...]


def applies(values: Mapping[str, str]) -> bool:
    """Whether to resolve the call by cluster.conf: no BMC was typed, and a node was typed or no LUN was.

    Where LUNs were typed without a node, no node is guessed: the call is about those LUNs, or about a key that was
    typed.
    """
    if values.get("ip") or values.get("port_as_ip") == "1":
        return False
    return bool(_named(values)) or not _names_luns(values)


def resolve(
    values: Mapping[str, str], membership: Membership, cluster: Cluster, stray_words: int = 0
) -> ClusterDefaults:
    """Returns the node and its fence methods. Raises UsageError where it would have to guess.

    values: what was typed; it wins over cluster.conf. stray_words: how many typed words belong to no option.
    Where the file gives the node no fence device of this agent, LUNs that were typed are enough.
    """
    named = target_name(values, membership) if _named(values) else None
    if _named(values) and named is None:
        raise UsageError(f"node: {membership.source} has no one node with id {values['node']}: give -n NODE")
    if not named and ("nodename" in values or "plug" in values):  # for instance an unset shell variable
        raise UsageError("plug: the name given is empty: give -n NODE, or no -n for the other one of two nodes")
    action = Action(values.get("action", "reboot").lower())
    local = membership.local
    here = f"this node is {local.name}" if local is not None else "this node is not in that cluster"
    alone = f"with what was typed alone: {membership.source} has no {AGENT} device for it"
    if named:
        identity = membership.find(named)
        if identity is None and _names_luns(values):
            introduction = f"about to {in_words(action, named)}: it was named; {here}; {alone}"
            return ClusterDefaults(introduction, ((values,),))
        if identity is None:
            raise UsageError(
                f"plug: {membership.source} has no node {named}: give one of "
                + ", ".join(node.name for node in cluster.nodes)
            )
        node, why = cluster.nodes[identity.position], "it was named"
    elif stray_words:  # one of them may be the name of another node than the one that would be guessed
        raise UsageError(
            f"plug: no node is named, but {stray_words} argument(s) belong to no option, so which node is meant cannot "
            "be told: give -n NODE"
        )
    elif local is None:
        hosts = " or ".join(membership.host_names)
        raise UsageError(
            f"local_node: {membership.source} has no node {hosts}, so which node is the other one cannot be told: "
            "give --local-node=NAME, or -n NAME"
        )
    elif action is Action.ON:
        node, why = cluster.nodes[local.position], "on without -n is for this node"
    else:
        node, why = other_node(cluster, cluster.nodes[local.position]), "it is the other node"
    whom = f"{node.name} (node {node.node_id} of {cluster.name or 'the cluster'}, {membership.source})"
    unfence = action is Action.ON and local is not None and node.name == local.name
    introduction = f"about to {in_words(action, whom, unfence=unfence)}: {why}; {here}"
    try:
        lists = _device_lists(cluster, node, unfence)
    except UsageError:
        if not _names_luns(values):
            raise
        return ClusterDefaults(f"{introduction}; {alone}", (({**values, "nodename": node.name},),))
    methods = tuple(
        _steps(action, [_option_text(cluster, node, device, values) for device in devices]) for devices in lists
    )
    return ClusterDefaults(introduction, methods)


def _steps(action: Action, devices: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    """The steps of one method, in order, when a person asks for this action.

    devices: option text with the action that cluster.conf gives each, if any. A method may spell a reboot as off, off,
    on, on: both power supplies of a node are off before either is on. Then a reboot follows the method as written, as
    fenced does, and off or on uses only the devices with that action. Otherwise each device performs the typed action
    once.
    """
    configured = [_configured_action(device) for device in devices]
    spelled = {Action.OFF, Action.ON} <= set(configured)
    steps: list[Mapping[str, str]] = []
    for device, own in zip(devices, configured, strict=True):
        todo = own if spelled and action is Action.REBOOT and own is not None else action
        if spelled and action in (Action.OFF, Action.ON) and own in (Action.OFF, Action.ON) and own is not action:
            continue
        step = {**device, "action": todo.value}
        if step not in steps:
            steps.append(step)
    return tuple(steps)


def _configured_action(device: Mapping[str, str]) -> Action | None:
    """The action that cluster.conf gives this device; None where it gives none, or none of a fence."""
    word = device.get("action", "").lower()
    return Action(word) if word in (Action.OFF, Action.ON, Action.REBOOT, Action.DIAG) else None


def _named(values: Mapping[str, str]) -> str | None:
    return values.get("nodename") or values.get("plug") or values.get("node")


def _names_luns(values: Mapping[str, str]) -> bool:
    return any(values.get(name) for name in _LUNS)


def _device_lists(cluster: Cluster, node: ClusterNode, unfence: bool) -> list[tuple[DeviceRef, ...]]:
    """The devices of each method, in order. Raises UsageError where no method uses this agent alone."""
    candidates = [method.devices for method in node.fence_methods if method.devices]
    if unfence and node.unfence:
        candidates.insert(0, node.unfence)
    ours = [devices for devices in candidates if all(fence_device(cluster, ref).agent == AGENT for ref in devices)]
    if ours:
        return ours[:1] if unfence else ours
    agents = sorted({fence_device(cluster, ref).agent for devices in candidates for ref in devices})
    if agents:
        raise UsageError(
            f"plug: {node.name} is fenced by {', '.join(agents)}, not by {AGENT} alone: "
            f"run fence_node {node.name}, or give ip= or vg= on the command line"
        )
    raise UsageError(
        f"plug: {node.name} has no fence method with a device: add one to cluster.conf, or give ip= or vg="
    )


def _option_text(
    cluster: Cluster, node: ClusterNode, device: DeviceRef, values: Mapping[str, str]
) -> Mapping[str, str]:
    """One device's options, with the action of the file instead of the typed one.

    LUNs that were typed replace both devices and vg of the file, because devices wins over vg.
    """
    lines = "\n".join(f"{name}={value}" for name, value in merged_attributes(cluster, node, device).items())
    written = parse_stdin(lines, names_action=False).values
    if _names_luns(values):
        written = {name: value for name, value in written.items() if name not in _LUNS}
    typed = {name: value for name, value in values.items() if name not in _ADDRESS}
    return {**written, **typed, "nodename": node.name}
