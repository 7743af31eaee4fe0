# SPDX-License-Identifier: Apache-2.0
"""Formats times, counts and lists as text."""

import time
from collections.abc import Sequence
from typing import Final

NAMES_MOST: Final = 4


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min``, ``5 h``, ``12 days``."""
    if seconds != seconds or abs(seconds) == float("inf"):  # noqa: PLR0124 - not a number
        return "an unknown time"
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    for unit_s, name, until in ((1, "s", 90), (60, "min", 90), (3600, "h", 48)):
        if seconds / unit_s < until:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds / 86400:.0f} days"


def moment(unix_s: float, now_unix_s: float) -> str:
    """A time in UTC, with the date unless it is today's."""
    try:
        then = time.gmtime(unix_s)
    except (OverflowError, ValueError, OSError):
        return "at an unknown time"
    today = time.gmtime(now_unix_s)[:3] == then[:3]
    return time.strftime("%H:%M:%S UTC" if today else "%Y-%m-%d %H:%M:%S UTC", then)


def ago(unix_s: float, now_unix_s: float) -> str:
    """``3 min ago``, or ``in 3 min`` for a time in the future."""
    if unix_s > now_unix_s + 1:
        return f"in {duration(unix_s - now_unix_s)}"
    return f"{duration(now_unix_s - unix_s)} ago"


def when(unix_s: float, now_unix_s: float) -> str:
    """``3 min ago (18:57:00 UTC)``, ``in 6.5 s (19:00:06 UTC)``."""
    return f"{ago(unix_s, now_unix_s)} ({moment(unix_s, now_unix_s)})"


def count(number: int, thing: str) -> str:
    """``1 LUN``, ``3 LUNs``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def names(all_of_them: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b, c, d and 60 more``."""
    shown, more = list(all_of_them[:NAMES_MOST]), len(all_of_them) - NAMES_MOST
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
