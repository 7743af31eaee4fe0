# SPDX-License-Identifier: Apache-2.0
"""Checks whether ``proof=self`` may be used: the operator's self_fence_bound, against this node's own sidecar.

This node cannot see the target's sidecar. By giving ``self_fence_bound`` the operator states that it is armed. This
node is configured like the target, so the statement is checked against its own sidecar
(docs/decisions/0010-self-proof.md).
"""

import math
import time
from collections.abc import Mapping

from fencer.errors import UsageError
from fencer.regular_file import require_private_directory
from fencer.state.liveness import Liveness, liveness
from fencer.state.snapshot import PolicyState, Snapshot

STORAGE_S = 10.0
"""Time for arbitration and isolation before the wait begins."""

_SINCE = "proof=self needs halvm-watchdogd armed on each node, so on this one, too"


def bound_s(full: Mapping[str, str], deadline_s: float) -> float:
    """The operator's bound in seconds. Raises UsageError where it is missing, or longer than the deadline allows."""
    text = full.get("self_fence_bound", "")
    seconds = float(text) if text else 0.0
    if not 0 < seconds <= 86400:
        raise UsageError(
            "self_fence_bound: proof=self waits so long for the target to reset itself: give the seconds that "
            "halvm-watchdogd --check-config names, the largest of all nodes"
        )
    if deadline_s < seconds + STORAGE_S:
        raise UsageError(
            f"deadline: {deadline_s:g} s cannot hold self_fence_bound={seconds:g} and the isolation before it: give "
            f"{math.ceil(seconds + STORAGE_S)} or more, and the cluster manager's own timeout above that"
        )
    return seconds


def check_sidecar(state_dir: str, bound: float) -> None:
    """Raises UsageError when the snapshot of this node's own sidecar contradicts the bound. Reads one small file."""
    from fencer.state.boot_id import read_boot_id
    from fencer.state.snapshot_file import read_snapshot  # with json

    require_private_directory("state_dir", state_dir)
    try:
        snapshot = read_snapshot(state_dir)
    except FileNotFoundError as error:
        raise UsageError(f"proof: halvm-watchdogd has not run in this boot: {_SINCE}: start it") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"proof: {state_dir}: {error}: {_SINCE}: see its log") from error
    if reason := doubt(snapshot, bound, read_boot_id(), time.monotonic()):
        raise UsageError(reason)


def doubt(snapshot: Snapshot, bound: float, boot_id: str, now_s: float) -> str | None:
    """Why the snapshot of this node's sidecar contradicts the operator's bound; None where it does not. Pure."""
    found = liveness(snapshot, boot_id, now_s)
    if found is Liveness.OTHER_BOOT:
        return f"proof: halvm-watchdogd has not run in this boot: {_SINCE}: start it"
    if found is not Liveness.ALIVE:
        age_s = now_s - snapshot.written_monotonic_s
        return f"proof: halvm-watchdogd does not run, its last word is {age_s:.0f} s old: {_SINCE}: start it"
    if snapshot.state is PolicyState.SELF_FENCE:
        return "proof: halvm-watchdogd is resetting this node: leave the fencing to another one"
    if not snapshot.watchdog.armed:
        return f"proof: halvm-watchdogd has no watchdog armed here ({snapshot.state}): {_SINCE}: see its status"
    if not snapshot.bound_s <= bound:  # not ">": a NaN must be refused, too
        return (
            f"self_fence_bound: {bound:g} s is less than the {snapshot.bound_s:g} s that halvm-watchdogd needs on this "
            "node: give the largest bound of all nodes"
        )
    return None
