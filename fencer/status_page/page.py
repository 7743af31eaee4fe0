"""The whole page. It answers, from the top: is anything wrong, who may write where, over which paths, what feeds the
watchdog, would the next fence work, who fenced whom and what proved it."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fencer.event import Event, EventKind, Outcome
from fencer.metrics.record import bmc_reachable
from fencer.metrics.sidecar import grace_remaining_s
from fencer.readings import Readings, SnapshotStatus, readable_now
from fencer.status_page import words
from fencer.status_page.findings import Finding, Severity, find, nothing_there, proved
from fencer.status_page.markup import Child, Markup, element, joined
from fencer.status_page.style import STYLE
from fencer.watchdog.sightings import Standing
from fencer.watchdog.snapshot import LunSnapshot, NodeSnapshot, PathSnapshot, PolicyState, Snapshot

RELOAD_S: Final = 15
FOLD_FROM: Final = 8
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Nothing but this style sheet: even markup that got past the escaping could load and run nothing."""

_CLASSES: Final = {Severity.BAD: "bad", Severity.WARNING: "warn"}
_WORDS: Final = {Severity.BAD: "Wrong", Severity.WARNING: "Look"}


def render(readings: Readings, version: str) -> str:
    """One HTML document."""
    snapshot = _shown(readings)
    node = snapshot.node if snapshot is not None else ""
    found = find(readings)
    title = f"{node or 'this node'}: {_headline(found, readings)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="refresh", content=str(RELOAD_S)),
        element("meta", name_="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{title} · fence-halvm"),
        Markup(f"<style>{STYLE}</style>"),
    )
    body = element(
        "body",
        element("header", element("h1", node or "fence-halvm"), element("p", _subtitle(readings, snapshot))),
        element("main", _verdict(found, readings), *_sections(readings, snapshot)),
        element(
            "footer",
            element(
                "p",
                f"halvm-exporter {version} · all times in UTC · read from files: no disk and no BMC is asked · "
                f"reloads every {RELOAD_S} s · ",
                element("a", "metrics", href="/metrics"),
            ),
        ),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _shown(readings: Readings) -> Snapshot | None:
    """A stale snapshot is shown, and said to be: at night it is the best there is. One of another boot is not."""
    stands = readings.snapshot.status in (SnapshotStatus.FRESH, SnapshotStatus.STALE)
    return readings.snapshot.snapshot if stands else None


def _subtitle(readings: Readings, snapshot: Snapshot | None) -> str:
    now = words.moment(readings.now.unix_s, 0.0)
    if snapshot is None:
        return now
    keys = f"key {snapshot.key} · " if snapshot.key else ""
    return f"{keys}halvm-watchdogd {snapshot.version} · {now}"


# --- the verdict --------------------------------------------------------------------------------------------------


def _headline(found: list[Finding], readings: Readings) -> str:
    if nothing_there(readings):
        return "nothing to see yet"
    bad = sum(finding.severity is Severity.BAD for finding in found)
    if bad:
        return f"{words.count(bad, 'thing')} wrong"
    return f"{words.count(len(found), 'thing')} to look at" if found else "all is well"


def _verdict(found: list[Finding], readings: Readings) -> Markup:
    headline = _headline(found, readings)
    headline = headline[0].upper() + headline[1:]
    if nothing_there(readings):
        text = (
            "On this node neither halvm-watchdogd nor fence_halvm has left anything: no sidecar has run in this boot, "
            "and no fence is recorded. This says nothing about other nodes."
        )
        return _banner("idle", headline, element("p", text))
    if not found:
        return _banner("good", f"{headline}, proved {_proved_when(readings)}", element("p", _well(readings)))
    items = [
        element(
            "li",
            element("span", _WORDS[finding.severity], class_=f"mark {_CLASSES[finding.severity]}"),
            " ",
            finding.text,
            element("br") if finding.remedy else None,
            element("span", finding.remedy, class_="soft") if finding.remedy else None,
        )
        for finding in found
    ]
    return _banner(_CLASSES[found[0].severity], headline, element("ul", *items))


def _banner(css: str, headline: str, what: Markup) -> Markup:
    return element("section", element("h2", headline), what, class_=f"verdict {css}", role="status")


def _proved_when(readings: Readings) -> str:
    snapshot, now = readings.snapshot.snapshot, readings.now.unix_s
    return "" if snapshot is None else f"at {words.moment(snapshot.written_unix_s, now)}"


def _well(readings: Readings) -> str:
    if (snapshot := readings.snapshot.fresh) is None:
        return ""
    paths = [path for lun in snapshot.luns for path in lun.paths]
    return (
        f"This node is registered on {words.count(len(snapshot.luns), 'LUN')} under a reservation, "
        f"{sum(path.up for path in paths)} of {words.count(len(paths), 'path')} up, and the watchdog is armed and fed."
    )


# --- sections -----------------------------------------------------------------------------------------------------


def _sections(readings: Readings, snapshot: Snapshot | None) -> Iterator[Markup]:
    if snapshot is not None:
        stale = readings.snapshot.status is SnapshotStatus.STALE
        yield _section("Who may write", snapshot, readings, _matrix(snapshot), stale=stale)
        yield _section("Paths from this node", snapshot, readings, _paths(snapshot), stale=stale)
        yield _section("Watchdog", snapshot, readings, _watchdog(snapshot, readings, stale=stale), stale=stale)
    if readings.journal.monitors:
        yield element("section", element("h2", "Would the next fence work?"), _monitors(readings))
    yield element("section", element("h2", "What happened"), _story(readings))


def _section(heading: str, snapshot: Snapshot, readings: Readings, what: Markup, *, stale: bool) -> Markup:
    note: Markup | None = None
    if stale:
        when = words.moment(snapshot.written_unix_s, readings.now.unix_s)
        age = words.duration(readings.snapshot.age_s or 0.0)
        note = element("p", element("span", f"As of {when}, {age} ago: not current", class_="mark warn"))
    return element("section", element("h2", heading), note, what, class_="old" if stale else None)


def _mark(text: str, css: str) -> Markup:
    return element("span", text, class_=f"mark {css}")


def _lun_name(lun: LunSnapshot) -> Markup:
    return joined((lun.name or "unnamed", element("code", lun.wwid, class_="wwid")))


def _matrix(snapshot: Snapshot) -> Markup:
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
    """Of many LUNs, those that are not as they should be; the others behind a line that opens them."""
    if len(snapshot.luns) <= FOLD_FROM:
        return table(snapshot.luns)
    good = [lun for lun in snapshot.luns if _in_order(lun, snapshot)]
    odd = [lun for lun in snapshot.luns if lun not in good]
    summary = element("summary", f"{words.count(len(good), 'LUN')} as they should be")
    return joined((table(odd) if odd else None, element("details", summary, table(good)) if good else None))


def _in_order(lun: LunSnapshot, snapshot: Snapshot) -> bool:
    """Every node is registered and nobody else, a reservation is held, every path is up and registered."""
    return (
        readable_now(lun, snapshot)
        and lun.standing == Standing.REGISTERED
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
        return element("tr", name, element("td", _mark("unknown", "bad"), why, colspan=across, class_="wide"))
    cells = [element("td", _cell(lun, node), data_of=_heading(node, snapshot)) for node in snapshot.nodes]
    if strangers:
        others = [key.key for key in lun.keys if key.key not in known]
        cells.append(
            element("td", _mark(str(len(others)), "warn"), " ", words.names(others)) if others else element("td")
        )
    generation = element("span", f"generation {lun.generation}", class_="soft")
    held = joined((lun.type or _mark("none", "bad"), element("br"), generation))
    return element("tr", name, *cells, element("td", held, data_of="Reservation", class_="wide"))


def _heading(node: NodeSnapshot, snapshot: Snapshot) -> str:
    return f"{node.name} (here)" if node.name == snapshot.node else node.name


def _cell(lun: LunSnapshot, node: NodeSnapshot) -> Markup:
    nexuses = sum(key.nexuses for key in lun.keys if key.key == node.key)
    if not any(key.key == node.key for key in lun.keys):
        return _mark("absent", "bad")
    holder = _mark("holder", "good") if lun.holder == node.key else None
    if lun.type and not lun.holder:
        holder = _mark("holder, as all", "good")
    over = element("span", f"on {words.count(nexuses, 'nexus').replace('nexuss', 'nexuses')}", class_="soft")
    return joined((_mark("registered", "good"), " ", holder, element("br"), over))


def _paths(snapshot: Snapshot) -> Markup:
    if not snapshot.luns:
        return element("p", "No path is watched.")

    def table(luns: Sequence[LunSnapshot]) -> Markup:
        return _scrolling(element("table", element("tbody", *map(_path_row, luns))), "Paths")

    return _folded(snapshot, table)


def _path_row(lun: LunSnapshot) -> Markup:
    up = sum(path.up for path in lun.paths)
    css = "good" if up and up == len(lun.paths) else "warn" if up > 1 else "bad"
    paths = element("ul", *(element("li", _path(path)) for path in lun.paths), class_="paths")
    total = element("td", _mark(f"{up} of {len(lun.paths)} up", css), class_="wide")
    name = element("th", lun.name or lun.wwid, scope="row")
    return element("tr", name, total, element("td", paths, class_="wide"))


def _path(path: PathSnapshot) -> Markup:
    state = _mark("up", "good") if path.up and path.registered else None
    state = state or (_mark("up, not registered", "warn") if path.up else _mark("down", "bad"))
    return joined((state, f" {path.name} ", element("code", path.address), f" {path.error}" if path.error else None))


def _watchdog(snapshot: Snapshot, readings: Readings, *, stale: bool) -> Markup:
    watchdog, now = snapshot.watchdog, readings.now.unix_s
    rows: list[tuple[str, Child]] = [("State", _state(snapshot))]
    if watchdog.device:
        armed = _mark("armed", "good") if watchdog.armed else _mark("not armed", "bad")
        kind = f" {watchdog.device}, {watchdog.identity}, timeout {words.duration(watchdog.timeout_s)}"
        rows.append(("Device", joined((armed, kind, ", no way out" if watchdog.nowayout else ""))))
    else:
        rows.append(("Device", joined((_mark("none", "warn"), " configured"))))
    if watchdog.armed and watchdog.last_keepalive_monotonic_s > 0 and not stale:
        fed_s = max(0.0, snapshot.written_monotonic_s - watchdog.last_keepalive_monotonic_s)
        left_s = max(0.0, watchdog.timeout_s - fed_s)
        seen_s = readings.snapshot.age_s or 0.0
        bar = element(
            "meter", min="0", max=f"{watchdog.timeout_s:g}", low=f"{watchdog.timeout_s / 3:g}",
            optimum=f"{watchdog.timeout_s:g}", value=f"{left_s:g}", aria_label="time left",
        )  # fmt: skip
        rows.append(
            ("Time left", joined((bar, f" {words.duration(left_s)} left when last seen, {words.duration(seen_s)} ago")))
        )
    if watchdog.keepalives:
        late = f", {words.count(watchdog.late_keepalives, 'late one')}" if watchdog.late_keepalives else ", none late"
        text = f"{words.duration(watchdog.worst_gap_s)} among {words.count(watchdog.keepalives, 'keepalive')}{late}"
        rows.append(("Longest gap", text))
    if snapshot.grace_remaining_s is not None:
        left = f"{words.duration(grace_remaining_s(snapshot))} of {words.duration(snapshot.grace_s)} left"
        rows.append(("Grace", joined((_mark("running", "bad"), f" {left}"))))
    rows.append(("All paths lost", f"this node is reset within {words.duration(snapshot.bound_s)}"))
    if snapshot.paused_until_unix_s is not None:
        rows.append(("Paused until", words.moment(snapshot.paused_until_unix_s, now)))
    if snapshot.last_self_fence_unix_s > 0:
        when = (
            f"{words.moment(snapshot.last_self_fence_unix_s, now)}, {words.ago(snapshot.last_self_fence_unix_s, now)}"
        )
        rows.append(("Last self-fence", f"{when}: {snapshot.last_self_fence_reason or 'no reason was kept'}"))
    if snapshot.observer_restarts:
        rows.append(("Observers", f"started again {words.count(snapshot.observer_restarts, 'time')}"))
    return element("dl", *(part for term, text in rows for part in (element("dt", term), element("dd", text))))


_STATE_CLASSES: Final = {
    PolicyState.KEEPALIVE: "good",
    PolicyState.SELF_FENCE: "bad",
    PolicyState.DEGRADED: "warn",
    PolicyState.PAUSED: "warn",
    PolicyState.STOPPED: "warn",
    PolicyState.STARTING: "",
}


def _state(snapshot: Snapshot) -> Markup:
    why = f" {'; '.join(snapshot.reasons)}" if snapshot.reasons else ""
    return joined((_mark(snapshot.state, _STATE_CLASSES[snapshot.state]), why))


# --- the journal --------------------------------------------------------------------------------------------------


def _monitors(readings: Readings) -> Markup:
    now = readings.now.unix_s
    rows = []
    for event in readings.journal.monitors:
        good = event.outcome is Outcome.SUCCESS
        reached = bmc_reachable(event)
        bmc = "" if reached is None else f", its BMC {'let us in' if reached else 'did not let us in'}"
        text = f" {words.ago(event.at_unix_s + event.took_s, now)}, took {words.duration(event.took_s)}{bmc}"
        why = f": {event.error}" if event.error else ""
        mark = _mark("yes", "good") if good else _mark("no", "bad")
        rows += [element("dt", event.target or "unnamed"), element("dd", mark, text, why)]
    return element("dl", *rows)


def _story(readings: Readings) -> Markup:
    journal, now = readings.journal, readings.now.unix_s
    if journal.failed:
        return element("p", _mark("unknown", "bad"), " the journal cannot be read.")
    if not journal.story:
        return element("p", "No fence, unfence or self-fence has been recorded on this node.")
    more = journal.told - len(journal.story)
    rest = (
        element("p", f"{more} earlier: ", element("code", "fence_halvm -o history"), class_="soft")
        if more > 0
        else None
    )
    return joined((element("ol", *(_event(event, now) for event in journal.story), class_="line"), rest))


_OUTCOMES: Final = {
    Outcome.SUCCESS: ("succeeded", "good"),
    Outcome.FAILURE: ("failed", "bad"),
    Outcome.UNKNOWN: ("outcome unknown", "bad"),
}


def _event(event: Event, now: float) -> Markup:
    word, css = _OUTCOMES[event.outcome]
    if event.kind is EventKind.FENCE and event.outcome is Outcome.SUCCESS and proved(event) == "storage":
        css = "warn"
    began = event.at_unix_s
    when = element("p", f"{words.moment(began, now)} · {words.ago(began, now)}", class_="soft")
    ended = joined((" ", _mark(word, css), f" in {words.duration(event.took_s)}"))
    if event.kind is EventKind.SELF_FENCE:  # the outcome of a self-fence is the reset that follows
        css, ended = "bad", Markup("")
    what = element("p", element("strong", _what(event)), ended)
    proof: Markup | None = None
    if event.kind is EventKind.FENCE:
        weak = " (by a plain PREEMPT: commands it had queued may still have landed)" if event.weak else ""
        proof = (
            element("p", f"Proved by {proved(event)}{weak}.") if event.proofs else element("p", "Nothing was proved.")
        )
    why = element("p", event.error) if event.error else None
    steps: Markup | None = None
    if event.steps:
        lines = [element("li", f"{step.at_s:.2f} s  {step.text}") for step in event.steps]
        steps = element("details", element("summary", words.count(len(lines), "step")), element("ol", *lines))
    return element("li", when, what, proof, why, steps, class_=css)


def _what(event: Event) -> str:
    actor, target = event.actor or "a node", event.target or "an unnamed node"
    match event.kind:
        case EventKind.FENCE:
            did = "fenced" if event.outcome is Outcome.SUCCESS else "tried to fence"
            return f"{actor} {did} {target} ({event.action})"
        case EventKind.POWER_ON:
            return f"{actor} switched {target} on"
        case EventKind.UNFENCE:
            return f"{actor} registered itself (unfence)"
        case EventKind.SELF_FENCE:
            return f"{actor} let itself be reset (self-fence)"
        case EventKind.PAUSE:
            return f"{actor}: {event.action or 'pause'}"
        case _:
            return f"{actor}: {event.kind} {target}"
