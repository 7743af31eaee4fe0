# SPDX-License-Identifier: Apache-2.0
"""The failover of failover.py as one picture, drawn from what Prometheus answers."""

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import Rectangle

from tests.alerts.server import Api

from .failover import Moments
from .level3 import NODES

A, B = NODES
COLOURS: Final = {A: "#b3541e", B: "#1f5f8b"}
STATES: Final = {
    "starting": "#9db8d2",
    "keepalive": "#7fb685",
    "degraded": "#e6b84c",
    "self-fence": "#c23b22",
    "paused": "#9b7fb6",
    "stopped": "#bbbbbb",
}
BEFORE_S = 8
Series = list[tuple[dict[str, str], list[tuple[float, float]]]]


def plot(api: Api, moments: Moments, picture: Path) -> None:
    """Writes a PNG. Seconds count from the cut."""

    def history(expression: str) -> Series:
        told = api.history(expression, max(moments.began, moments.cut - BEFORE_S), moments.ended, 1)
        return [(labels, [(at - moments.cut, value) for at, value in points]) for labels, points in told]

    figure, axes = pyplot.subplots(
        5, 1, figsize=(11, 10.5), sharex=True, height_ratios=(1.0, 1.1, 1.1, 1.1, 2.4), layout="constrained"
    )
    figure.suptitle(f"{A} loses its storage; {B} fences it and takes over", fontsize=13, x=0.01, ha="left")

    _states(axes[0], history("halvm_sidecar_state == 1"))
    _lines(axes[1], history("halvm_lun_paths_usable"), "usable paths")
    axes[1].set_ylim(-0.15, 1.35)
    axes[1].set_yticks([0, 1])
    _lines(axes[2], history("halvm_sidecar_grace_remaining_seconds"), "grace left, s")
    axes[2].set_ylim(bottom=0)
    registered = history(f'halvm_lun_registrations{{instance="{B}"}}')
    _lines(axes[3], [({**labels, "instance": labels["node"]}, points) for labels, points in registered], "keys")
    axes[3].set_title(f"registered on the LUN, as {B} reads it", fontsize=9, loc="left")
    axes[3].set_ylim(-0.15, 1.35)
    axes[3].set_yticks([0, 1])
    _alerts(axes[4], history('ALERTS{alertstate="firing"}'))

    done = (
        (moments.cut, "storage cut"),
        (moments.silent, f"{A} is silent"),
        (moments.fenced, "fenced"),
        (moments.taken_over, "taken over"),
        (moments.back, "back"),
    )
    for each in axes:
        for at, _ in done:
            each.axvline(at - moments.cut, color="#555555", linewidth=0.8, linestyle=":")
        each.spines[["top", "right"]].set_visible(False)
    for level, (at, words) in enumerate(done):
        axes[0].annotate(
            f"{words} {at - moments.cut:.0f} s",
            (at - moments.cut, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3 + 11 * (level % 3)),
            textcoords="offset points",
            ha="left",
            fontsize=8,
        )
    axes[-1].set_xlabel("seconds since the cut; emulated machines on a shared host: slower than real ones")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _states(axis: Any, series: Series) -> None:
    seen = dict.fromkeys(labels["state"] for labels, _ in series)
    for labels, points in series:
        row = NODES.index(labels["instance"])
        axis.broken_barh([(at, 1) for at, _ in points], (0.6 - row, 0.8), color=STATES[labels["state"]])
    axis.set_yticks([1, 0], NODES)
    axis.set_ylim(-0.5, 1.5)
    patches = [Rectangle((0, 0), 1, 1, color=STATES[state]) for state in seen]
    axis.legend(patches, seen, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _lines(axis: Any, series: Series, words: str) -> None:
    for node in NODES:
        for labels, points in series:
            if labels["instance"] != node:
                continue
            # A gap where a scrape told nothing: no line is drawn over what is unknown.
            times: list[float] = []
            values: list[float] = []
            for at, value in points:
                if times and at - times[-1] > 1.5:
                    times.append(times[-1] + 1)
                    values.append(float("nan"))
                times.append(at)
                values.append(value)
            width = 4 if node == A else 1.8
            axis.plot(
                times, values, color=COLOURS[node], linewidth=width, drawstyle="steps-post", label=node,
                alpha=0.6 if node == A else 1,
            )  # fmt: skip
    axis.set_ylabel(words, fontsize=9)
    handles, names = axis.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    axis.legend(once.values(), once, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _alerts(axis: Any, series: Series) -> None:
    fired: dict[tuple[str, str], list[float]] = {}
    for labels, points in series:
        about = labels.get("target") or labels.get("node") or labels.get("instance") or ""
        fired.setdefault((labels["alertname"].removeprefix("Halvm"), about), []).extend(at for at, _ in points)
    rows = sorted(fired, key=lambda row: min(fired[row]), reverse=True)
    for height, row in enumerate(rows):
        spans = [(at, 1) for at in sorted(fired[row])]
        axis.broken_barh(spans, (height - 0.35, 0.7), color=COLOURS.get(row[1], "#777777"))
    axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axis.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    axis.set_title("alerts that fire; the rules' times are shortened", fontsize=9, loc="left")
