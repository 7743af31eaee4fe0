# SPDX-License-Identifier: Apache-2.0
"""Finds what is wrong with the LUNs and their paths, in the sidecar's snapshot."""

from collections.abc import Iterator
from typing import Final

from fencer.exporter.page import words
from fencer.exporter.page.finding import Finding, FindingSeverity
from fencer.state.readings import readable_now
from fencer.state.snapshot import LunSnapshot, PolicyState, RegistrationState, Snapshot

_REGISTRATION_FINDINGS: Final = {
    RegistrationState.PREEMPTED: (
        FindingSeverity.BAD,
        "This node's key was preempted on {}: another node has fenced it.",
        "HalvmNodePreempted",
    ),
    RegistrationState.UNPROTECTED: (
        FindingSeverity.BAD,
        "No reservation is held on {}: any initiator may write there.",
        "HalvmNoReservation",
    ),
    RegistrationState.CONFLICT: (
        FindingSeverity.BAD,
        "The reservation on {} lets only its holder write, and that is not this node.",
        "HalvmReservationConflict",
    ),
    RegistrationState.SHUT_OUT: (
        FindingSeverity.BAD,
        "The target lost all registrations on {} and others have registered since: this node may not write there.",
        "HalvmNodePreempted",
    ),
    RegistrationState.UNKNOWN: (
        FindingSeverity.BAD,
        "This node is not registered on {}, and whether it was fenced cannot be told.",
        "HalvmKeyNotRegistered",
    ),
    RegistrationState.TARGET_FORGOT: (
        FindingSeverity.BAD,
        "The target has lost all registrations on {}.",
        "HalvmTargetForgot",
    ),
    RegistrationState.DROPPED: (
        FindingSeverity.BAD,
        "The target has dropped this node's registration on {}: it was not preempted, and is registered again.",
        "HalvmKeyNotRegistered",
    ),
    RegistrationState.NEVER: (
        FindingSeverity.WARNING,
        "This node has not been registered on {} in this boot: it may not write there.",
        "HalvmKeyNotRegistered",
    ),
}


def has_finding(lun: LunSnapshot, snapshot: Snapshot) -> bool:
    """Whether lun_findings has a finding of this LUN."""
    if not readable_now(lun, snapshot) or not all(path.up and path.registered for path in lun.paths) or not lun.paths:
        return True
    return lun.registration in _REGISTRATION_FINDINGS or not lun.type


def lost_luns(snapshot: Snapshot) -> list[LunSnapshot]:
    """LUNs of which no path is up, or whose registrations cannot be read."""
    return [lun for lun in snapshot.luns if not readable_now(lun, snapshot) or not any(path.up for path in lun.paths)]


def losses(lost: list[LunSnapshot]) -> Iterator[tuple[str, str]]:
    """A sentence and its page of the runbook: for LUNs without a path, and for LUNs that only cannot be read."""
    cut = [lun for lun in lost if not any(path.up for path in lun.paths)]
    silent = [lun for lun in lost if lun not in cut]
    if cut:
        errors = [path.error for lun in cut for path in lun.paths if path.error]
        why = f" ({errors[0]})" if errors else ""
        yield f"{_named(cut)} {_are(cut)} lost: no path is up{why}.", "HalvmNoPath"
    if silent:
        why = f": {silent[0].error}" if silent[0].error else ""
        yield f"Registrations cannot be read from {_named(silent)}{why}.", "HalvmLunUnreadable"


def _are(luns: list[LunSnapshot]) -> str:
    return "is" if len(luns) == 1 else "are"


def lun_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """The findings of the LUNs: registration, reservation, keys, paths."""
    if not snapshot.luns and snapshot.state is not PolicyState.STARTING:
        yield Finding(
            FindingSeverity.WARNING, "The sidecar watches no LUN.", "HalvmLunListUnsettled", "See its configuration."
        )
    lost = lost_luns(snapshot)
    if lost and snapshot.state is not PolicyState.SELF_FENCE and snapshot.grace_remaining_s is None:
        yield from (Finding(FindingSeverity.BAD, text, page) for text, page in losses(lost))
    readable = [lun for lun in snapshot.luns if lun not in lost]
    for state, (severity, text, page) in _REGISTRATION_FINDINGS.items():
        if there := [lun for lun in readable if lun.registration == state]:
            yield Finding(severity, text.format(_named(there)), page)
    unheld = [lun for lun in readable if not lun.type and lun.registration == RegistrationState.REGISTERED]
    if unheld:
        text = f"No reservation is held on {_named(unheld)}: any initiator may write there."
        yield Finding(FindingSeverity.BAD, text, "HalvmNoReservation")
    for node in snapshot.nodes:
        absent = [lun for lun in readable if all(key.key != node.key for key in lun.keys)]
        if absent and node.name != snapshot.node:
            where = "any LUN" if len(absent) == len(snapshot.luns) else _named(absent)
            text = (
                f"{node.name} is not registered on {where}: it was fenced, or has not joined, and may not write there."
            )
            yield Finding(FindingSeverity.WARNING, text, "HalvmKeyNotRegistered")
    known = {node.key for node in snapshot.nodes}
    if strange := [lun for lun in readable if any(key.key not in known for key in lun.keys)]:
        text = f"Keys of no configured node are registered on {_named(strange)}."
        yield Finding(FindingSeverity.WARNING, text, "HalvmUnknownKey")
    yield from _of_paths(snapshot)


def _of_paths(snapshot: Snapshot) -> Iterator[Finding]:
    for lun in snapshot.luns:
        down = [path for path in lun.paths if not path.up]
        up = [path for path in lun.paths if path.up]
        if down and up:
            severity = FindingSeverity.BAD if len(up) == 1 else FindingSeverity.WARNING
            last = ": one path is left" if len(up) == 1 else ""
            why = f" ({down[0].error})" if down[0].error else ""
            are = "is" if len(down) == 1 else "are"
            text = f"{words.names([p.name for p in down])} to {_name(lun)} {are} down{why}{last}."
            yield Finding(severity, text, "HalvmLastPath" if last else "HalvmPathLost")
        bare = [path.name for path in up if not path.registered]
        if bare and lun.registration not in _REGISTRATION_FINDINGS:  # which covers the whole LUN
            text = f"{words.names(bare)} to {_name(lun)}: up, but this node's key is not on it; not counted."
            yield Finding(FindingSeverity.WARNING, text, "HalvmPathLost")


def _named(luns: list[LunSnapshot]) -> str:
    return words.names([_name(lun) for lun in luns])


def _name(lun: LunSnapshot) -> str:
    return lun.name or lun.wwid
