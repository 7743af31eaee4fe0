"""Makes HTML from elements: anything that is not an element is text, and is escaped. Nothing else makes markup."""

import html
from collections.abc import Iterable
from typing import Final

_VOID: Final = frozenset(("meta", "link", "br"))


class Markup(str):
    """Text that is HTML already. Only ``element`` and ``joined`` make it."""

    __slots__ = ()


Child = str | Markup | None


def element(name: str, *children: Child, **attributes: str | None) -> Markup:
    """``element("td", "a < b", class_="bad")``. An underscore at the end of a name is dropped, others are hyphens."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_readable(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{joined(children)}</{name}>")


def joined(children: Iterable[Child]) -> Markup:
    """One after the other."""
    return Markup("".join(_escaped(child) for child in children if child is not None))


def mark(text: str, css: str) -> Markup:
    """A word that says how something stands. css: good, warn, bad, or "" for neither."""
    return element("span", text, class_=f"mark {css}")


def _escaped(child: str) -> str:
    return child if isinstance(child, Markup) else html.escape(_readable(child), quote=True)


def _readable(text: str) -> str:
    """Without characters that HTML forbids or that turn the text around them."""
    return text if text.isascii() and text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)
