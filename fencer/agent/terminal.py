# SPDX-License-Identifier: Apache-2.0
"""Terminal output for a person: colour, and one line that says what the run waits for."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress

from fencer._typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:  # --help needs none of what a fence loads
    from fencer.agent.facts import Facts
    from fencer.agent.plan import Plan

PATIENCE_S: Final = 1.0
"""How long stderr is quiet before the waiting line appears."""

_CLEAR: Final = "\r\x1b[K"
_COLOURS: Final = {"ERROR": "\x1b[1;31m", "WARNING": "\x1b[33m", "Success": "\x1b[32m"}
_INDENT: Final = " " * 4
_NARROWEST: Final = 40
"""Below so many columns sentences are left to the terminal to break."""
_OUTCOMES: Final = {"success": "\x1b[32m", "failure": "\x1b[1;31m", "unknown": "\x1b[33m"}
_PLAIN: Final = "\x1b[0m"


def columns(stream: TextIO, environ: Mapping[str, str]) -> int:
    """How wide the text on this stream may be: the terminal's width, else COLUMNS, else 80."""
    found = 0
    if stream.isatty():
        with suppress(OSError, ValueError):
            found = os.get_terminal_size(stream.fileno()).columns  # 0: the terminal does not know
    given = environ.get("COLUMNS", "")
    return found or (int(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0) or 80


class Terminal:
    """A terminal on stderr or stdout. Does nothing where the stream is none, or one without control codes."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._environ = environ
        self.understands = stream.isatty() and environ.get("TERM", "dumb") not in ("", "dumb")
        self._coloured = self.understands and not environ.get("NO_COLOR")  # https://no-color.org
        self._quiet_since = time.monotonic()
        self._waiting = ""

    def coloured(self, line: str) -> str:
        """The line, with ERROR, WARNING or Success at its start in colour."""
        word, colon, rest = line.partition(":")
        return f"{_COLOURS[word]}{word}{_PLAIN}{colon}{rest}" if self._coloured and word in _COLOURS else line

    def outcome(self, cell: str) -> str:
        """A cell of a table with the outcome of an event in colour."""
        colour = _OUTCOMES.get(cell.strip())
        return f"{colour}{cell}{_PLAIN}" if self._coloured and colour else cell

    def sentence(self, start: str, line: str) -> str:
        """Start and line as one text, wrapped at words where it is wider than the terminal. Colours as above."""
        return start + self.coloured(self._wrapped(start, line)[len(start) :])

    def paragraph(self, text: str) -> str:
        """Text below another line: indented, and wrapped at words."""
        return self._wrapped(_INDENT, text)

    def _wrapped(self, start: str, text: str) -> str:
        width = columns(self._stream, self._environ)
        if not self.understands or width < _NARROWEST or len(start) + len(text) <= width:
            return start + text
        from textwrap import TextWrapper  # for people alone: it loads the regular expressions

        whole_words = TextWrapper(
            width, initial_indent=start, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
        )
        return whole_words.fill(text)

    def wait(self, what: str, left_s: float) -> None:
        """Shows, at most once a second, what the run waits for and the time left. The next line replaces it."""
        if not self.understands or time.monotonic() - self._quiet_since < PATIENCE_S:
            return
        text = f"waiting for {what}: {left_s:.0f} s left"
        if text == self._waiting:
            return
        self._waiting = text
        try:
            self._stream.write(_CLEAR + text[: columns(self._stream, self._environ) - 1])
            self._stream.flush()
        except (OSError, ValueError):
            self.understands = False

    def begin_line(self) -> None:
        """Removes the waiting line before another line is written."""
        self._quiet_since = time.monotonic()
        if self._waiting:
            self._waiting = ""
            try:
                self._stream.write(_CLEAR)
                self._stream.flush()
            except (OSError, ValueError):
                self.understands = False


def awaited(plan: "Plan", facts: "Facts") -> str:
    """The words for what a run waits for. Pure."""
    bmc, racing = f"BMC {plan.request.bmc}", plan.gated and facts.arbitration is None
    parts: list[str] = []
    if plan.power is not None and not facts.power_over and not facts.session:
        parts.append(f"{bmc} to open a session")
    elif plan.power is not None and not facts.power_over and not racing:
        parts.append(f"{bmc} to show the chassis power")
    if plan.storage is not None and not facts.storage_over:
        parts.append("the fence race on the LUNs" if racing else "the LUNs")
    if not parts and plan.awaits_self_fence and not facts.self_fence_due:
        parts.append(f"{plan.request.who} to reset itself")
    return " and ".join(parts) or "the end"
