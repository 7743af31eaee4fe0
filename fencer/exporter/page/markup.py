# SPDX-License-Identifier: Apache-2.0
"""Builds HTML from elements. Everything that is not an element is text, and is escaped."""

import html
from collections.abc import Iterable
from typing import Final

_VOID: Final = frozenset(("meta", "link", "br"))


class Markup(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


Child = str | Markup | None


def element(name: str, *children: Child, **attributes: str | None) -> Markup:
    """One element: ``element("td", "a < b", class_="bad")``.

    In attribute names an underscore at the end is dropped, and others become hyphens.
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_readable(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{joined(children)}</{name}>")


def joined(children: Iterable[Child]) -> Markup:
    """Concatenates children."""
    return Markup("".join(_escaped(child) for child in children if child is not None))


def mark(text: str, css: str) -> Markup:
    """A word with the colour of its state. css: good, warn, bad, or "" for none."""
    return element("span", text, class_=f"mark {css}")


def _escaped(child: str) -> str:
    return child if isinstance(child, Markup) else html.escape(_readable(child), quote=True)


def _readable(text: str) -> str:
    """Replaces characters that HTML forbids, and those that change the direction of the text."""
    return text if text.isascii() and text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)
