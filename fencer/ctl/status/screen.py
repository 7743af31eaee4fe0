# SPDX-License-Identifier: Apache-2.0
"""``halvmctl status`` as text of at most 80 columns, on a narrow terminal of fewer, and as JSON."""

import time
from collections.abc import Iterator
from textwrap import wrap
from typing import Any, Final

from fencer.ctl.exit_status import CtlStatus
from fencer.ctl.sources.luns import LunReading
from fencer.ctl.status.view import Remark, View, Volume
from fencer.state.readings import SnapshotStatus
from fencer.terminal import Terminal

COLUMNS: Final = 80
_LABEL: Final = 11
_WORDS: Final = {CtlStatus.FAULT: "FAULT", CtlStatus.WARNING: "WARNING", CtlStatus.UNKNOWN: "UNKNOWN"}


def screen(view: View, found: tuple[Remark, ...], terminal: Terminal) -> str:
    """The screen as text. Parts without data are left out. What could not be read is among the remarks."""
    width = min(COLUMNS, terminal.width or COLUMNS)
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(view.at_unix_s))
    head = _printable(f"{view.cluster or 'no cluster'} as seen by {view.node}")
    fits = len(head) < width - len(when)
    lines = [f"{head}{when.rjust(width - len(head))}"] if fits else wrap(f"{head}, {when}", width)
    for label, texts in (
        ("Quorum", _quorum(view)),
        ("Nodes", _nodes(view)),
        ("Storage", _storage(view)),
        ("LUNs", _luns(view)),
        ("Sidecar", _sidecar(view)),
        ("Stonith", _resources(view, stonith=True)),
        ("Services", _resources(view, stonith=False)),
        ("Fences", _fences(view)),
    ):
        lines += _block(label, list(texts), width)
    for remark in found:
        first, *rest = _block(_WORDS[remark.status], [remark.text], width)
        lines += [terminal.weighed(first), *rest]
    if not found:
        lines.append(terminal.good("All is well."))
    return "\n".join(lines) + "\n"


def _block(label: str, texts: list[str], width: int) -> list[str]:
    """Texts beside a label, wrapped. A text that begins with blanks is indented so."""
    lines: list[str] = []
    for text in texts:
        inner = " " * (len(text) - len(text.lstrip()))
        for part in wrap(_printable(text.lstrip()), width - _LABEL - len(inner), subsequent_indent="  ") or [""]:
            head = label if not lines else ""
            lines.append(f"{head:<{_LABEL}}{inner}{part}".rstrip())
    return lines


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _quorum(view: View) -> Iterator[str]:
    quorum = view.quorum.value
    if quorum is not None:
        flags = f" ({' '.join(quorum.flags)})" if quorum.flags else ""
        word = "yes" if quorum.quorate else "NO"
        yield f"{word}: {quorum.votes} of {quorum.expected} votes, {quorum.needed} needed{flags}"


def _nodes(view: View) -> Iterator[str]:
    pacemaker, quorum = view.pacemaker.value, view.quorum.value
    if pacemaker is not None:
        states = {node.name: node.state for node in pacemaker.nodes}
    elif quorum is not None:
        seen = {member.name for member in quorum.members}
        states = {
            name: "member" if name in seen else "NOT SEEN" for name in (*view.nodes, *sorted(seen - {*view.nodes}))
        }
    else:
        return
    marks = {view.node: "this node"}
    if pacemaker is not None and pacemaker.dc:
        marks[pacemaker.dc] = "this node, DC" if pacemaker.dc == view.node else "DC"
    yield ", ".join(f"{name} {state}{f' ({marks[name]})' if name in marks else ''}" for name, state in states.items())


def _storage(view: View) -> Iterator[str]:
    for group in view.vgs.value or ():
        if group.name not in view.groups:
            continue
        if group.lock_type not in ("", "none"):
            owner = f"shared by locks ({group.lock_type})"
        else:
            owner = f"owned by {group.system_id}" if group.system_id else "owned by no node (no system ID)"
        here = [each for each in view.volumes.value or () if each.volume.group == group.name]
        yield "; ".join([f"{group.name}: {owner}", *(map(_volume, here) if here else ["nothing active here"])])


def _volume(each: Volume) -> str:
    if each.mount is None:
        return f"{each.volume.name} active here, not mounted"
    mode = ", read-only" if each.mount.read_only else ""
    return f"{each.volume.name} here on {each.mount.directory} ({each.mount.kind}{mode})"


def _luns(view: View) -> Iterator[str]:
    for _, reading in view.luns:
        for lun in reading.value or ():
            yield f"{lun.name} {lun.wwid}: {lun.reservation or 'NO RESERVATION'}"
            yield from _keys(lun)


def _keys(lun: LunReading) -> Iterator[str]:
    for key in lun.keys:
        yield f"  {key.key} {key.node or 'of no known node'}{', holds the reservation' if key.holder else ''}"
    if not lun.keys and not lun.problem:
        yield "  no key"


def _sidecar(view: View) -> Iterator[str]:
    snapshot = view.sidecar.fresh
    if snapshot is None:
        if view.sidecar.status is not SnapshotStatus.MISSING:
            yield f"does not run ({view.sidecar.status.value.replace('_', ' ')})"
        return
    watchdog = snapshot.watchdog
    armed = f"{watchdog.device} armed, {watchdog.timeout_s:g} s" if watchdog.armed else "no watchdog armed"
    up = [f"{sum(path.up for path in lun.paths)} of {len(lun.paths)} paths to {lun.name}" for lun in snapshot.luns]
    yield "; ".join([f"{snapshot.state}: {armed}", *up, f"resets this node within {snapshot.bound_s:g} s of a loss"])


def _resources(view: View, *, stonith: bool) -> Iterator[str]:
    pacemaker = view.pacemaker.value
    for each in pacemaker.resources if pacemaker is not None else ():
        if each.is_stonith is stonith:
            agent = each.agent.rpartition(":")[2]
            where = f" on {', '.join(each.nodes)}" if each.nodes else ""
            yield f"{each.name} ({agent}): {each.role}{where}{' FAILED' if each.failed else ''}"


def _fences(view: View) -> Iterator[str]:
    for event in view.fences.latest:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(event.at_unix_s))
        proof = f", proved by {event.proof}" if event.proofs else ""
        yield (
            f"{when} {event.actor or '?'}: {event.action} of {event.target or '?'}: {event.outcome.value}"
            f"{proof}, {event.took_s:.1f} s"
        )


def as_json(view: View, found: tuple[Remark, ...], status: CtlStatus) -> dict[str, Any]:
    """All of the view, for scripts. docs/halvmctl.md lists the fields."""
    return {
        "at_unix_s": view.at_unix_s,
        "cluster": view.cluster,
        "node": view.node,
        "nodes": list(view.nodes),
        "status": int(status),
        "remarks": [{"weight": each.status.name.lower(), "text": each.text} for each in found],
        "quorum": _plain(view.quorum.value),
        "pacemaker": _plain(view.pacemaker.value),
        "volume_groups": [_plain(each) for each in view.vgs.value or () if each.name in view.groups],
        "active_volumes": [_plain(each) for each in view.volumes.value or ()],
        "luns": [{"group": group, **_plain(lun)} for group, reading in view.luns for lun in reading.value or ()],
        "sidecar": {
            "status": view.sidecar.status.value,
            "snapshot": _plain(view.sidecar.snapshot),
        },
        "fences": [_plain(event) for event in view.fences.latest],
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Named tuples become objects, other tuples lists."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
