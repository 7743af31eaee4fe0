# SPDX-License-Identifier: Apache-2.0
"""How long the failovers of level4_trials.py took: `python -m tests.lab.failovers_plot RESULTS docs/failovers.png`."""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot

COLOURS: Final = {"membership": "#1f5f8b", "fenced": "#c23b22", "lvm": "#e6b84c", "mounted": "#4f8a57"}
WORDS: Final = {
    "membership": "corosync misses the node",
    "fenced": "fenced",
    "lvm": "volume group active",
    "mounted": "mounted",
}


def plot(results: Sequence[dict[str, Any]], picture: Path) -> None:
    """Writes a PNG: above the share of failovers that had reached each step, below each failover by its kind."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        kinds.setdefault(result["name"], []).append(result)
    names = sorted(kinds, key=lambda name: _median(kinds[name], "fenced"), reverse=True)
    figure, (shares, each) = pyplot.subplots(
        2, 1, figsize=(10, 8), sharex=True, height_ratios=(1, 0.25 * len(names) + 0.2), layout="constrained"
    )
    faults = sum(bool(result["fault"]) for result in results)
    title = f"{len(results)} failovers of random kinds, {faults} of them with a fault"
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    for step, colour in COLOURS.items():
        taken_over = [result for result in results if result.get(step) is not None]
        seconds = sorted(result[step] for result in taken_over)
        if seconds:
            heights = [100 * (number + 1) / len(seconds) for number in range(len(seconds))]
            label = f"{WORDS[step]}: median {statistics.median(seconds):.1f} s, {len(seconds)} of {len(results)}"
            shares.step([0, *seconds], [0, *heights], where="post", color=colour, label=label)
    shares.set_ylabel("% of these")
    shares.legend(fontsize=8, loc="lower right")
    for row, name in enumerate(names):
        for number, (step, colour) in enumerate(COLOURS.items()):
            seconds = [result[step] for result in kinds[name] if result.get(step) is not None]
            each.plot(seconds, [row + 0.24 - 0.16 * number] * len(seconds), ".", color=colour, alpha=0.6, markersize=8)
    each.set_yticks(range(len(names)), [f"{name} ({len(kinds[name])})" for name in names], fontsize=9)
    each.set_xlabel("seconds from the fault, by the survivor's log; emulated machines on a shared host")
    each.set_xlim(left=0)
    for axis in (shares, each):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", color="#dddddd")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _median(results: Sequence[dict[str, Any]], step: str) -> float:
    seconds = [result[step] for result in results if result.get(step) is not None]
    return statistics.median(seconds) if seconds else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.failovers_plot")
    parser.add_argument("results", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args(argv)
    plot([json.loads(line) for line in given.results.read_text().splitlines()], given.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
