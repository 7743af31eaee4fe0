# SPDX-License-Identifier: Apache-2.0
"""The whole status page. From the top: what is wrong, who may write to which LUN, the paths, the watchdog, whether the
next fence would work, and who fenced whom with what proof."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Final

from fencer.exporter.page import words
from fencer.exporter.page.finding import Finding, FindingSeverity
from fencer.exporter.page.findings import find, nothing_there
from fencer.exporter.page.markup import Markup, element, mark
from fencer.exporter.page.storage import paths_from_here, who_may_write
from fencer.exporter.page.story import monitors, story
from fencer.exporter.page.style import STYLE
from fencer.exporter.page.watchdog import watchdog_rows
from fencer.state.readings import Readings, SnapshotStatus
from fencer.state.snapshot import Snapshot

RELOAD_S: Final = 15
RUNBOOK_PATH: Final = "/runbook"
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Allows this style sheet only: markup that got past the escaping could neither load nor run anything."""

_CLASSES: Final = {FindingSeverity.BAD: "bad", FindingSeverity.WARNING: "warn"}
_WORDS: Final = {FindingSeverity.BAD: "Wrong", FindingSeverity.WARNING: "Look"}


def render(readings: Readings, version: str) -> str:
    """The status page as one HTML document."""
    snapshot = _shown(readings)
    node = snapshot.node if snapshot is not None else ""
    found = find(readings)
    title = f"{node or 'this node'}: {_headline(found, readings)}"
    about = f"halvm-exporter {version} · all times in UTC · read from files: no disk and no BMC is asked · "
    links = (element("a", "metrics", href="/metrics"), " · ", element("a", "runbook", href=RUNBOOK_PATH))
    return document(
        title,
        element("header", element("h1", node or "fence-halvm"), element("p", _subtitle(readings, snapshot))),
        element("main", _verdict(found, readings), *_sections(readings, snapshot)),
        element("footer", element("p", f"{about}reloads every {RELOAD_S} s · ", *links)),
        reload_s=RELOAD_S,
    )


def document(title: str, *body: Markup, reload_s: int | None = None) -> str:
    """One HTML document with the common style. reload_s: after which time the browser reloads it; None: never."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="refresh", content=str(reload_s)) if reload_s is not None else None,
        element("meta", name_="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{title} · fence-halvm"),
        Markup(f"<style>{STYLE}</style>"),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', *body), lang='en')}\n"


def _shown(readings: Readings) -> Snapshot | None:
    """The snapshot to show. A stale one is shown and marked: there is none newer. One of another boot is not."""
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
    bad = sum(finding.severity is FindingSeverity.BAD for finding in found)
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
            mark(_WORDS[finding.severity], _CLASSES[finding.severity]),
            " ",
            finding.text,
            element("br"),
            element("span", f"{finding.remedy} · " if finding.remedy else None, _runbook(finding), class_="soft"),
        )
        for finding in found
    ]
    return _banner(_CLASSES[found[0].severity], headline, element("ul", *items))


def _runbook(finding: Finding) -> Markup:
    return element("a", f"what to do: {finding.page}", href=f"{RUNBOOK_PATH}#{finding.page.lower()}")


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
        yield _section("Who may write", snapshot, readings, who_may_write(snapshot), stale=stale)
        yield _section("Paths from this node", snapshot, readings, paths_from_here(snapshot), stale=stale)
        yield _section("Watchdog", snapshot, readings, watchdog_rows(snapshot, readings, stale=stale), stale=stale)
    if readings.journal.monitors:
        yield element("section", element("h2", "Would the next fence work?"), monitors(readings))
    yield element("section", element("h2", "What happened"), story(readings))


def _section(heading: str, snapshot: Snapshot, readings: Readings, what: Markup, *, stale: bool) -> Markup:
    note: Markup | None = None
    if stale:
        when = words.moment(snapshot.written_unix_s, readings.now.unix_s)
        age = words.duration(readings.snapshot.age_s or 0.0)
        note = element("p", mark(f"As of {when}, {age} ago: not current", "warn"))
    return element("section", element("h2", heading), note, what, class_="old" if stale else None)
