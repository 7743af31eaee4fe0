# SPDX-License-Identifier: Apache-2.0
"""Checks what is read from a journal, which may be forged: types, bounds, no control characters in texts. Pure.

Each function raises ValueError for what no fence-halvm writes.
"""

import math

from fencer import json_text
from fencer._typing import Final
from fencer.journal.event import Step, StepName

TEXT_CHARACTERS: Final = 600
STEPS_MOST: Final = 400
_JSON_CHARACTERS: Final = 1 << 20
_LAST_UNIX_S: Final = 253_402_300_800.0  # the year 10000, which no calendar here knows
_LONGEST_S: Final = 1e9
_MOST: Final = 1 << 62
_BUCKETS_MOST: Final = 100


def one_line(text: str) -> str:
    """The text on one line, printable, and bounded in length."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= TEXT_CHARACTERS else shown[: TEXT_CHARACTERS - 1] + "…"


def text_of(value: object) -> str:
    """Text of one line."""
    if not isinstance(value, str):
        raise ValueError("not text")  # noqa: TRY004 - what is read is wrong, not a caller
    return one_line(value)


def moment_of(value: object) -> float:
    """Unix time in seconds, of a year that can be shown."""
    return _number(value, 0.0, _LAST_UNIX_S)


def seconds_of(value: object) -> float:
    """A duration. A clock that was set back while the sidecar waited may have made it negative: then 0."""
    return max(0.0, _number(value, -_LONGEST_S, _LONGEST_S))


def sum_of(value: object) -> float:
    """A total of durations."""
    return _number(value, -float(_MOST), float(_MOST))


def count_of(value: object) -> int:
    """An integer of 0 or more."""
    if not isinstance(value, int) or not 0 <= value < _MOST:
        raise ValueError("not a count")
    return value


def buckets_of(value: object) -> tuple[int, ...]:
    """A cumulative histogram over BUCKETS_S, or over the buckets of another version."""
    found = _json(value)
    if not isinstance(found, list) or len(found) > _BUCKETS_MOST:
        raise ValueError("not a histogram")
    return tuple(map(count_of, found))


def steps_of(value: object) -> tuple[Step, ...]:
    """At most STEPS_MOST of them."""
    found = _json(value)
    if not isinstance(found, list):
        raise ValueError("not a list of steps")  # noqa: TRY004 - as above
    steps = []
    for each in found[:STEPS_MOST]:
        if not isinstance(each, list) or len(each) != 4:
            raise ValueError("not a step")
        at_s, text, name, took_s = each
        steps.append(Step(seconds_of(at_s), text_of(text), StepName(name), seconds_of(took_s)))
    return tuple(steps)


def _number(value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")  # noqa: TRY004 - as above
    if not (math.isfinite(value) and least <= value < most):
        raise ValueError("a number out of range")
    return float(value)


def _json(value: object) -> object:
    if not isinstance(value, str) or len(value) > _JSON_CHARACTERS:
        raise ValueError("not JSON text of bounded length")
    try:
        found: object = json_text.loads(value)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    return found
