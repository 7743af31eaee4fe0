# SPDX-License-Identifier: Apache-2.0
"""The layout of ``--help`` for the programs that use argparse: wrapped at words to the terminal's width."""

import argparse
import re
import textwrap

_EXAMPLE = re.compile(r"(  \S.*?)  +(\S.*)")
"""A line of a list: two blanks, what is typed or printed, two blanks or more, its meaning."""


class HelpLayout(argparse.HelpFormatter):
    """Wraps paragraphs. In a list (lines that begin with two blanks) a meaning that does not fit gets its own lines."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(" ".join(text.split()), width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = (_paragraph(part, width - len(indent)) for part in text.strip("\n").split("\n\n"))
        return textwrap.indent("\n\n".join(paragraphs), indent)


def _paragraph(text: str, width: int) -> str:
    lines: list[str] = []
    plain: list[str] = []
    for line in [*text.split("\n"), "  "]:
        if not line.startswith("  "):
            plain.append(line)
            continue
        lines += _wrapped(" ".join(plain), width)
        plain.clear()
        lines += _listed(line, width)
    return "\n".join(lines)


def _listed(line: str, width: int) -> list[str]:
    parts = _EXAMPLE.fullmatch(line)
    if len(line) <= width or parts is None:
        return [line] if line.strip() else []
    return [parts[1], *_wrapped(parts[2], width, " " * 6)]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Paths and options are not broken: a hyphen in them is no place for it."""
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
