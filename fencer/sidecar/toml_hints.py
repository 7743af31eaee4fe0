# SPDX-License-Identifier: Apache-2.0
"""Guesses what a line that is no TOML was meant to be, and suggests the right one. Pure.

For people who know sysconfig files, systemd units or YAML: text without quotes, typographic quotes, a colon for the
equals sign, a semicolon for a comment, a unit behind a number.
"""

import re

from fencer._typing import NamedTuple

_CURLY = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2018\u2019\u201a\u201b", '"'))
_LINE = re.compile(r"""\s*["']?([\w-]+)["']?\s*([=:]?)\s*(.*?)\s*$""")
_WORDS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|sec|seconds)?")


class Hint(NamedTuple):
    """What a line was probably meant to be.

    what: in words. line: what to write instead.
    """

    what: str
    line: str


def hint(line: str, kind: type | None) -> Hint | None:
    """The hint for a line that is no TOML; None when nothing can be guessed.

    line: the one that the parser stumbled over. kind: of the setting it names, None when there is no such setting.
    """
    if line.lstrip().startswith((";", "//")):
        return Hint("comments begin with #", "# " + line.lstrip(" \t;/"))
    straight = line.translate(_CURLY)
    match = _LINE.match(straight)
    if match is None or not match[1] or not match[3]:
        return None
    name, sign, value = match[1], match[2], _without_comment(match[3])
    good = _value(value, kind)
    if good is None:
        return None
    if straight != line:
        what = "put the text in straight quotes"
    elif sign != "=":
        what = "write = between name and value"
    elif good.strip("[").startswith('"'):
        what = "put the text in quotes" if not value.startswith(('"', "'")) else "close the quotes"
    else:
        what = "write the bare value"
    return Hint(what, f"{name} = {good}")


def _value(text: str, kind: type | None) -> str | None:
    """The value in TOML; None when it is no value of that kind."""
    if kind is bool:
        return _WORDS.get(text.strip("\"'").lower())
    if kind in (int, float):
        number = _NUMBER.fullmatch(text.strip("\"'"))
        return number[1] if number else None
    if kind is tuple:
        entries = [entry.strip(" \t\"'") for entry in text.strip("[] \t").split(",")]
        return "[" + ", ".join(_quoted(entry) for entry in entries if entry) + "]"
    return _quoted(text.strip("\"'"))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _without_comment(text: str) -> str:
    """What stands before a #; a quoted text is left as it is."""
    if text.startswith(('"', "'")) and text.count(text[0]) > 1:
        end = text.index(text[0], 1)
        return text[: end + 1]
    return text.split(" #", maxsplit=1)[0].rstrip()
