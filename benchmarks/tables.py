# SPDX-License-Identifier: Apache-2.0
"""The results as tables: text for a terminal, Markdown for docs/benchmarks.md."""

from collections.abc import Sequence

from benchmarks.contest import Compared, StorageOff
from benchmarks.paired import Spread

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Title, heads, rows."""


def tables(compared: Sequence[Compared], storage: Sequence[StorageOff]) -> list[Table]:
    found: list[Table] = [
        (
            "Time, in seconds: median (least to most)",
            ("action", "pairs", "fence_halvm", "fence_ipmilan", "times as fast"),
            [
                (
                    each.row.title,
                    str(each.pairs.runs),
                    _seconds(each.pairs.our_wall),
                    _seconds(each.pairs.their_wall),
                    _ratio(each.pairs.times),
                )
                for each in compared
            ],
        ),
        (
            "CPU of the whole tree, user and system, in seconds: median (least to most)",
            ("action", "fence_halvm", "fence_ipmilan", "times as little"),
            [
                (
                    each.row.title,
                    _seconds(each.pairs.our_cpu),
                    _seconds(each.pairs.their_cpu),
                    _ratio(each.pairs.cpu_times),
                )
                for each in compared
            ],
        ),
        (
            "Other costs: fence_halvm / fence_ipmilan",
            ("action", "packets out", "packets in", "processes", "programs", "largest, MiB", "tree, MiB"),
            [_costs(each) for each in compared if each.processes and each.memory],
        ),
    ]
    if storage:
        found.append(
            (
                "fence_halvm -o off by the disk alone, LUNs of one tgtd, in seconds: median (least to most)",
                ("LUNs", "runs", "time", "CPU"),
                [(str(each.luns), str(each.runs), _seconds(each.wall), _seconds(each.cpu)) for each in storage],
            )
        )
    return found


def as_text(table: Table) -> str:
    title, heads, rows = table
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    lines = [title, ""]
    for row in (heads, ["-" * width for width in widths], *rows):
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def as_markdown(table: Table) -> str:
    title, heads, rows = table
    aligned = ["---", *["---:"] * (len(heads) - 1)]
    lines = [f"**{title}**", ""]
    lines += ["| " + " | ".join(row) + " |" for row in (heads, aligned, *rows)]
    return "\n".join(lines) + "\n"


def _seconds(spread: Spread) -> str:
    return spread.text(3)


def _ratio(spread: Spread) -> str:
    return spread.text(1 if spread.median >= 10 else 2)


def _costs(each: Compared) -> Sequence[str]:
    assert each.processes is not None and each.memory is not None
    packets = ["-", "-"]
    if each.packets is not None:
        ours, theirs = each.packets
        packets = [f"{ours.to_bmc} / {theirs.to_bmc}", f"{ours.to_client} / {theirs.to_client}"]
    a, b = each.processes
    m, n = each.memory
    return (
        each.row.title.partition(",")[0],
        *packets,
        f"{a.forked} / {b.forked}",
        f"{a.executed} / {b.executed}",
        f"{m.largest_kib / 1024:.1f} / {n.largest_kib / 1024:.1f}",
        f"{m.tree_kib / 1024:.1f} / {n.tree_kib / 1024:.1f}",
    )
