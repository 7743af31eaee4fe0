"""Terminal output for a person: colour, and one line that says what the run waits for."""

import os
import time
from collections.abc import Mapping

from fencer._typing import Final, TextIO
from fencer.agent.facts import Facts
from fencer.agent.plan import Plan

PATIENCE_S: Final = 1.0
"""How long stderr is quiet before the waiting line appears."""

_CLEAR: Final = "\r\x1b[K"
_COLOURS: Final = {"ERROR": "\x1b[1;31m", "WARNING": "\x1b[33m"}
_PLAIN: Final = "\x1b[0m"


class Terminal:
    """The terminal on stderr. Does nothing where stderr is no terminal, or one without control codes."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self.understands = stream.isatty() and environ.get("TERM", "dumb") not in ("", "dumb")
        self._coloured = self.understands and not environ.get("NO_COLOR")  # https://no-color.org
        self._quiet_since = time.monotonic()
        self._waiting = ""

    def coloured(self, line: str) -> str:
        """The line, with ERROR or WARNING at its start in colour."""
        word, colon, rest = line.partition(":")
        return f"{_COLOURS[word]}{word}{_PLAIN}{colon}{rest}" if self._coloured and word in _COLOURS else line

    def wait(self, what: str, left_s: float) -> None:
        """Shows, at most once a second, what the run waits for and the time left. The next line replaces it."""
        if not self.understands or time.monotonic() - self._quiet_since < PATIENCE_S:
            return
        text = f"waiting for {what}: {left_s:.0f} s left"
        if text == self._waiting:
            return
        self._waiting = text
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns or 80  # 0: it does not know
            self._stream.write(_CLEAR + text[: columns - 1])
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


def awaited(plan: Plan, facts: Facts) -> str:
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
