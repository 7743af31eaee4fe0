# SPDX-License-Identifier: Apache-2.0
"""What a collector puts: each series once, its labels fit to be shown, the same family as long as it says the same."""

import itertools
import math

import pytest

from fencer.exporter.metrics import table
from fencer.exporter.metrics.collector import HalvmCollector
from fencer.exporter.metrics.families import LABEL_CHARACTERS, Families, Histogram, SeenLabels
from fencer.state.snapshot import KeySnapshot, NodeSnapshot
from tests import scenes
from tests.exporter.metrics.test_golden import exposition, generate_latest, registered

LONG = "x" * LABEL_CHARACTERS
COUNTS = tuple(range(11))


def series(out: Families, known: SeenLabels | None = None):
    (family,) = out.ready(known or SeenLabels())
    return family.series


def test_labels_that_are_shown_alike_are_one_series():
    """Of two targets that differ only in what cannot be shown: the latter, the sum, the latest, the sum."""
    names = ("a\n", "a\x00", "b")
    out = [Families(), Families(), Families(), Families()]
    for number, name in enumerate(names, 1):
        out[0].put(table.LUN_PATHS, number, name)
        out[1].add(table.LUN_PATHS, number, name)
        out[2].most(table.LUN_PATHS, -number, name)
        out[3].add_histogram(table.LUN_PATHS, COUNTS, number, 0.5, name)
    assert series(out[0]) == {("a?",): 2.0, ("b",): 3.0}
    assert series(out[1]) == {("a?",): 3.0, ("b",): 3.0}
    assert series(out[2]) == {("a?",): -1.0, ("b",): -3.0}
    assert series(out[3])[("a?",)] == Histogram(tuple(2 * each for each in COUNTS), 3, 1.0)


def test_long_labels_are_cut_and_shown_alike():
    out = Families()
    out.add(table.LUN_PATHS, 1, LONG)
    out.add(table.LUN_PATHS, 2, f"{LONG}y")
    out.add(table.LUN_PATHS, 4, f"{LONG}z")
    assert series(out) == {(LONG,): 1.0, (f"{LONG[:-1]}…",): 6.0}


def test_a_family_is_the_same_object_as_long_as_it_says_the_same():
    known = SeenLabels()
    seen = []
    for value in (1, 1, 2, 2, 1):
        out = Families()
        out.put(table.LUN_PATHS, value, "a\n")
        seen.extend(out.ready(known))
    assert [one is other for one, other in itertools.pairwise(seen)] == [True, False, True, False]
    assert [family.series[("a?",)] for family in seen] == [1, 1, 2, 2, 1]


def test_zero_has_no_sign():
    """-0.0 equals 0.0, so that a change from the one to the other would not be seen, and is worded otherwise."""
    for how in (Families.put, Families.add, Families.most):
        out = Families()
        how(out, table.LUN_PATHS, -0.0, "a")
        assert math.copysign(1, series(out)[("a",)]) == 1
    out = Families()
    out.add_histogram(table.LUN_PATHS, COUNTS, 0, -0.0, "a")
    assert math.copysign(1, series(out)[("a",)].sum_s) == 1


def test_a_histogram_of_other_buckets_is_refused():
    with pytest.raises(ValueError, match="10 buckets"):
        Families().add_histogram(table.STEP_DURATION, COUNTS[:-1], 1, 1.0, "a", "b")


def test_what_was_taken_is_left_as_it_was():
    """It is kept and taken again; of something else, it is made."""
    made = []

    def make(value: int) -> Families:
        kept = Families()
        kept.put(table.LUN_PATHS, value, "a")
        kept.add_histogram(table.STEP_DURATION, COUNTS, 1, 1.0, "a", "b")
        made.append(kept)
        return kept

    out = None
    for value in (1, 1, 5, 1):
        out = Families(out)
        out.take(make, value)
        out.put(table.LUN_PATHS, 2, "a")
        out.put(table.LUN_PATHS, 2, "b")
        out.add_histogram(table.STEP_DURATION, COUNTS, 1, 1.0, "a", "b")
        out.add_histogram(table.STEP_DURATION, COUNTS, 1, 1.0, "a", "c")
    for value, kept in zip((1, 5, 1), made, strict=True):
        paths, steps = kept.ready(SeenLabels())
        assert (paths.series, steps.series) == ({("a",): value}, {("a", "b"): Histogram(COUNTS, 1, 1.0)})


def changes():
    """One thing after another that a LUN says anew, or the cluster's configuration."""
    base = scenes.snapshot()
    first, other = base.luns
    stranger = KeySnapshot("0xdead", "", 1)
    luns = [
        first._replace(generation=99),
        first._replace(keys=first.keys[:1]),
        first._replace(keys=(*first.keys, stranger)),
        first._replace(keys=(first.keys[0]._replace(nexuses=1), first.keys[1])),
        first._replace(holder=scenes.key_of(1)),
        first._replace(type=""),
        first._replace(registration="preempted"),
        first._replace(registration="never heard of"),
        first._replace(error="I/O error"),
        first._replace(read_monotonic_s=0.0),
        first._replace(name="/dev/mapper/other"),
        first._replace(wwid=other.wwid),
        first._replace(paths=first.paths[:1]),
    ]
    yield from (base._replace(luns=(lun, other)) for lun in luns)
    yield base._replace(luns=(other, first))
    yield base._replace(nodes=base.nodes[:1])
    yield base._replace(nodes=(*base.nodes, NodeSnapshot("serv-0009", "0xdead")))
    yield base._replace(nodes=(base.nodes[0], NodeSnapshot("renamed", base.nodes[1].key)))


def test_what_was_kept_is_never_shown_for_what_is():
    """Each change and back again through one collector: as one that has kept nothing shows it. The order of series has
    no meaning."""
    readings = [scenes.healthy()]
    collector = HalvmCollector(lambda: readings[0], lambda: 0.0, "0.1.0", "3.11.2")
    seen = set()
    for changed in changes():
        for snapshot in (changed, scenes.snapshot()):
            readings[0] = scenes.readings(snapshot, scenes.fenced().journal)
            kept = sorted(generate_latest(registered(collector)).decode().splitlines())
            assert kept == sorted(exposition(readings[0]).splitlines())
            seen.add(tuple(kept))
    assert len(seen) == len(list(changes())), "each but the order of the LUNs is seen, and what was before"


def test_a_fence_is_seen_among_what_was_kept():
    readings = [scenes.readings(scenes.snapshot(), scenes.journal(scenes.fence()))]
    collector = HalvmCollector(lambda: readings[0], lambda: 0.0, "0.1.0", "3.11.2")
    for events in ((scenes.fence(),), (scenes.fence(), scenes.monitor()), (scenes.fence(), scenes.fence(60))):
        readings[0] = scenes.readings(scenes.snapshot(), scenes.journal(*events))
        kept = generate_latest(registered(collector)).decode()
        assert kept == exposition(readings[0])
