# SPDX-License-Identifier: Apache-2.0
"""The failover of failover_picture.py as one picture, drawn from what Prometheus and the survivor's log say."""

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import Rectangle

from tests.alerts.server import Api

from .failover_picture import Story
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


def plot(api: Api, story: Story, picture: Path) -> None:
    """Writes a PNG. Seconds count from the cut."""

    def history(expression: str) -> Series:
        told = api.history(expression, story.cut_s - BEFORE_S, story.end_s, 1)
        return [(labels, [(at - story.cut_s, value) for at, value in points]) for labels, points in told]

    figure, axes = pyplot.subplots(
        7, 1, figsize=(11, 13), sharex=True, height_ratios=(0.8, 1.1, 1.0, 0.9, 1.0, 1.0, 2.4), layout="constrained"
    )
    title = f"{story.victim} runs the service and loses its storage; {story.survivor} fences it and takes over"
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    _steps(axes[0], story)
    _written(axes[1], story)
    _states(axes[2], history("halvm_sidecar_state == 1"))
    _lines(axes[3], history("halvm_lun_paths_usable"), "usable paths")
    axes[3].set_ylim(-0.15, 1.35)
    axes[3].set_yticks([0, 1])
    _lines(axes[4], history("halvm_sidecar_grace_remaining_seconds"), "grace left, s")
    axes[4].set_ylim(bottom=0)
    registered = history(f'halvm_lun_registrations{{instance="{story.survivor}"}}')
    _lines(axes[5], [({**labels, "instance": labels["node"]}, points) for labels, points in registered], "keys")
    axes[5].set_title(f"registered on the LUN, as {story.survivor} reads it", fontsize=9, loc="left")
    axes[5].set_ylim(-0.15, 1.35)
    axes[5].set_yticks([0, 1])
    _alerts(axes[6], history('ALERTS{alertstate="firing"}'))

    moments = [0.0, *(at for at in story.times if at is not None), story.back_s - story.cut_s]
    for each in axes:
        for at in moments:
            each.axvline(at, color="#555555", linewidth=0.8, linestyle=":")
        each.spines[["top", "right"]].set_visible(False)
    axes[0].set_xlim(-BEFORE_S, story.end_s - story.cut_s)
    axes[-1].set_xlabel("seconds since the cut; emulated machines on a shared host: slower than real ones")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _steps(axis: Any, story: Story) -> None:
    """From the cut to the mount, each step as a bar with its length; and the way back of the node that was fenced."""
    membership, fenced, lvm, mounted = (float("nan") if at is None else at for at in story.times)
    back = story.back_s - story.cut_s
    steps = (
        (0.0, membership, "the sidecar's grace, the reset;\ncorosync misses the node", "#9db8d2"),
        (membership, fenced, "fence", "#c23b22"),
        (fenced, lvm, "LVM", "#e6b84c"),
        (lvm, mounted, "mount", "#7fb685"),
        (mounted, back, f"{story.victim} comes back", "#dddddd"),
    )
    for start, end, words, colour in steps:
        axis.broken_barh([(start, end - start)], (0, 1), color=colour)
        narrow = end - start < back / 8
        placed = {"ha": "left", "va": "bottom", "rotation": 25} if narrow else {"ha": "center", "va": "center"}
        at = ((start + end) / 2, 1.05 if narrow else 0.5)
        axis.annotate(f"{words} {end - start:.1f} s", at, fontsize=8, annotation_clip=False, **placed)
    axis.set_yticks([])


def _written(axis: Any, story: Story) -> None:
    """Records a second that the file system's owner wrote, fsynced and acknowledged."""
    for node in NODES:
        moments = [at - story.cut_s for at, by in story.written if by == node]
        if moments:
            first, last = int(min(moments)) - 1, int(max(moments)) + 2
            axis.hist(moments, bins=range(first, last), color=COLOURS[node], label=node)
    axis.set_ylabel("records / s", fontsize=9)
    axis.set_title("written, fsynced and acknowledged; every one was found afterwards", fontsize=9, loc="left")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


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
