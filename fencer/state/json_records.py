# SPDX-License-Identifier: Apache-2.0
"""Converts NamedTuples to JSON and back, checked against their annotations: for files that another process reads."""

import functools
import json
from collections.abc import Callable
from types import GenericAlias, NoneType, UnionType

from fencer._enum import Enum
from fencer._typing import Any, TypeVar

R = TypeVar("R", bound=tuple[Any, ...])
_Reader = Callable[[Any], Any]
_PLAIN = frozenset((bool, float, int, str))


def to_json(record: tuple[Any, ...], schema: int) -> bytes:
    """The record as one line. schema: the version that from_json demands."""
    return json.dumps({"schema": schema, **plain(record)}, separators=(",", ":")).encode() + b"\n"


def from_json(kind: type[R], content: bytes, schema: int) -> R:
    """The record. Raises ValueError for anything else. Unknown fields, of a newer writer, are ignored."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != schema:
        raise ValueError(f"not of schema {schema}")
    try:
        record: R = _reader(kind)(document)
    except _Wrong as wrong:
        raise ValueError(".".join((kind.__name__, *reversed(wrong.names))) + f": {wrong.reason}") from wrong
    return record


def plain(value: Any) -> Any:
    """The record as dicts, lists and plain values."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        if _is_flat(type(value)):
            return dict(zip(value._fields, value, strict=True))
        return {name: plain(each) for name, each in zip(value._fields, value, strict=True)}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value.value if isinstance(value, Enum) else value


@functools.cache
def _is_flat(kind: Any) -> bool:
    """Whether a record type has only plain fields. Such records are converted faster; paths are most of a snapshot."""
    return _PLAIN.issuperset(kind.__annotations__.values())


class _Wrong(ValueError):
    """A wrong value. names: of the fields that lead to it, the innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.names: list[str] = []


@functools.cache
def _reader(kind: Any) -> _Reader:
    """The reader of a type, made once: a snapshot of 64 LUNs has 1,500 records, and is read again at each scrape."""
    if isinstance(kind, UnionType):
        return _optional(_reader(next(each for each in kind.__args__ if each is not NoneType)))
    if isinstance(kind, GenericAlias):  # tuple[X, ...]
        return _many(kind.__args__[0])
    if hasattr(kind, "_fields"):
        return _record(kind)
    if issubclass(kind, Enum):
        return _enum(kind)
    return _number if kind is float else _plain_value(kind)


def _optional(read: _Reader) -> _Reader:
    return lambda value: None if value is None else read(value)


def _many(kind: Any) -> _Reader:
    read = _reader(kind)

    def read_many(value: Any) -> Any:
        if type(value) is not list:
            raise _Wrong("not a list")
        return tuple([read(each) for each in value])

    return read_many


def _enum(kind: type[Enum]) -> _Reader:
    def read_enum(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError as error:
            raise _Wrong(str(error)) from error

    return read_enum


def _number(value: Any) -> Any:
    if type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise _Wrong("too large") from error
    if type(value) is not float:
        raise _Wrong("not of type float")
    return value


def _plain_value(kind: type) -> _Reader:
    def read_plain(value: Any) -> Any:
        if type(value) is not kind:
            raise _Wrong(f"not of type {kind.__name__}")
        return value

    return read_plain


def _record(kind: Any) -> _Reader:
    hints = kind.__annotations__
    fields = [(name, _reader(hints[name])) for name in kind._fields]
    defaults = kind._field_defaults

    def read_record(value: Any) -> Any:
        if type(value) is not dict:
            raise _Wrong("not an object")
        values = []
        for name, read in fields:
            try:
                if name in value:
                    values.append(read(value[name]))
                elif name in defaults:
                    values.append(defaults[name])
                else:
                    raise _Wrong("missing")
            except _Wrong as wrong:
                wrong.names.append(name)
                raise
        return kind(*values)

    return read_record
