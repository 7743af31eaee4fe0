# SPDX-License-Identifier: Apache-2.0
"""Observations in order, compared by kind too: as named tuples, SessionOpened() equals PowerDone()."""

from fencer.observations import Observation, PowerDone


class Seen(tuple[Observation, ...]):
    """What a procedure emitted."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and _typed(self) == _typed(other)

    def __hash__(self) -> int:
        return tuple.__hash__(self)

    def __contains__(self, observation: object) -> bool:
        return (type(observation), observation) in _typed(self)

    @property
    def done(self) -> bool:
        return len(self) > 0 and isinstance(self[-1], PowerDone)


def _typed(seen: tuple[object, ...]) -> list[tuple[type, object]]:
    return [(type(each), each) for each in seen]
