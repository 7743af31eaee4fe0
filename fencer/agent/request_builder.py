# SPDX-License-Identifier: Apache-2.0
"""Builds the typed Request from checked option text: keys, addresses and times are parsed here.

Every invalid combination of options is found here, before anything is sent. The error is one sentence that names the
option and the remedy.
"""

import math
from collections.abc import Callable, Mapping

from fencer.agent.request import AGAINST_OTHERS, Caller, Request, StorageRequest, Timing
from fencer.agent.time_limits import LOOK_S, LOOKS, fence_deadline_s
from fencer.cluster.membership import Membership
from fencer.errors import UsageError
from fencer.model import Action, BmcSettings, Method, Privilege, ProofPolicy, Secret

PASSWORD_SCRIPT_S = 5.0
PACEMAKERS_EXAMPLE = "node1"
"""Pacemaker and pcs validate a device with this made-up target."""

MAX_USERNAME_BYTES = 16  # IPMI 2.0 §13.20, RAKP message 1
MAX_PASSWORD_BYTES = 20  # IPMI 2.0 §22.30


Waiting = Callable[[str, float], None]
"""Shows what is waited for, and how many seconds that may still take."""


def build_request(
    full: Mapping[str, str],
    given: Mapping[str, str],
    caller: Caller,
    membership: Membership,
    waiting: Waiting = lambda _what, _left_s: None,
) -> Request:
    """Builds the request. Raises UsageError.

    full: option text with defaults. given: only what the caller wrote. waiting: called while password_script runs.
    """
    action = Action(full["action"])
    target = target_name(full, membership)
    if _is_pacemakers_example(action, target, caller, membership):
        target = None
    if action is Action.ON and target is None and names_luns(full):
        target = _unfenced_node(full, caller, membership)
    local = target is not None and membership.is_local(target)
    if local and action in AGAINST_OTHERS and not _may_fence_itself(full, action, caller):
        raise UsageError(f"plug: {target} is this node: a node cannot fence itself; run this on another node")
    storage = None
    if names_luns(full):
        from fencer.agent.storage_request import build_storage  # power alone needs none of it

        storage = build_storage(full, action, target, local, membership)
    if storage is not None and action is Action.ON and not local:
        membership.require()  # without it this node could be taken for another one
    unfencing = action is Action.ON and local and storage is not None
    bmc = None if unfencing else _bmc(full, waiting)  # this node runs, so it need not be switched on
    if action is Action.ON and storage is not None and not local:
        _require_other_node(target, bmc, membership)
    if bmc is None and storage is None:
        membership.require()
        raise UsageError(
            "ip: neither a BMC nor shared LUNs are known: give ip=ADDRESS, or vg=NAME or devices=LIST, "
            "or on the command line -n NODE with a cluster.conf"
        )
    if action is Action.DIAG and bmc is None:
        raise UsageError("ip: diag is an interrupt that the BMC sends: give ip=ADDRESS, or off to isolate the node")
    policy, timing, bound_s = _policy(full, bmc, storage, action), _timing(full, given, caller), 0.0
    if policy is ProofPolicy.SELF and action in (Action.OFF, Action.REBOOT, Action.MONITOR, Action.VALIDATE_ALL):
        from fencer.agent import self_fence_request  # not on the hot path

        bound_s = self_fence_request.bound_s(full, fence_deadline_s(full, given))
        if action is not Action.VALIDATE_ALL:  # validation checks the options only
            self_fence_request.check_sidecar(full["state_dir"], bound_s)
    return Request(
        action=action,
        caller=caller,
        target=target,
        target_is_local=local,
        policy=policy,
        bmc=bmc,
        storage=storage,
        method=Method(full["method"]),
        timing=timing,
        dry_run=full.get("dry_run") == "1",
        self_fence_bound_s=bound_s,
        doubts=_doubts(full) if bmc is not None else (),
    )


def _is_pacemakers_example(action: Action, target: str | None, caller: Caller, membership: Membership) -> bool:
    made_up = action is Action.VALIDATE_ALL and caller is Caller.CLUSTER and target == PACEMAKERS_EXAMPLE
    return made_up and membership.find(PACEMAKERS_EXAMPLE) is None


def _may_fence_itself(full: Mapping[str, str], action: Action, caller: Caller) -> bool:
    """Whether this node may fence itself.

    Pacemaker may ask the last node to fence itself through its own BMC, for instance after a failed stop. That is
    allowed with power alone, as with fence_ipmilan. With LUNs it is not, because the node would skip the race. A person
    who asks for it has mistyped.
    """
    return caller is Caller.CLUSTER and action is not Action.DIAG and bool(full.get("ip")) and not names_luns(full)


def _require_other_node(target: str | None, bmc: BmcSettings | None, membership: Membership) -> None:
    """Raises UsageError where it is unclear whether ``on`` unfences this node or switches another node on."""
    if membership.nodes and membership.local is None:
        hosts = " or ".join(membership.host_names)
        raise UsageError(
            f"local_node: {membership.source} has no node {hosts}, so whether to unfence this node or to switch "
            "another one on cannot be told: give local_node=NAME"
        )
    if bmc is None:
        raise UsageError(
            f"ip: {target or 'the target'} is not this node, so only its BMC can switch it on: give ip=ADDRESS, "
            "or run this on that node to unfence it"
        )


def names_luns(values: Mapping[str, str]) -> bool:
    """Whether the options name shared LUNs."""
    return bool(values.get("devices") or values.get("vg"))


def target_name(full: Mapping[str, str], membership: Membership) -> str | None:
    """The name of the target node; None where none is named.

    Raises UsageError for a node id that is in no cluster file, or that contradicts plug.
    """
    if name := full.get("nodename"):
        return name
    plug = full.get("plug") or None if full.get("port_as_ip") != "1" else None
    if not full.get("node"):
        return plug
    named = _name_of_id(full["node"], membership, needed=names_luns(full) and plug is None)
    known = membership.find(plug) if plug is not None else None
    if named is not None and known is not None and known.name != named:
        raise UsageError(f"node: {full['node']} is {named}, but plug says {plug}: give one of them")
    return named or plug


def _name_of_id(text: str, membership: Membership, needed: bool) -> str | None:
    """The node with this id, which dlm_controld gives as ``node=``. needed: raise UsageError instead of None."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise UsageError(f"node: {text[:40]!r} is not a node id: give the number that dlm_controld uses, or nodename=")
    identity = membership.with_id(int(text))
    if identity is not None and identity.name:
        return identity.name
    if needed:
        membership.require()
        where = membership.source or "neither a cluster.conf nor a corosync.conf"
        raise UsageError(f"node: {where} has no one node with id {int(text)}: add it there, or give nodename=NAME")
    return None


def _unfenced_node(full: Mapping[str, str], caller: Caller, membership: Membership) -> str:
    """The node to unfence where ``on`` names none: for a person this node. Raises UsageError for any other caller."""
    if caller is Caller.CLUSTER or full.get("ip"):
        raise UsageError(
            "nodename: on with LUNs registers this node or switches another one on, and no node is named: give "
            "nodename=NAME (-n NAME)"
        )
    return membership.local.name if membership.local is not None else membership.host_names[0]


def _policy(
    full: Mapping[str, str], bmc: BmcSettings | None, storage: StorageRequest | None, action: Action
) -> ProofPolicy:
    policy = ProofPolicy(full["proof"])
    if action in (Action.OFF, Action.REBOOT, Action.VALIDATE_ALL):
        if bmc is None and policy in (ProofPolicy.POWER, ProofPolicy.ALL):
            raise UsageError(f"proof: {policy} needs a BMC: give ip=ADDRESS, or proof=storage")
        if storage is None and policy in (ProofPolicy.STORAGE, ProofPolicy.ALL, ProofPolicy.SELF):
            raise UsageError(f"proof: {policy} needs the shared LUNs: give vg=NAME or devices=LIST, or proof=power")
    return policy


# --- BMC ----------------------------------------------------------------------------------------------------------


def _bmc(full: Mapping[str, str], waiting: Waiting) -> BmcSettings | None:
    address = full.get("ip", "")
    if not address:
        return None
    port = int(full["ipport"])
    if not 0 < port < 1 << 16:
        raise UsageError(f"ipport: {port} is not a UDP port: give a number from 1 to 65535")
    return BmcSettings(
        address=address,
        port=port,
        username=_at_most("username", _bytes(full.get("username", "")), MAX_USERNAME_BYTES),
        password=Secret(_at_most("password", _password(full, waiting), MAX_PASSWORD_BYTES)),
        kg=_kg(full.get("hexadecimal_kg", "")),
        cipher=_cipher(full.get("cipher", "")),
        privilege=_privilege(full),
        bridge_address=_bridge(full.get("target", "")),
    )


def _privilege(full: Mapping[str, str]) -> Privilege | None:
    level = Privilege[full["privlvl"].upper()]
    return None if level is Privilege.ADMINISTRATOR else level


def _password(full: Mapping[str, str], waiting: Waiting) -> bytes:
    script = full.get("password_script", "")
    if not script:
        return _bytes(full.get("password", ""))
    from fencer.agent import password_script  # only where there is a script

    patience_s = min(PASSWORD_SCRIPT_S, _seconds(full, "deadline"))
    return password_script.ask(script, patience_s, lambda left_s: waiting("password_script", left_s))


def _doubts(full: Mapping[str, str]) -> tuple[str, ...]:
    """Warnings about a valid request."""
    doubts: list[str] = []
    if _suite(full.get("cipher", "")) not in (None, 3, 17):  # configurations of other agents name such suites
        doubts.append(
            "cipher: only suites 3 and 17 are spoken here: 17 is tried, then 3: give one of them, or leave it out"
        )
    if script := full.get("password_script", ""):
        from fencer.agent import password_script

        if (doubt := password_script.doubt(script)) is not None:
            doubts.append(doubt)
    return tuple(doubts)


def _at_most(option: str, value: bytes, limit: int) -> bytes:
    if len(value) > limit:
        raise UsageError(f"{option}: {len(value)} bytes given, IPMI 2.0 carries {limit}: give what the BMC itself has")
    return value


def _kg(text: str) -> Secret | None:
    if not text:
        return None
    try:
        kg = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise UsageError("hexadecimal_kg: not hexadecimal: give the Kg key as pairs of hexadecimal digits") from error
    if len(kg) > 20:
        raise UsageError(f"hexadecimal_kg: {len(kg)} bytes: a Kg key has at most 20")
    return Secret(kg)


def _cipher(text: str) -> int | None:
    """3 or 17; None to try both, also where another suite is given (see _doubts)."""
    return suite if (suite := _suite(text)) in (3, 17) else None


def _suite(text: str) -> int | None:
    """The number of a cipher suite (IPMI 2.0 table 22-20)."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) < 256):
        raise UsageError("cipher: not the number of a cipher suite: give 3 or 17, or leave it out to try both")
    return int(text)


def _bridge(text: str) -> int | None:
    if not text:
        return None
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if not 0 < address < 256:
        raise UsageError("target: not an IPMB address: give a number from 0x01 to 0xff")
    return address


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# --- time ---------------------------------------------------------------------------------------------------------


def overall_s(full: Mapping[str, str], caller: Caller) -> float:
    """The deadline of a call, in seconds from its start. Raises UsageError."""
    deadline_s = _seconds(full, "deadline")
    if deadline_s <= 0:
        raise UsageError("deadline: 0 leaves no time for anything: give the seconds a fence may take")
    if caller is Caller.CLUSTER and full["action"] in LOOKS:
        return min(deadline_s, LOOK_S)
    return deadline_s


def _timing(full: Mapping[str, str], given: Mapping[str, str], caller: Caller = Caller.CLUSTER) -> Timing:
    deadline_s = overall_s(full, caller)
    # Pacemaker disables the limits of single steps, but a limit that the operator gave counts.
    bounded = full["disable_timeout"] != "1" or ("power_timeout" in given and "disable_timeout" not in given)
    power_timeout_s = _seconds(full, "power_timeout") if bounded else 0.0
    return Timing(
        delay_s=_seconds(full, "delay"),
        deadline_s=deadline_s,
        login_timeout_s=_seconds(full, "login_timeout") or deadline_s,
        login_limit_s=(_seconds(full, "login_timeout") or math.inf) if "login_timeout" in given else math.inf,
        power_timeout_s=power_timeout_s or deadline_s,
        power_wait_s=_seconds(full, "power_wait"),
        status_sleep_s=_seconds(full, "stonith_status_sleep"),
        rank_slot_s=_seconds(full, "rank_slot") if full.get("rank_slot") else None,
        retry_on=int(full["retry_on"]),
    )


def _seconds(full: Mapping[str, str], option: str) -> float:
    try:
        seconds = float(full[option])
    except ValueError:
        seconds = -1.0
    if not (math.isfinite(seconds) and 0 <= seconds <= 86400):
        raise UsageError(f"{option}: not a time: give seconds from 0 to 86400")
    return seconds
