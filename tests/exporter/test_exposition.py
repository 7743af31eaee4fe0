# SPDX-License-Identifier: Apache-2.0
"""/metrics is prometheus-client's own text of everything, although most of it is not made anew at each scrape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, generate_latest

from fencer.exporter.exposition import Exposition
from fencer.exporter.metrics import table
from fencer.exporter.metrics.collector import HalvmCollector
from fencer.exporter.metrics.families import Families, SeenLabels
from fencer.state.readings import JournalReading, JournalStatus
from tests import scenes
from tests.exporter.metrics.test_golden import registry

FORMATS = (
    "",
    "text/plain;version=1.0.0;escaping=allow-utf-8",
    "application/openmetrics-text;version=1.0.0",
    "application/openmetrics-text;version=1.0.0;escaping=underscores",
)
LABEL = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["a b", 'q"', "back\\slash", "# EOF", ""])
VALUE = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1e6, 1_795_374_000.25, float("inf"), float("nan")])
SERIES = st.dictionaries(st.tuples(LABEL, LABEL), VALUE, max_size=6)
COUNTS = st.lists(st.integers(0, 1 << 40), min_size=11, max_size=11)
HISTOGRAMS = st.dictionaries(st.tuples(LABEL, LABEL), st.tuples(COUNTS, VALUE), max_size=3)


class Client(CollectorRegistry):
    """Families as prometheus-client's registry gives them."""

    def __init__(self, families) -> None:
        super().__init__(auto_describe=False)
        self._of = families

    def collect(self):
        return (family.of_client() for family in self._of)


def put(out: Families, gauges, counters, histograms) -> None:
    for labels, value in gauges.items():
        out.put(table.LUN_INFO, value, *labels)
    for labels, value in counters.items():
        out.put(table.MONITORS, value, *labels)
    for labels, (counts, sum_s) in histograms.items():
        out.add_histogram(table.STEP_DURATION, counts, max(counts), sum_s, *labels)


@pytest.mark.parametrize("accept", FORMATS)
@given(scrapes=st.lists(st.tuples(SERIES, SERIES, HISTOGRAMS), min_size=2, max_size=5))
def test_whatever_changes_the_text_is_prometheus_clients(accept, scrapes):
    """Series come, go, change their value or not: each scrape says what it would say if it were the only one."""
    encode, _ = choose_encoder(accept)
    known, exposition = SeenLabels(), Exposition(encode)
    for scrape in (*scrapes, scrapes[0]):
        kept, alone = Families(), Families()
        put(kept, *scrape)
        put(alone, *scrape)
        families = list(kept.ready(known))
        assert exposition.text(families, ()) == encode(Client(families))
        assert list(map(said, families)) == list(map(said, alone.ready(SeenLabels())))


def said(family):
    return family.metric.name, sorted(map(repr, family.series.items()))


@pytest.mark.parametrize("accept", FORMATS)
def test_scene_after_scene_the_text_is_prometheus_clients(accept):
    scene = [scenes.healthy()]
    collector = HalvmCollector(lambda: scene[0], lambda: 0.0, "0.1.0", "3.11.2")
    encode, _ = choose_encoder(accept)
    exposition = Exposition(encode)
    for name in ("healthy", "healthy", "degraded", "fenced", "nothing", "fenced", "healthy"):
        scene[0] = scenes.SCENES[name]()
        text = exposition.text(collector.gather(), ())
        assert text == encode(registry(scene[0]))


@pytest.mark.parametrize(
    "word",
    [
        lambda text: text.replace(b"\n", b" 1795374000\n"),
        lambda text: text + b"# a word at the end\n",
        lambda text: text.replace(b"halvm_lun_info{", b"# a word between\nhalvm_lun_info{"),
    ],
    ids=["timestamps", "a comment last", "comments between"],
)
def test_a_prometheus_client_that_words_it_otherwise_has_its_way(word):
    """Each family is worded on its own, so that a comment at the end stands after each, with the last as with all."""

    def encode(of: CollectorRegistry) -> bytes:
        return word(generate_latest(of))

    known, exposition = SeenLabels(), Exposition(encode)
    for value in (1.0, 2.0, 2.5, 2.5, 3.0):
        out = Families()
        out.put(table.LUN_INFO, value, "a", "b")
        out.put(table.LUN_INFO, 7.0, "c", "d")
        families = list(out.ready(known))
        assert exposition.text(families, ()) == encode(Client(families)) + encode(Client([]))


def test_only_what_is_new_is_encoded_by_prometheus_client():
    lines = []

    def encode(of: CollectorRegistry) -> bytes:
        text = generate_latest(of)
        lines.extend(line for line in text.splitlines() if not line.startswith(b"#"))
        return text

    known, exposition = SeenLabels(), Exposition(encode)
    for number, new in ((0, 4 + 2 * 14), (0, 0), (1, 14), (2, 14)):
        out = Families()
        for lun in "abcd":
            out.put(table.LUN_READ_TIME, 1_795_374_000.0 + number, lun)
        out.add_histogram(table.STEP_DURATION, [0] * 11, number, 0.0, "fence", "isolate")
        out.add_histogram(table.STEP_DURATION, [0] * 11, 0, 0.0, "fence", "look")
        exposition.text(out.ready(known), ())
        assert len(lines) == new, number
        lines.clear()


def test_series_that_are_gone_are_not_kept():
    known, exposition = SeenLabels(), Exposition(generate_latest)
    for number in range(5):
        out = Families()
        for target in range(10):
            out.put(table.LAST_MONITOR, number, f"target-{number}-{target}")
        exposition.text(out.ready(known), ())
    (encoded,) = exposition._before.values()
    assert (len(encoded.lines), len(encoded.starts)) == (10, 10)


def test_what_a_reading_no_longer_says_is_not_shown():
    """The same snapshot, grown stale, and a journal that can no longer be read."""
    readings = [scenes.fenced()]
    collector = HalvmCollector(lambda: readings[0], lambda: 0.0, "0", "3")
    exposition = Exposition(generate_latest)
    assert b"halvm_lun_info" in (before := exposition.text(collector.gather(), ()))
    fresh = readings[0]
    stale = fresh.snapshot._replace(status=scenes.SnapshotStatus.STALE, age_s=60.0)
    readings[0] = fresh._replace(snapshot=stale, journal=JournalReading(JournalStatus.UNREADABLE, problem="x"))
    text = exposition.text(collector.gather(), ())
    assert b'halvm_snapshot_status{status="stale"} 1.0' in text
    assert b"halvm_snapshot_age_seconds 60.0" in text
    assert b'halvm_exporter_collector_success{collector="fences"} 0.0' in text
    assert not [line for line in text.splitlines() if line.startswith((b"halvm_lun", b"halvm_side", b"halvm_fence"))]
    readings[0] = fresh
    assert exposition.text(collector.gather(), ()) == before
