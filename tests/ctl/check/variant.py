# SPDX-License-Identifier: Apache-2.0
"""A good file with one thing broken, and what check has to say of it."""

from typing import NamedTuple

FAULT, WARNING = "FAULT", "WARNING"


class Variant(NamedTuple):
    """A file of tests/ctl/good in which old is replaced by new, at its first place.

    at: text of the line that the finding has to name; "" for none. text, remedy: parts of what it has to say.
    beside: parts of further findings that follow from the same mistake. alone: the file is checked without the others,
    which would differ from it. agent: fence_halvm itself has to find it.
    """

    file: str
    old: str
    new: str
    at: str
    text: str
    remedy: str
    status: str = FAULT
    beside: tuple[str, ...] = ()
    alone: bool = False
    agent: bool = False
