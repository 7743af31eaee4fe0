# SPDX-License-Identifier: Apache-2.0
"""Light replacements for the names of ``typing``: they save 4 to 8 ms at each start of the agent,
and 0.3 MB in the sidecar.

The rule: a module that a fence or the sidecar loads imports these names from here, never from ``typing``
(tests/test_loading.py, tests/sidecar/test_loading.py).

``typing`` is slow to load, and its NamedTuple builds each class by compiling source text. For a type checker these
names are those of ``typing``. At run time NamedTuple supports what this project uses: fields and defaults from
annotations, positional and named arguments, ``_fields``, ``_replace``, ``_asdict``, class patterns in ``match``,
pickling, methods and properties in subclasses. It does not support ``Generic``. The other names are placeholders.
"""

from _collections import _tuplegetter  # type: ignore[import-not-found]  # as collections.namedtuple does
from collections.abc import Mapping

__all__ = (
    "TYPE_CHECKING", "Any", "BinaryIO", "Final", "NamedTuple", "NoReturn", "Protocol", "Self", "TextIO", "TypeVar",
    "assert_never",
)  # fmt: skip

TYPE_CHECKING = False
"""Always False at run time. Type checkers take it for True by its name."""

if TYPE_CHECKING:
    from typing import Any, BinaryIO, Final, NamedTuple, NoReturn, Protocol, Self, TextIO, TypeVar, assert_never
else:
    Any = BinaryIO = NoReturn = Protocol = Self = TextIO = object

    class Final:
        """Stands in annotations, alone or with a type in brackets."""

        def __class_getitem__(cls, _item: object) -> type:
            return cls

    def TypeVar(_name: str, **_more: object) -> type:  # noqa: N802 - typing's name
        """Stands in annotations only."""
        return object

    def assert_never(value: object) -> None:
        """Raises AssertionError: a ``match`` does not cover value."""
        raise AssertionError(f"unexpected {value!r}")

    class _Fields(tuple):
        """Base class of all named tuples."""

        __slots__ = ()
        _fields: tuple[str, ...] = ()
        _field_defaults: Mapping[str, object] = {}

        def __new__(cls, *values: object, **named: object) -> "_Fields":
            fields = cls._fields
            if named or len(values) != len(fields):
                if len(values) > len(fields):
                    raise TypeError(f"{cls.__name__}: {len(values)} values for {len(fields)} fields")
                defaults = cls._field_defaults
                rest = fields[len(values) :]
                for field in rest:
                    if field not in named and field not in defaults:
                        raise TypeError(f"{cls.__name__}: {field} is missing")
                values += tuple([named.pop(field) if field in named else defaults[field] for field in rest])
                if named:
                    raise TypeError(f"{cls.__name__}: {', '.join(named)}: no such field, or given twice")
            return tuple.__new__(cls, values)

        def _replace(self, **named: object) -> "_Fields":
            return type(self)(**{**self._asdict(), **named})

        def _asdict(self) -> dict[str, object]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            shown = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({shown})"

        def __getnewargs__(self) -> tuple[object, ...]:
            return tuple(self)

    def _annotations(body: dict[str, Any]) -> dict[str, object]:
        """The annotations of a class body, put in their place in it.

        Since Python 3.14 (PEP 649, PEP 749) the body has a function that makes them. 1 asks it for their values, as
        annotationlib would.
        """
        annotations = body.get("__annotations__")
        if annotations is None:
            make = body.pop("__annotate_func__", None) or body.pop("__annotate__", None)
            annotations = body["__annotations__"] = make(1) if make else {}
        return annotations

    class _Maker(type):
        """Turns a class body with annotations into a plain tuple class. Further subclasses are ordinary subclasses."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = tuple(_annotations(body))
            defaults = {field: body.pop(field) for field in fields if field in body}
            body.update({field: _tuplegetter(place, None) for place, field in enumerate(fields)})
            body.update(__slots__=(), _fields=fields, _field_defaults=defaults, __match_args__=fields)
            return type(name, (_Fields,), body)

    class NamedTuple(metaclass=_Maker):
        """Base to derive from, as with typing.NamedTuple."""
