# SPDX-License-Identifier: Apache-2.0
"""Waits until there is something to read, also on descriptors above 1023, which select(2) refuses.

A caller that has left a thousand files open gives us such descriptors.
"""

import select
from collections.abc import Iterable

from fencer._typing import Protocol, TypeVar


class HasFileno(Protocol):
    """A socket, or what has one."""

    def fileno(self) -> int:
        """Its descriptor."""


Source = TypeVar("Source", bound="int | HasFileno")


def readable(sources: Iterable[Source], timeout_s: float | None) -> list[Source]:
    """Those of sources that can be read without waiting, or have ended; none when that is so of none within timeout_s.

    sources: descriptors, or objects that have one. timeout_s: None waits for ever, less than 0 not at all.
    """
    poll, by_descriptor = select.poll(), dict[int, Source]()
    for source in sources:
        descriptor = source if isinstance(source, int) else source.fileno()
        poll.register(descriptor, select.POLLIN)
        by_descriptor[descriptor] = source
    timeout_ms = None if timeout_s is None else max(0.0, timeout_s * 1000)
    return [by_descriptor[descriptor] for descriptor, _ in poll.poll(timeout_ms)]
