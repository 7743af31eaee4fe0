# SPDX-License-Identifier: Apache-2.0
"""Asks several sources at a time. One that hangs (a command in state D, say) is left behind and unanswered."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from fencer.ctl.sources.commands import COMMAND_S, Ask, ToolAnswer
from fencer.errors import FenceError

SOURCES_S: Final = COMMAND_S + 2.0
"""How long all sources together may take."""

T = TypeVar("T")


class SourceReading(NamedTuple, Generic[T]):
    """The result of one source. value None and problem "": it is not installed, or has nothing to say."""

    value: T | None = None
    problem: str = ""


def parsed(ask: Ask, argv: tuple[str, ...], parse: Callable[[str], T]) -> SourceReading[T]:
    """Asks a program and parses what it prints. Of a program that failed, an empty answer means nothing."""
    answer: ToolAnswer = ask(argv)
    if answer.missing:
        return SourceReading()
    if answer.problem and not answer.out.strip():
        return SourceReading(problem=answer.problem)
    try:
        value = parse(answer.out)
    except (ValueError, FenceError) as error:
        return SourceReading(problem=str(error))
    return SourceReading(problem=answer.problem) if answer.problem and not value else SourceReading(value)


def side_by_side(
    sources: Mapping[str, Callable[[], SourceReading[Any]]], limit_s: float = SOURCES_S
) -> dict[str, SourceReading[Any]]:
    """Each source's reading, by name. Never raises."""
    found: dict[str, SourceReading[Any]] = {}

    def read(name: str, source: Callable[[], SourceReading[Any]]) -> None:
        try:
            found[name] = source()
        except (FenceError, OSError, ValueError) as error:
            found[name] = SourceReading(problem=f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - a fault of ours in one source leaves the others
            found[name] = SourceReading(
                problem=f"{name}: unexpected {type(error).__name__}: {error}: please report this"
            )

    threads = [threading.Thread(target=read, args=each, daemon=True) for each in sources.items()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    done = dict(found)
    return {name: done.get(name, SourceReading(problem=f"{name}: no answer within {limit_s:g} s")) for name in sources}
