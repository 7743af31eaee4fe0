# SPDX-License-Identifier: Apache-2.0
"""Renders docs/runbook.md as one page, which can be read on the node itself, without the internet.

Supports the Markdown that this file uses: headings, paragraphs, lists, tables, indented code, and within a line code,
strong, emphasis and links. Pure.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from fencer.exporter.page.markup import Child, Markup, element, joined
from fencer.exporter.page.page import document

_INLINE: Final = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\(([^)\s]+)\)")
_ITEM: Final = re.compile(r"(?:\d+\.|-) ")
_RULE: Final = re.compile(r"\|[ \-|]+\|")


def render(text: str) -> str:
    """The runbook as one HTML document."""
    body = (element("header", element("h1", "Runbook"), element("p", element("a", "status", href="/"))),)
    return document("runbook", *body, element("main", element("section", *_blocks(text))))


def missing() -> str:
    """The page of an installation without the file."""
    said = "This installation has no runbook: see docs/runbook.md of fence-halvm."
    return document("runbook", element("main", element("section", element("p", said))))


def _blocks(text: str) -> Iterator[Markup]:
    for block in _split(text):
        first = block[0]
        if first.startswith("    "):
            lines = (part for line in block for part in (line[4:], Markup("\n")))
            yield element("pre", element("code", *lines))
        elif first.startswith("#"):
            level, _, heading = first.partition(" ")
            name = f"h{min(len(level) + 1, 3)}"
            yield element(name, *_inline(heading), id=heading.lower().replace(" ", "-"))
            if len(block) > 1:
                yield element("p", *_inline(" ".join(block[1:])))
        elif first.startswith("|"):
            yield _table(block)
        elif _ITEM.match(first):
            yield _list(block)
        else:
            yield element("p", *_inline(" ".join(line.strip() for line in block)))


def _split(text: str) -> Iterator[list[str]]:
    """Splits the text into blocks at blank lines. Blank lines within code are kept."""
    groups = groupby(text.splitlines(), key=lambda line: bool(line.strip()))
    blocks = [list(lines) for filled, lines in groups if filled]
    code: list[str] = []
    for block in blocks:
        if all(line.startswith("    ") for line in block):
            code += [""] if code else []
            code += block
            continue
        if code:
            yield code
            code = []
        yield block
    if code:
        yield code


def _table(lines: list[str]) -> Markup:
    cells = (line.strip().strip("|").split(" | ") for line in lines if not _RULE.fullmatch(line))
    rows = [[cell.strip() for cell in row] for row in cells]
    head = element("tr", *(element("th", *_inline(cell), scope="col") for cell in rows[0]))
    body = (element("tr", *(element("td", *_inline(cell)) for cell in row)) for row in rows[1:])
    table = element("table", element("thead", head), element("tbody", *body))
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="table")


def _list(lines: list[str]) -> Markup:
    items: list[str] = []
    for line in lines:
        if found := _ITEM.match(line):
            items.append(line[found.end() :])
        else:
            items[-1] += f" {line.strip()}"
    return element("ul" if lines[0].startswith("-") else "ol", *(element("li", *_inline(item)) for item in items))


def _inline(text: str) -> Iterator[Child]:
    at = 0
    for found in _INLINE.finditer(text):
        yield text[at : found.start()]
        at = found.end()
        code, strong, emphasis, link, target = found.groups()
        if code:
            yield element("code", code)
        elif strong or emphasis:
            yield element("strong" if strong else "em", *_inline(strong or emphasis))
        elif target.startswith("#"):
            yield element("a", link, href=target)
        else:  # another file of the project, which is not served
            yield joined((link, f" ({target.rpartition('/')[2]})" if link not in target else None))
    yield text[at:]
