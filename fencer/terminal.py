# SPDX-License-Identifier: Apache-2.0
"""Terminal output for a person: colour, lines wrapped at words, and one line that says what the run waits for."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress

from fencer._typing import Final, TextIO

PATIENCE_S: Final = 0.5
"""How long stderr is quiet before the waiting line appears."""

_CLEAR: Final = "\r\x1b[K"
_GREEN, _YELLOW, _RED = "\x1b[32m", "\x1b[33m", "\x1b[1;31m"
_COLOURS: Final = {"ERROR": _RED, "WARNING": _YELLOW, "Success": _GREEN}
_INDENT: Final = " " * 4
_NARROWEST: Final = 40
"""Below so many columns sentences are left to the terminal to break."""
_OUTCOMES: Final = {"success": _GREEN, "failure": _RED, "unknown": _YELLOW}
_WEIGHTS: Final = {"FAULT": _RED, "WARNING": _YELLOW, "UNKNOWN": _YELLOW}
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

    def weighed(self, line: str) -> str:
        """The line, with the first FAULT, WARNING or UNKNOWN in it in colour."""
        if self._coloured:
            for word, colour in _WEIGHTS.items():
                if word in line:
                    return line.replace(word, f"{colour}{word}{_PLAIN}", 1)
        return line

    def good(self, line: str) -> str:
        """The line in the colour of success."""
        return f"{_GREEN}{line}{_PLAIN}" if self._coloured else line

    @property
    def width(self) -> int:
        """How many columns there are to wrap to. 0: the text is left as it is."""
        width = columns(self._stream, self._environ)
        return width if self.understands and width >= _NARROWEST else 0

    def sentence(self, start: str, line: str) -> str:
        """Start and line as one text, wrapped at words where it is wider than the terminal. Colours as above."""
        return start + self.coloured(self._wrapped(start, line)[len(start) :])

    def paragraph(self, text: str) -> str:
        """Text below another line: indented, and wrapped at words."""
        return self._wrapped(_INDENT, text)

    def _wrapped(self, start: str, text: str) -> str:
        width = self.width
        if not width or len(start) + len(text) <= width:
            return start + text
        from textwrap import TextWrapper  # for people alone: it loads the regular expressions

        whole_words = TextWrapper(
            width, initial_indent=start, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
        )
        return whole_words.fill(text)

    def wait(self, what: str, left_s: float) -> None:
        """Shows, at most once a second, what the run waits for and the time left. The next line replaces it."""
        left = f": {left_s:.0f} s left"
        room = columns(self._stream, self._environ) - 1 - len(left)
        text = f"waiting for {what}"
        self.show((text if len(text) <= room else f"{text[: max(room - 3, 0)]}...") + left)

    def show(self, text: str) -> None:
        """Shows a text of one line until the next line is written, once nothing was written for PATIENCE_S."""
        if not self.understands or time.monotonic() - self._quiet_since < PATIENCE_S or text == self._waiting:
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
