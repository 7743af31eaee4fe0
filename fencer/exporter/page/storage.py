# SPDX-License-Identifier: Apache-2.0
"""Shows the shared LUNs: who may write where, and over which paths."""

from collections.abc import Callable, Sequence
from typing import Final

from fencer.exporter.page import words
from fencer.exporter.page.markup import Markup, element, joined, mark
from fencer.state.readings import readable_now
from fencer.state.snapshot import LunSnapshot, NodeSnapshot, PathSnapshot, RegistrationState, Snapshot

FOLD_FROM: Final = 8


def _lun_name(lun: LunSnapshot) -> Markup:
    return joined((lun.name or "unnamed", element("code", lun.wwid, class_="wwid")))


def who_may_write(snapshot: Snapshot) -> Markup:
    """A table of LUNs and nodes: who is registered, and who holds the reservation."""
    if not snapshot.luns:
        return element("p", "No shared LUN is watched.")
    nodes = snapshot.nodes
    known = {node.key for node in nodes}
    strangers = any(key.key not in known for lun in snapshot.luns for key in lun.keys)
    headings = [element("th", "LUN", scope="col")]
    headings += [element("th", _heading(node, snapshot), scope="col") for node in nodes]
    headings += [element("th", "Others", scope="col")] if strangers else []
    headings += [element("th", "Reservation", scope="col")]
    head = element("thead", element("tr", *headings))

    def table(luns: Sequence[LunSnapshot]) -> Markup:
        body = element("tbody", *(_matrix_row(lun, snapshot, known, strangers=strangers) for lun in luns))
        return _scrolling(element("table", head, body), "LUNs by nodes")

    return _folded(snapshot, table)


def _folded(snapshot: Snapshot, table: Callable[[Sequence[LunSnapshot]], Markup]) -> Markup:
    """The LUNs that are not healthy; if there are many, the healthy ones behind a line that opens them."""
    if len(snapshot.luns) <= FOLD_FROM:
        return table(snapshot.luns)
    good = [lun for lun in snapshot.luns if _in_order(lun, snapshot)]
    odd = [lun for lun in snapshot.luns if lun not in good]
    summary = element("summary", f"{words.count(len(good), 'LUN')} as they should be")
    return joined((table(odd) if odd else None, element("details", summary, table(good)) if good else None))


def _in_order(lun: LunSnapshot, snapshot: Snapshot) -> bool:
    """Whether all nodes and no other keys are registered, a reservation is held, and all paths are usable."""
    return (
        readable_now(lun, snapshot)
        and lun.registration == RegistrationState.REGISTERED
        and bool(lun.type)
        and {key.key for key in lun.keys} == {node.key for node in snapshot.nodes}
        and all(path.up and path.registered for path in lun.paths)
    )


def _scrolling(table: Markup, label: str) -> Markup:
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def _matrix_row(lun: LunSnapshot, snapshot: Snapshot, known: set[str], *, strangers: bool) -> Markup:
    name = element("th", _lun_name(lun), scope="row")
    if not readable_now(lun, snapshot):
        across = str(len(snapshot.nodes) + 1 + strangers)
        why = f" {lun.error or 'not read lately'}"
        return element("tr", name, element("td", mark("unknown", "bad"), why, colspan=across, class_="wide"))
    cells = [element("td", _cell(lun, node), data_of=_heading(node, snapshot)) for node in snapshot.nodes]
    if strangers:
        others = [key.key for key in lun.keys if key.key not in known]
        cells.append(
            element("td", mark(str(len(others)), "warn"), " ", words.names(others)) if others else element("td")
        )
    generation = element("span", f"generation {lun.generation}", class_="soft")
    held = joined((lun.type or mark("none", "bad"), element("br"), generation))
    return element("tr", name, *cells, element("td", held, data_of="Reservation", class_="wide"))


def _heading(node: NodeSnapshot, snapshot: Snapshot) -> str:
    return f"{node.name} (here)" if node.name == snapshot.node else node.name


def _cell(lun: LunSnapshot, node: NodeSnapshot) -> Markup:
    nexuses = sum(key.nexuses for key in lun.keys if key.key == node.key)
    if not any(key.key == node.key for key in lun.keys):
        return mark("absent", "bad")
    holder = mark("holder", "good") if lun.holder == node.key else None
    if lun.type and not lun.holder:
        holder = mark("holder, as all", "good")
    over = element("span", f"on {words.count(nexuses, 'nexus').replace('nexuss', 'nexuses')}", class_="soft")
    return joined((mark("registered", "good"), " ", holder, element("br"), over))


def paths_from_here(snapshot: Snapshot) -> Markup:
    """Each LUN with its paths."""
    if not snapshot.luns:
        return element("p", "No path is watched.")

    def table(luns: Sequence[LunSnapshot]) -> Markup:
        return _scrolling(element("table", element("tbody", *map(_path_row, luns))), "Paths")

    return _folded(snapshot, table)


def _path_row(lun: LunSnapshot) -> Markup:
    up = sum(path.up for path in lun.paths)
    css = "good" if up and up == len(lun.paths) else "warn" if up > 1 else "bad"
    paths = element("ul", *(element("li", _path(path)) for path in lun.paths), class_="paths")
    total = element("td", mark(f"{up} of {len(lun.paths)} up", css), class_="wide")
    name = element("th", lun.name or lun.wwid, scope="row")
    return element("tr", name, total, element("td", paths, class_="wide"))


def _path(path: PathSnapshot) -> Markup:
    state = mark("up", "good") if path.up and path.registered else None
    state = state or (mark("up, not registered", "warn") if path.up else mark("down", "bad"))
    return joined((state, f" {path.name} ", element("code", path.address), f" {path.error}" if path.error else None))
