# SPDX-License-Identifier: Apache-2.0
"""Detects input without an action that was probably meant to name one.

The default action is reboot. An en dash for a hyphen, a missing ``-o``, a byte order mark or blanks around ``=`` would
turn ``status`` into ``reboot``. Each function is pure. It returns one sentence with the remedy, or None where the input
looks right. The sentence shows no value and no left-over word, since either may be a password.
"""

from collections.abc import Iterable, Sequence

from fencer._typing import Final
from fencer.agent.option import Option
from fencer.agent.options import ACTIONS, BY_NAME, OPTIONS

_LONG_ENOUGH: Final = 5
"""Shortest name that is searched for anywhere in a word. Shorter names are part of many words: ip of description."""

_ADDRESSEES: Final = ("ip", "plug", "nodename")
_NAMES: Final = frozenset(BY_NAME)
_LONG_NAMES: Final = tuple(name for name in BY_NAME if len(name) >= _LONG_ENOUGH)


def misread_words(argv: Sequence[str], given: Iterable[tuple[Option, str]], left_over: Sequence[str]) -> str | None:
    """Why a command line looks misread, or None. given, left_over: as read_command_line returns them for argv."""
    if any(_begins_with_foreign_dash(word) for word in left_over):
        return "Command line: a word begins with a dash that is not a plain hyphen: type it anew with '-'"
    given = tuple(given)
    if any(row.name == "action" for row, _ in given):
        return None
    if left_over:
        return (
            f"Command line: no action is given, but {len(left_over)} argument(s) belong to no option, and one may be "
            "meant as the action: give -o ACTION"
        )
    for row, text in given:
        if text[:1] == "-" or _begins_with_foreign_dash(text):
            return f"Command line: no action is given, and the value of {row.name} begins with a dash: give -o ACTION"
        if row.name in _ADDRESSEES and text.strip().casefold() in ACTIONS:
            return f"Command line: no action is given, but {row.name} is named like one: give -o ACTION"
    if any(word[:1] == "-" != word[1:2] and _spells_option(word[1:]) for word in argv):
        return "Command line: no action is given, and a long option has one hyphen only: give two, and -o ACTION"
    return None


def misread_line(name: str) -> str | None:
    """Why a line of stdin that names no option looks misread, or None.

    name: the text before ``=``, or the whole line where it has no ``=``.
    """
    word = _plain(name)
    if (
        name[:1] == "-"
        or _begins_with_foreign_dash(name)
        or name.casefold() in ACTIONS
        or any(part.strip("_") in _NAMES for part in word.split())
        or any(known in word.replace(" ", "") for known in _LONG_NAMES)
    ):
        return (
            "stdin: no action is given, and a line that is not understood looks like an option: write action=ACTION, "
            "and each option as name=value, without blanks around = and without a byte order mark"
        )
    return None


def _plain(name: str) -> str:
    """Folds the name to small letters, digits and ``_``. Any other character becomes a blank."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else " " for c in name.casefold().replace("-", "_"))


def _begins_with_foreign_dash(word: str) -> bool:
    """Whether word begins with a dash of Unicode (category Pd) or the minus sign, other than the plain hyphen."""
    first = word[:1]
    if not first or first.isascii():
        return False
    from unicodedata import category  # hardly ever needed

    return first == "\u2212" or category(first) == "Pd"


def _spells_option(word: str) -> bool:
    """Whether getopt's bundle of letters is the name of a long option, or begins with a name of the action."""
    name = word.partition("=")[0]
    return word.startswith(BY_NAME["action"].names) or any(
        name == row.long or name.replace("-", "_") in row.names for row in OPTIONS
    )
