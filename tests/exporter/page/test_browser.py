# SPDX-License-Identifier: Apache-2.0
"""The status page in a real browser, from a real exporter: no complaint, no overflow, light and dark, without scripts.

``SCREENSHOTS=directory pytest tests/exporter/page/test_browser.py`` keeps what was seen, to be looked at."""

import os
import re
from pathlib import Path

import pytest

from fencer.state.snapshot import PolicyState
from tests import scenes
from tests.exporter.conftest import Place
from tests.exporter.page.browser import Browser
from tests.exporter.page.test_page import HOSTILE, hostile
from tests.exporter.rig import Exporter

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


def many():
    """A large cluster after a bad week."""
    fences = [scenes.fence(60 + 3600 * n) for n in range(200)]
    return scenes.readings(scenes.snapshot(nodes=16, luns=64, paths=4), scenes.journal(*fences, scenes.monitor()))


def shown(**changes):
    """What a sidecar that is otherwise well publishes."""
    return lambda: scenes.readings(scenes.snapshot()._replace(**changes), scenes.healthy().journal)


LOST = scenes.degraded().snapshot.snapshot.luns[0]
SCENES = scenes.SCENES | {
    "hostile": lambda: hostile(HOSTILE),
    "large": many,
    "starting": shown(
        state=PolicyState.STARTING,
        watchdog=scenes.NOT_ARMED,
        reasons=("watchdog: /dev/watchdog0 is busy: sbd has it: stop sbd, or give another device",),
    ),
    "paused": shown(state=PolicyState.PAUSED, paused_until_unix_s=scenes.NOW.unix_s + 600),
    "one LUN lost": shown(
        state=PolicyState.DEGRADED,
        reasons=(f"{LOST.name}: no path left (sdb: no answer within 2 s)",),
        grace_remaining_s=6.5,
        luns=(LOST, scenes.lun(1)),
    ),
}


@pytest.fixture(params=SCENES)
def page(request, tmp_path):
    """(name, URL) of an exporter that shows the scene."""
    readings = SCENES[request.param]()
    place = Place(tmp_path)
    if readings.snapshot.snapshot is not None:
        place.publish(readings.snapshot.snapshot)
    if readings.journal.story:
        place.record(*sorted((*readings.journal.story, *readings.journal.monitors), key=lambda event: event.at_unix_s))
    with Exporter(tmp_path) as exporter:
        yield request.param, f"http://127.0.0.1:{exporter.port}/"


def test_a_phone_and_a_desk_show_it(browser, page):
    name, url = page
    for width, height, dark in ((390, 844, False), (390, 844, True), (1280, 900, False), (320, 600, False)):
        browser.open(url, width=width, height=height, dark=dark, scripts=width != 320)
        assert browser.complaints == []
        assert set(browser.asked) == {url}, "the page asks for nothing but itself"
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, "it is wider than the screen"
        assert browser.evaluate("document.querySelectorAll('h1').length") == 1
        assert browser.evaluate("document.querySelectorAll('script, img, iframe, form, [onerror]').length") == 0
        assert browser.evaluate("getComputedStyle(document.querySelector('.verdict')).borderLeftWidth") == "6px"
        if kept := os.environ.get("SCREENSHOTS"):
            Path(kept).mkdir(exist_ok=True)
            browser.screenshot(Path(kept) / f"{name}-{width}{'-dark' if dark else ''}.png")


def test_the_runbook_fits_and_a_finding_leads_to_its_page(browser, tmp_path):
    Place(tmp_path).publish(scenes.degraded().snapshot.snapshot)
    with Exporter(tmp_path) as exporter:
        browser.open(f"http://127.0.0.1:{exporter.port}/", width=320)
        link = browser.evaluate("document.querySelector('.verdict a').href")
        for width, dark in ((320, False), (390, True), (1280, False)):
            browser.open(link.replace("#", f"?{width}#"), width=width, dark=dark)  # another page: else none is loaded
            assert browser.complaints == []
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, "it is wider than the screen"
            assert browser.evaluate("document.querySelector(location.hash).textContent").startswith("Halvm")
            for ink, paper in browser.evaluate(_COLOURS):
                assert _contrast(ink, paper) >= 4.5, (dark, ink, paper)


def test_contrast_is_enough_for_tired_eyes(browser, page):
    """WCAG 2.1 AA: 4.5 to 1 for every text that can be read, in both schemes."""
    _, url = page
    for dark in (False, True):
        browser.open(url, dark=dark)
        pairs = browser.evaluate(_COLOURS)
        assert pairs
        for ink, paper in pairs:
            assert _contrast(ink, paper) >= 4.5, (dark, ink, paper)


_COLOURS = """(() => { const pairs = new Set();
  for (const e of document.body.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim())) continue;
    let p = e, paper = 'rgba(0, 0, 0, 0)';
    while (p && paper == 'rgba(0, 0, 0, 0)') { paper = getComputedStyle(p).backgroundColor; p = p.parentElement; }
    pairs.add(getComputedStyle(e).color + '|' + paper); }
  return [...pairs].map(p => p.split('|')); })()"""


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """WCAG 2.1's relative luminance."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
