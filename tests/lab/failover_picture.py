# SPDX-License-Identifier: Apache-2.0
"""A failover of the whole cluster as pictures: `python -m tests.lab.failover_picture docs` plays and draws it.

The node with the service loses its storage, and its sidecar has it reset; the other one fences it and takes over. A
real Prometheus scrapes both. failover.png: what it saw, with the steps of the failover and the records that were
acknowledged. status-page-*.png: the exporters' status pages in the course of it, as Chromium shows them.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.alerts.server import Api
from tests.exporter.page.browser import Browser

from . import failovers, level4, plays
from .failover import PORT, SCRAPE_S, watched
from .failovers import Times
from .level3 import Cluster, Link

WIDTH, HEIGHT = 1000, 600


class Story(NamedTuple):
    """cut_s, back_s, end_s: Unix times of the host. written: (time, node) of each record that was acknowledged."""

    victim: str
    survivor: str
    cut_s: float
    back_s: float
    end_s: float
    times: Times
    written: list[tuple[float, str]]


def keep_page(cluster: Cluster, node: str, to: Path) -> None:
    """The status page of a node's exporter. It asks for nothing but itself, so a file shows it as well."""
    fetched = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{PORT}/', timeout=20).read().decode())"
    to.write_text(cluster.nodes[node].run(f'python3 -c "{fetched}"', timeout_s=60, check=True).out)


def play(cluster: Cluster, api: Api, pages: Path) -> Story:
    """Raises GuestError or TimeoutError where it does not go on."""
    api.wait_until('count(halvm_sidecar_state{state="keepalive"} == 1) == 2', 120)
    victim = level4.active(cluster)
    keep_page(cluster, failovers.other(victim), pages / "well.html")
    time.sleep(8 * SCRAPE_S)

    seen = failovers.strike(cluster, lambda node: cluster.cut(node, Link.STORAGE))
    api.wait_until(f'halvm_lun_paths_usable{{instance="{victim}"}} == 0', 120)
    keep_page(cluster, victim, pages / "storage-lost.html")
    seen = failovers.wait_taken_over(cluster, seen)
    failovers.start_writer(cluster, seen.survivor)
    keep_page(cluster, seen.survivor, pages / "taken-over.html")
    cluster.heal(victim, Link.STORAGE)
    failovers.wait_back(cluster, seen, plays.BOOT_S)
    back_s = time.time()
    api.wait_until(f'halvm_sidecar_state{{instance="{victim}", state="keepalive"}} == 1', 150)
    time.sleep(8 * SCRAPE_S)
    failovers.check(cluster, seen)
    lines = (line.split() for line in (cluster.run_directory / "acknowledged").read_text().splitlines())
    written = [(float(at), node) for at, _, node in lines]
    return Story(victim, seen.survivor, seen.fault_s, back_s, time.time(), failovers.times(cluster, seen), written)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Plays a failover of the whole cluster and draws it.")
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args(argv).directory
    from .failover_plot import plot  # matplotlib is in no other requirement

    with TemporaryDirectory() as scratch, failovers.restored() as cluster, watched(cluster, Path(scratch)) as api:
        pages = Path(scratch)
        story = play(cluster, api, pages)
        print(story.times)
        plot(api, story, directory / "failover.png")
        with Browser() as browser:
            for page in sorted(pages.glob("*.html")):
                browser.open(page.as_uri(), width=WIDTH, height=HEIGHT)
                browser.screenshot(directory / f"status-page-{page.stem}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
