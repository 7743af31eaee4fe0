# SPDX-License-Identifier: Apache-2.0
"""What the exporter's text cache is worth: processor time of a scrape with it and without, in this process.

    python -m benchmarks.exporter_text [--scrapes 200]

The cluster is that of exporter_scrape.py: 64 LUNs, 16 nodes, 4 paths a LUN. Before each scrape there is a new snapshot,
in which every probe has a new time, and the journal has one more event, each tenth a fence. Without the cache all
families are encoded by prometheus-client each time.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as ClientFamily

from benchmarks import exporter_scrape
from fencer.exporter.exposition import Exposition
from fencer.exporter.metrics.collector import HalvmCollector
from fencer.exporter.metrics.families import Family
from fencer.exporter.sources import Sources
from fencer.journal.file import Journal
from fencer.state.readings import Now
from tests import scenes
from tests.exporter.conftest import Place

SNAPSHOTS, WARM_UP = 12, 4
LEAST = 5
Text = Callable[[Iterable[Family]], bytes]


class _All(CollectorRegistry):
    def __init__(self, families: Iterable[Family]) -> None:
        super().__init__(auto_describe=False)
        self._of = [family.of_client() for family in families]

    def collect(self) -> Iterator[ClientFamily]:
        return iter(self._of)


def _cached() -> Text:
    exposition = Exposition(generate_latest)
    return lambda families: exposition.text(families, ())


def _uncached() -> Text:
    return lambda families: generate_latest(_All(families))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exporter_text", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--scrapes", type=int, default=200, help="of each")
    given = parser.parse_args()
    if given.scrapes < LEAST:
        parser.error(f"--scrapes: {given.scrapes}: give {LEAST} at least")
    chance = random.Random(3)
    with tempfile.TemporaryDirectory(prefix="exporter-text-") as directory:
        place = Place(Path(directory))
        snapshot = scenes.snapshot(exporter_scrape.NODES, exporter_scrape.LUNS, exporter_scrape.PATHS)
        place.publish(snapshot, interval_s=1.0, check_interval_s=2.0)
        exporter_scrape._fill(place)
        snapshots = [exporter_scrape._probed_anew(chance) for _ in range(SNAPSHOTS)]
        journal = Journal(str(place.journal))
        took_s: dict[str, list[float]] = {"with": [], "without": []}
        ways = {"with": _cached(), "without": _uncached()}
        collectors = {name: _collector(place) for name in ways}
        for number in range(given.scrapes + WARM_UP):
            for name, text in ways.items():
                place.publish(snapshots[number % SNAPSHOTS], interval_s=1.0, check_interval_s=2.0)
                event = (scenes.fence if number % 10 == 9 else scenes.monitor)(1, target=scenes.node_name(1))
                journal.append(event._replace(at_unix_s=time.time() - event.took_s))
                began_s = time.process_time()
                text(collectors[name].gather())
                took_s[name].append(time.process_time() - began_s)
    for name, times in took_s.items():
        cuts = statistics.quantiles(times[WARM_UP:], n=100)
        print(f"{name} the text cache: median {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms")
    return 0


def _collector(place: Place) -> HalvmCollector:
    sources = Sources(place.snapshot, place.journal, lambda: Now(time.time(), time.monotonic()), lambda _: None)
    return HalvmCollector(sources.read, time.monotonic, "benchmark", "3")


if __name__ == "__main__":
    sys.exit(main())
