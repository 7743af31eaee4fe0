# SPDX-License-Identifier: Apache-2.0
"""Parses a command line as GNU getopt_long does: bundled letters, unambiguous prefixes of long options, ``--``.

It accepts the same and words its errors the same as the standard library's getopt. That one loads gettext and regular
expressions at each start.
"""

from collections.abc import Sequence

from fencer.agent.option import Option
from fencer.agent.options import OPTIONS
from fencer.errors import UsageError


def read_command_line(argv: Sequence[str]) -> tuple[list[tuple[Option, str]], list[str]]:
    """Returns the options with their text ("" for a flag) in the order given, and the words that belong to no option.

    Raises UsageError for an unknown or ambiguous option, a missing value, or a value for a flag. The sentence may hold
    unprintable text of the caller; parse_argv makes it printable.
    """
    given: list[tuple[Option, str]] = []
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if word.startswith("--"):
            given.append(_long(word[2:], words))
        elif word.startswith("-") and word != "-":
            given += _letters(word[1:], words)
        else:
            rest.append(word)
    return given, rest


def _long(word: str, words: list[str]) -> tuple[Option, str]:
    name, equals, text = word.partition("=")
    rows = [row for row in OPTIONS if row.long == name] or [row for row in OPTIONS if row.long.startswith(name)]
    if not rows:
        glued = next((row.long for row in OPTIONS if name.startswith(row.long)), "")  # the value follows without "="
        raise UsageError(f"option --{f'{glued}...' if glued else name} not recognized")
    if len(rows) > 1:
        raise UsageError(f"option --{name} not a unique prefix")
    row = rows[0]
    if not row.argument:
        if equals:
            raise UsageError(f"option --{row.long} must not have an argument")
        return row, ""
    return row, text if equals else _next(words, f"--{row.long}")


def _letters(letters: str, words: list[str]) -> list[tuple[Option, str]]:
    given: list[tuple[Option, str]] = []
    while letters:
        letter, letters = letters[0], letters[1:]
        row = next((row for row in OPTIONS if row.letter == letter), None)
        if row is None:
            raise UsageError(f"option -{letter} not recognized")
        if row.argument:
            given.append((row, letters or _next(words, f"-{letter}")))
            break
        given.append((row, ""))
    return given


def _next(words: list[str], option: str) -> str:
    if not words:
        raise UsageError(f"option {option} requires argument")
    return words.pop(0)
