"""From checked option text to a typed Request: the edge where words become keys, addresses and times.

Everything that can be wrong with what was asked is found here, before anything is sent: one sentence, naming the option
and the remedy.
"""

import math
import shlex
import subprocess
from collections.abc import Mapping

from fencer.cli.membership import Membership
from fencer.errors import UsageError
from fencer.model import (
    Action,
    ArbitrationMode,
    BmcSettings,
    KeyScheme,
    Method,
    Privilege,
    ProofPolicy,
    ReservationKey,
    ReservationType,
    Secret,
)
from fencer.request import Caller, Request, StorageSettings, Timing
from fencer.storage.keys import check_collisions, derive_key
from fencer.storage.marker import Marker, read_marker

PASSWORD_SCRIPT_S = 5.0
PACEMAKER_DEADLINE_S = 50.0
"""Pacemaker kills an agent after 60 s by default, with no chance to log out of the BMC: be done before."""

_TYPES = {
    "WERO": ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
    "WE": ReservationType.WRITE_EXCLUSIVE,
    "EARO": ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
    "EA": ReservationType.EXCLUSIVE_ACCESS,
    "WEAR": ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS,
    "EAAR": ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
}
_AGAINST_OTHERS = (Action.OFF, Action.REBOOT, Action.DIAG)


def build_request(full: Mapping[str, str], given: Mapping[str, str], caller: Caller, membership: Membership) -> Request:
    """full: option text with defaults; given: only what the caller wrote. Raises UsageError."""
    action = Action(full["action"])
    target = _target(full)
    local = target is not None and membership.is_local(target)
    if local and action in _AGAINST_OTHERS:
        raise UsageError(f"plug: {target} is this node: a node cannot fence itself; run this on another node")
    storage = _storage(full, action, target, local, membership)
    unfencing = action is Action.ON and local and storage is not None
    bmc = None if unfencing else _bmc(full)  # a node that runs needs no BMC to be switched on
    if bmc is None and storage is None:
        raise UsageError(
            "ip: neither a BMC nor shared LUNs are known: give ip=ADDRESS, or vg=NAME or devices=LIST, "
            "or on the command line -n NODE with a cluster.conf"
        )
    return Request(
        action=action,
        caller=caller,
        target=target,
        target_is_local=local,
        policy=_policy(full, bmc, storage, action),
        bmc=bmc,
        storage=storage,
        method=Method(full["method"]),
        timing=_timing(full, given),
        dry_run=full.get("dry_run") == "1",
    )


def _target(full: Mapping[str, str]) -> str | None:
    if name := full.get("nodename"):
        return name
    return full.get("plug") or None if full.get("port_as_ip") != "1" else None


def _policy(
    full: Mapping[str, str], bmc: BmcSettings | None, storage: StorageSettings | None, action: Action
) -> ProofPolicy:
    policy = ProofPolicy(full["proof"])
    if action in (Action.OFF, Action.REBOOT):
        if bmc is None and policy in (ProofPolicy.POWER, ProofPolicy.ALL):
            raise UsageError(f"proof: {policy} needs a BMC: give ip=ADDRESS, or proof=storage")
        if storage is None and policy in (ProofPolicy.STORAGE, ProofPolicy.ALL):
            raise UsageError(f"proof: {policy} needs the shared LUNs: give vg=NAME or devices=LIST, or proof=power")
    return policy


# --- BMC ----------------------------------------------------------------------------------------------------------


def _bmc(full: Mapping[str, str]) -> BmcSettings | None:
    address = full.get("ip", "")
    if not address:
        return None
    port = int(full["ipport"])
    if not 0 < port < 1 << 16:
        raise UsageError(f"ipport: {port} is not a UDP port: give a number from 1 to 65535")
    return BmcSettings(
        address=address,
        port=port,
        username=_bytes(full.get("username", "")),
        password=Secret(_password(full)),
        kg=_kg(full.get("hexadecimal_kg", "")),
        cipher=_cipher(full.get("cipher", "")),
        privilege=_privilege(full),
        bridge_address=_bridge(full.get("target", "")),
    )


def _privilege(full: Mapping[str, str]) -> Privilege | None:
    level = Privilege[full["privlvl"].upper()]
    return None if level is Privilege.ADMINISTRATOR else level


def _password(full: Mapping[str, str]) -> bytes:
    script = full.get("password_script", "")
    if not script:
        return _bytes(full.get("password", ""))
    remedy = "give the path of a program that prints the password"
    try:
        command = shlex.split(script)
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PASSWORD_SCRIPT_S, check=False
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"password_script: {script}: {reason}: {remedy}") from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"password_script: {script}: no answer within {PASSWORD_SCRIPT_S:g} s: {remedy}") from error
    if done.returncode:
        raise UsageError(f"password_script: {script}: exit status {done.returncode}: {remedy}")
    return done.stdout.rstrip()


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
    if not text:
        return None
    if text.strip() not in ("3", "17"):
        raise UsageError(f"cipher: suite {text.strip()} is not supported: give 3 or 17, or leave it out to try both")
    return int(text)


def _bridge(text: str) -> int | None:
    if not text:
        return None
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if not 0 < address < 256:
        raise UsageError(f"target: {text!r} is not an IPMB address: give a number from 0x01 to 0xff")
    return address


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# --- storage ------------------------------------------------------------------------------------------------------


def _storage(
    full: Mapping[str, str], action: Action, target: str | None, local: bool, membership: Membership
) -> StorageSettings | None:
    devices = tuple(entry.strip() for entry in full.get("devices", "").split(",") if entry.strip())
    group = full.get("vg") or None
    if not devices and group is None:
        return None
    if devices and group is not None:
        raise UsageError("devices: vg is given, too: give one of them")
    _check_iscsi_urls(devices)
    keys = _cluster_keys(full, membership)
    state_dir = full["state_dir"]
    own = _own_key(full, action, local, membership, keys, state_dir)
    target_key = _target_key(full, action, target, membership, keys)
    if own is not None and own == target_key and action in _AGAINST_OTHERS:
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
    )


def _check_iscsi_urls(devices: tuple[str, ...]) -> None:
    urls = [device for device in devices if device.startswith("iscsi://")]
    if urls:
        from fencer.storage.libiscsi import IscsiUrl  # noqa: PLC0415 - brings ctypes

        for url in urls:
            IscsiUrl.parse(url)


def _cluster_keys(full: Mapping[str, str], membership: Membership) -> dict[str, ReservationKey]:
    """Every node's derived key. A cluster whose keys are all given by hand needs no derivable ones."""
    scheme = KeyScheme(full["key_value"])
    try:
        keys = {node.name: derive_key(scheme, membership.name, node) for node in membership.nodes}
    except UsageError:
        if full.get("key"):
            return {}
        raise
    check_collisions(keys)
    return keys


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
    marker = read_marker(state_dir)
    if isinstance(marker, Marker):
        return marker.key
    if membership.local is not None and membership.local.name in keys:
        return keys[membership.local.name]
    if action in _AGAINST_OTHERS or (action is Action.ON and local):
        raise UsageError(
            f"local_key: {_why_no_key(membership, ', '.join(membership.host_names))}: "
            "give local_key=KEY, or local_node=NAME"
        )
    return None


def _target_key(
    full: Mapping[str, str],
    action: Action,
    target: str | None,
    membership: Membership,
    keys: Mapping[str, ReservationKey],
) -> ReservationKey | None:
    if action not in _AGAINST_OTHERS and (action is not Action.STATUS or full.get("ip")):
        return None
    if full.get("key"):
        return _key("key", full["key"])
    if target is None:
        raise UsageError("plug: which node's key is meant is not known: give plug=NODE (-n NODE), or key=KEY")
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
    if not membership.nodes:
        return f"no cluster.conf and no corosync.conf to derive the key of {names} from"
    return f"{membership.source} has no node {names} to derive a key from"


def _initiator(membership: Membership) -> str:
    name = membership.local.name if membership.local is not None else membership.host_names[0]
    return "iqn.2026-11.fence-halvm:" + "".join(c if c.isalnum() or c in "-.:" else "-" for c in name.lower())


# --- time ---------------------------------------------------------------------------------------------------------


def _timing(full: Mapping[str, str], given: Mapping[str, str]) -> Timing:
    deadline_s = _seconds(full, "deadline")
    unbounded = full["disable_timeout"] == "1"
    if unbounded and "deadline" not in given:
        deadline_s = PACEMAKER_DEADLINE_S
    if deadline_s <= 0:
        raise UsageError("deadline: 0 leaves no time for anything: give the seconds a fence may take")
    power_timeout_s = _seconds(full, "power_timeout")
    return Timing(
        delay_s=_seconds(full, "delay"),
        deadline_s=deadline_s,
        login_timeout_s=_seconds(full, "login_timeout") or deadline_s,
        power_timeout_s=deadline_s if unbounded or power_timeout_s == 0 else power_timeout_s,
        power_wait_s=_seconds(full, "power_wait"),
        status_sleep_s=_seconds(full, "stonith_status_sleep"),
        rank_slot_s=_seconds(full, "rank_slot"),
        retry_on=int(full["retry_on"]),
    )


def _seconds(full: Mapping[str, str], option: str) -> float:
    try:
        seconds = float(full[option])
    except ValueError:
        seconds = -1.0
    if not (math.isfinite(seconds) and 0 <= seconds <= 86400):
        raise UsageError(f"{option}: {full[option]!r} is not a time: give seconds from 0 to 86400")
    return seconds
