# SPDX-License-Identifier: Apache-2.0
"""How the demo tells what it does: what, the command, what was seen, what was checked."""

import os
import shutil
import textwrap
from collections.abc import Iterable
from typing import TextIO

NARROWEST, WIDEST = 80, 100
_BOLD, _DIM, _GREEN, _RED, _YELLOW = "1", "2", "32", "1;31", "33"


class Story:
    """Writes to one stream. Colour only on a terminal, and not where NO_COLOR is set (no-color.org)."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colour = out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        columns = shutil.get_terminal_size((WIDEST, 24)).columns if out.isatty() else WIDEST
        self.width = max(NARROWEST, min(columns, WIDEST))
        self._marks = ("✓", "✗", "─") if _can_write(out, "✓✗─") else ("ok", "NO", "-")
        self.checked: list[str] = []
        self.failed: list[str] = []

    def title(self, text: str) -> None:
        self._line(self._painted(_BOLD, text))
        self._line()

    def act(self, text: str) -> None:
        self._line()
        rule = self._marks[2] * max(2, self.width - len(text) - 4)
        self._line(
            f"{self._painted(_DIM, self._marks[2] * 2)} {self._painted(_BOLD, text)} {self._painted(_DIM, rule)}"
        )
        self._line()

    def say(self, text: str) -> None:
        """A paragraph."""
        for line in textwrap.wrap(text, self.width - 2, break_long_words=False, break_on_hyphens=False):
            self._line(line)

    def gap(self) -> None:
        self._line()

    def rows(self, rows: Iterable[tuple[str, str]]) -> None:
        """Two columns."""
        rows = list(rows)
        left = max(len(name) for name, _ in rows) + 2
        for name, text in rows:
            first, *rest = self._wrapped(text, 2 + left) or [""]
            self._line(f"  {self._painted(_DIM, name.ljust(left))}{first}")
            for line in rest:
                self._line(" " * (2 + left) + line)

    def command(self, text: str, stdin: Iterable[str] = ()) -> None:
        """What is run, and what it gets on stdin."""
        self._line(f"  {self._painted(_DIM, '$')} {self._painted(_BOLD, text)}")
        for line in stdin:
            for number, part in enumerate(self._wrapped(line, 8)):
                self._line(self._painted(_DIM, "    < " if number == 0 else "      ") + part)

    def seen(self, lines: Iterable[str], mark: str = "|") -> None:
        """What came back, verbatim but for the folding of long lines."""
        for line in lines:
            for number, part in enumerate(self._wrapped(line, 12)):
                self._line(f"    {self._painted(_DIM, mark)} {'' if number == 0 else '    '}{part}")

    def check(self, claim: str, true: bool, otherwise: object = "") -> None:
        """A claim that decides over the demo's exit status."""
        good, bad, _ = self._marks
        (self.checked if true else self.failed).append(claim)
        painted = self._painted(_GREEN, good) if true else self._painted(_RED, bad)
        first, *rest = self._wrapped(claim, 6)
        self._line(f"  {painted} {first}")
        for line in rest:
            self._line(" " * (3 + len(good)) + line)
        if not true and otherwise != "":
            self.seen(str(otherwise).splitlines())

    def ending(self, text: str, good: bool) -> None:
        self._line()
        for line in self._wrapped(text, 2):
            self._line(self._painted(_GREEN if good else _RED, line))

    def warning(self, text: str) -> None:
        for line in self._wrapped(text, 2):
            self._line(self._painted(_YELLOW, line))

    def _wrapped(self, text: str, indent: int) -> list[str]:
        return textwrap.wrap(
            text,
            self.width - indent,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
            replace_whitespace=False,
        )

    def _painted(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _line(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)


def _can_write(out: TextIO, text: str) -> bool:
    try:
        text.encode(out.encoding or "ascii")
    except UnicodeError:
        return False
    return True
