# SPDX-License-Identifier: Apache-2.0
"""Reads a small YAML file strictly: mappings of mappings and lines of text, each name once.

Scalars are not converted: a name like ``1234`` or ``on`` stays text. Refused, with the line: a name
that is given twice, anchors, aliases, merges (``<<``), tags, directives, a second document, names without text.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

if TYPE_CHECKING:
    from yaml import Event

DEPTH_MOST: Final = 8
_COLON: Final = re.compile(r"[ \r\n]*:(?=[ \r\n]|$)")
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))


class YamlProblem(ValueError):
    """What is wrong with the file.

    line: counted from 1; 0 if unknown. The message says what to change. It contains no value, which may be a secret.
    """

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line


class Text(NamedTuple):
    """A scalar. plain: neither quoted nor a block scalar."""

    text: str
    plain: bool
    line: int

    @property
    def empty(self) -> bool:
        """Whether it is YAML's null."""
        return self.plain and self.text in _NULLS


class Items(NamedTuple):
    """A list. No setting takes one, so its items are not kept."""

    line: int


class Section(NamedTuple):
    """A mapping, in the order of the file. lines: the line of each name."""

    values: "dict[str, Node]"
    lines: dict[str, int]
    line: int


Node = Text | Items | Section


def read(content: bytes) -> Node | None:
    """Parses the one document of the file; None if it has only blanks and comments. Raises YamlProblem."""
    import yaml  # only where there is such a file

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlProblem(content.count(b"\n", 0, error.start) + 1, "not UTF-8: write it in UTF-8") from None
    try:
        return _Reader(text, yaml.parse(text, Loader=yaml.SafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlProblem(mark.line + 1 if mark is not None else 0, "not YAML: correct it") from None
    except yaml.YAMLError as error:  # a character that YAML forbids
        position = getattr(error, "position", 0)
        raise YamlProblem(text.count("\n", 0, position) + 1, "a character that YAML forbids: take it out") from None


class _Reader:
    """Builds nodes from the parser events of one file. Each method raises YamlProblem, YAMLError."""

    def __init__(self, text: str, events: "Iterator[Event]") -> None:
        self._text = text
        self._events = events

    def document(self) -> Node | None:
        import yaml

        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent)):
                continue
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    _refuse(event, "a second document")
                if event.version or event.tags:
                    _refuse(event, "a directive")
                continue
            root = self._node(event, 0)
        return None if isinstance(root, Text) and root.empty else root

    def _node(self, event: "Event", depth: int) -> Node:
        import yaml

        if depth > DEPTH_MOST:
            _refuse(event, "too many levels")
        if isinstance(event, yaml.AliasEvent):
            _refuse(event, "an alias")
        if getattr(event, "anchor", None) is not None:
            _refuse(event, "an anchor")
        if getattr(event, "tag", None) is not None:
            _refuse(event, "a tag")
        if isinstance(event, yaml.ScalarEvent):
            return Text(event.value, not event.style, _line(event))
        if isinstance(event, yaml.SequenceStartEvent):
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                self._node(item, depth + 1)
            return Items(_line(event))
        return self._section(event, depth)

    def _section(self, start: "Event", depth: int) -> Section:
        import yaml

        section = Section({}, {}, _line(start))
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            name = self._node(key, depth + 1)
            if not isinstance(name, Text) or name.empty or (name.plain and name.text == "<<"):
                _refuse(key, "a name that is no text")
            end = key.end_mark.index if key.end_mark is not None else len(self._text)
            if name.plain and not _COLON.match(self._text, end):  # exporter-toolkit reads {a:} as the name "a:"
                _refuse(key, "a name without a colon and a blank after it")
            if name.text in section.values:
                first = section.lines[name.text]
                raise YamlProblem(name.line, f"given before, in line {first}: leave one of them out")
            section.values[name.text] = self._node(next(self._events), depth + 1)
            section.lines[name.text] = name.line
        return section


def _line(event: "Event") -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _refuse(event: "Event", what: str) -> NoReturn:
    raise YamlProblem(_line(event), f"{what}: leave it out")
