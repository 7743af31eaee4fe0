"""A person typed ``fence_halvm -o reboot``: who is meant, and how cluster.conf says that node is fenced.

Callers on stdin never come here: they say everything themselves.
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
"""What was typed to say what to do with whom; it is resolved here."""


class ByHand(NamedTuple):
    """introduction: who is about to be fenced and why that one.

    methods: tried in order; each is the option text of its steps, which all must succeed.
    """

    introduction: str
    methods: tuple[tuple[Mapping[str, str], ...], ...]


def applies(values: Mapping[str, str]) -> bool:
    """True when no BMC is typed, and a node or no LUN: then cluster.conf must know the rest.

    LUNs without a node are asked about, or their key is typed, which may be anybody's: no node is guessed beside them.
    """
    if values.get("ip") or values.get("port_as_ip") == "1":
        return False
    return bool(_named(values)) or not _names_luns(values)


def resolve(values: Mapping[str, str], membership: Membership, cluster: Cluster, stray_words: int = 0) -> ByHand:
    """values: what was typed; it wins over cluster.conf. stray_words: how many typed words belong to no option.

    LUNs that were typed suffice where the file does not say how the node is fenced by us. Raises UsageError rather than
    guess.
    """
    named = target_name(values, membership) if _named(values) else None
    if _named(values) and named is None:
        raise UsageError(f"node: {membership.source} has no one node with id {values['node']}: give -n NODE")
    if not named and ("nodename" in values or "plug" in values):  # an unset variable of a shell, say
        raise UsageError("plug: the name given is empty: give -n NODE, or no -n for the other one of two nodes")
    action = Action(values.get("action", "reboot").lower())
    local = membership.local
    here = f"this node is {local.name}" if local is not None else "this node is not in that cluster"
    alone = f"with what was typed alone: {membership.source} has no {AGENT} device for it"
    if named:
        identity = membership.find(named)
        if identity is None and _names_luns(values):
            return ByHand(f"about to {in_words(action, named)}: it was named; {here}; {alone}", ((values,),))
        if identity is None:
            raise UsageError(
                f"plug: {membership.source} has no node {named}: give one of "
                + ", ".join(node.name for node in cluster.nodes)
            )
        node, why = cluster.nodes[identity.position], "it was named"
    elif stray_words:  # one of them may be the name of a node, and not of the one that would be guessed
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
        return ByHand(f"{introduction}; {alone}", (({**values, "nodename": node.name},),))
    methods = tuple(
        _steps(action, [_option_text(cluster, node, device, values) for device in devices]) for devices in lists
    )
    return ByHand(introduction, methods)


def _steps(action: Action, devices: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    """What a method's devices are to do, in order, when a person asks for this action.

    devices: option text with the action that cluster.conf gives each, if any. A method may spell a reboot as off, off,
    on, on: both power supplies of a node are off before either is on. Then a reboot does what is written, as fenced
    does. Otherwise each device does what was typed, once; of a method that spells a reboot, those of off, or of on.
    """
    told = [_told(device) for device in devices]
    spelled = {Action.OFF, Action.ON} <= set(told)
    steps: list[Mapping[str, str]] = []
    for device, said in zip(devices, told, strict=True):
        todo = said if spelled and action is Action.REBOOT and said is not None else action
        if spelled and action in (Action.OFF, Action.ON) and said in (Action.OFF, Action.ON) and said is not action:
            continue
        step = {**device, "action": todo.value}
        if step not in steps:
            steps.append(step)
    return tuple(steps)


def _told(device: Mapping[str, str]) -> Action | None:
    """The action that cluster.conf gives a device of a method, as far as it is one of a fence."""
    word = device.get("action", "").lower()
    return Action(word) if word in (Action.OFF, Action.ON, Action.REBOOT, Action.DIAG) else None


def _named(values: Mapping[str, str]) -> str | None:
    return values.get("nodename") or values.get("plug") or values.get("node")


def _names_luns(values: Mapping[str, str]) -> bool:
    return any(values.get(name) for name in _LUNS)


def _device_lists(cluster: Cluster, node: ClusterNode, unfence: bool) -> list[tuple[DeviceRef, ...]]:
    """The devices of each method, in order. Raises UsageError when there is no method that is ours alone."""
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
    """One device's options, with the action that the file gives it, not the one that was typed. LUNs that were typed
    stand for all of the file's: devices would win over vg."""
    lines = "\n".join(f"{name}={value}" for name, value in merged_attributes(cluster, node, device).items())
    written = parse_stdin(lines, names_action=False).values
    if _names_luns(values):
        written = {name: value for name, value in written.items() if name not in _LUNS}
    typed = {name: value for name, value in values.items() if name not in _ADDRESS}
    return {**written, **typed, "nodename": node.name}
