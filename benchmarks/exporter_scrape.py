# SPDX-License-Identifier: Apache-2.0
"""How long a scrape takes and what it costs: 64 LUNs, 16 nodes, 4 paths each, a journal of 100,000 events.

    python -m benchmarks.exporter_scrape [--scrapes 10000] [--peer-scrapers 50]

The sidecar's part is played by another process: five times a second, more often than this one asks for a new answer,
it writes a new snapshot, in which every probe has a new time and duration, and appends an event, each tenth of them a
fence, so that nothing is answered from what was read before. Exit status 0 when the bars are met: p99 under 50 ms, and
memory flat. On a virtual machine, scrapes during which the hypervisor gave the processors to others (steal, by
/proc/stat) are counted and shown, and left out of that p99.
"""

import argparse
import http.client
import itertools
import json
import multiprocessing
import os
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from fencer.exporter.answers import REUSE_S
from fencer.journal.event import EventKind
from fencer.journal.file import Journal
from fencer.state.snapshot import LunSnapshot, PathSnapshot, Snapshot
from tests import scenes
from tests.exporter.conftest import Place
from tests.exporter.rig import Exporter

NODES, LUNS, PATHS, EVENTS = 16, 64, 4, 100_000
P99_S = 0.050
GROWTH_BYTES = 4 << 20
WARM_UP = 200
LEAST = 100
EVERY_S = 0.8 * REUSE_S


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exporter_scrape", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--scrapes", type=int, default=10_000)
    parser.add_argument("--peer-scrapers", type=int, default=50)
    given = parser.parse_args()
    if given.scrapes < LEAST:
        parser.error(f"--scrapes: {given.scrapes}: give {LEAST} at least: fewer have no p99")
    with tempfile.TemporaryDirectory(prefix="exporter-scrape-") as directory:
        place = Place(Path(directory))
        place.publish(scenes.snapshot(NODES, LUNS, PATHS), interval_s=1.0, check_interval_s=2.0)
        _fill(place)
        with Exporter(place.path) as exporter, _Sidecar(place):
            return _measure(exporter, given.scrapes, given.peer_scrapers)


def _measure(exporter: Exporter, scrapes: int, crowd: int) -> int:
    for _ in range(WARM_UP):
        _scrape(exporter)
    settled = exporter.rss_bytes()
    began = time.monotonic()
    fresh, undisturbed, times, own, cpu = [], [], [], [], []
    for number in range(scrapes):
        if number % 10 == 0:
            time.sleep(REUSE_S)  # nobody asked just before: this one is made for us
            cpu_before, stolen_before = _cpu_s(exporter), _stolen()
            took_s, body = _scrape(exporter)
            cpu.append(_cpu_s(exporter) - cpu_before)
            fresh.append(took_s)
            if _stolen() == stolen_before:
                undisturbed.append(took_s)
            own.append(_collecting_s(body))
        else:
            times.append(_scrape(exporter)[0])
    grown = exporter.rss_bytes() - settled
    crowded = _crowd(exporter, crowd)
    series = sum(not line.startswith(b"#") for line in body.splitlines())
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    print(
        f"{LUNS} LUNs, {NODES} nodes, {PATHS} paths a LUN, {EVENTS} events; {series} series, {len(body)} bytes a scrape"
    )
    print(f"{len(fresh)} scrapes of which each was made anew: {_shown(fresh)}")
    disturbed = len(fresh) - len(undisturbed)
    print(f"  {disturbed} of them while the hypervisor took a processor; the others: {_shown(undisturbed)}")
    print(f"  of the time in the collectors: {_shown(own)}")
    print(f"{len(times)} scrapes at once after another's: {_shown(times)}")
    print(f"{crowd} at once, 10 each: {_shown(crowded)}")
    print(f"memory {exporter.rss_bytes() / 1e6:.1f} MB; grown by {grown / 1e6:.2f} MB in {scrapes} scrapes")
    print(f"processor time of a scrape made anew: {_shown(cpu)}; all of it in {time.monotonic() - began:.0f} s")
    p99 = statistics.quantiles(undisturbed, n=100)[98]
    met = p99 < P99_S and grown < GROWTH_BYTES
    print(f"p99 {p99 * 1e3:.1f} of {P99_S * 1e3:.0f} ms; grown by {grown / 1e6:.1f} of {GROWTH_BYTES / 1e6:.1f} MB")
    print("met" if met else "missed")
    return 0 if met else 1


def _scrape(exporter: Exporter) -> tuple[float, bytes]:
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        body = connection.getresponse().read()
    finally:
        connection.close()
    return time.perf_counter() - began, body


def _crowd(exporter: Exporter, number: int) -> list[float]:
    times: list[float] = []

    def scrape() -> None:
        times.extend(_scrape(exporter)[0] for _ in range(10))

    threads = [threading.Thread(target=scrape) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def _collecting_s(body: bytes) -> float:
    lines = [line for line in body.splitlines() if line.startswith(b"halvm_exporter_collector_duration_seconds{")]
    return sum(float(line.split()[-1]) for line in lines)


def _cpu_s(exporter: Exporter) -> float:
    """Of its first thread, which does all the work."""
    return int(Path(f"/proc/{exporter.pid}/task/{exporter.pid}/schedstat").read_text().split()[0]) / 1e9


def _stolen() -> int:
    """Ticks that a hypervisor has taken from all processors (proc(5)); 0 on bare metal."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8])


def _shown(times: list[float]) -> str:
    cuts = statistics.quantiles(times, n=100)
    return f"median {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms, longest {max(times) * 1e3:.1f} ms"


def _fill(place: Place) -> None:
    """Events of sixteen nodes over a year: written into the tables at once, since one by one each would be synced."""
    chance = random.Random(1)
    place.record(
        *(make(60, target=scenes.node_name(n)) for n in range(1, NODES + 1) for make in (scenes.fence, scenes.monitor))
    )
    now = time.time()
    with sqlite3.connect(place.journal) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(events)")][1:]
        template = database.execute(f"SELECT {', '.join(columns)} FROM events LIMIT 1").fetchone()
        kinds = [kind.value for kind in EventKind]
        rows = []
        for number in range(EVENTS):
            row = dict(zip(columns, template, strict=True))
            row |= {"kind": kinds[number % len(kinds)], "target": scenes.node_name(chance.randrange(1, NODES + 1))}
            row |= {
                "at_unix_s": now - chance.random() * 3e7,
                "steps": json.dumps([[0.1, "x" * 60, "session", 0.1]] * 4),
            }
            rows.append(tuple(row[column] for column in columns))
        places = ", ".join("?" * len(columns))
        database.executemany(f"INSERT INTO events ({', '.join(columns)}) VALUES ({places})", rows)
        for name in range(1, NODES + 1):  # totals of every kind of end a fence can have
            database.executemany(
                "INSERT OR IGNORE INTO totals VALUES ('fence', ?, ?, ?, ?, 10, 42.0, ?, ?)",
                [
                    (scenes.node_name(name), action, outcome, proof, json.dumps(list(range(11))), now - 100)
                    for action in ("off", "reboot")
                    for outcome, proof in (
                        ("success", "power"),
                        ("success", "storage"),
                        ("failure", "none"),
                        ("unknown", "none"),
                    )
                ],
            )
    database.close()


class _Sidecar:
    """A snapshot and an event, each EVERY_S. A process, since a thread would keep the scraper of this one waiting."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process = multiprocessing.get_context("fork").Process(target=self._run, daemon=True)

    def _run(self) -> None:
        chance = random.Random(2)
        journal = Journal(str(self._place.journal))  # held open, as the sidecar holds it
        for number in itertools.count():
            time.sleep(EVERY_S)
            self._place.publish(_probed_anew(chance), interval_s=1.0, check_interval_s=2.0)
            make = scenes.fence if number % 10 == 9 else scenes.monitor
            event = make(1, target=scenes.node_name(1 + number % NODES))
            journal.append(event._replace(at_unix_s=time.time() - event.took_s))

    def __enter__(self) -> "_Sidecar":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _probed_anew(chance: random.Random) -> Snapshot:
    of = scenes.snapshot(NODES, LUNS, PATHS)

    def probed(path: PathSnapshot) -> PathSnapshot:
        at_s = path.probed_monotonic_s - chance.random()
        return path._replace(probed_monotonic_s=at_s, probe_took_s=chance.uniform(0.0005, 0.003))

    def read(lun: LunSnapshot) -> LunSnapshot:
        at_s = lun.read_monotonic_s - chance.random()
        return lun._replace(read_monotonic_s=at_s, paths=tuple(map(probed, lun.paths)))

    return of._replace(luns=tuple(map(read, of.luns)))


if __name__ == "__main__":
    sys.exit(main())
