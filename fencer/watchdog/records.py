"""NamedTuples as JSON and back, checked against their annotations: for files that another process reads."""
# ruff: noqa: ANN401 - annotations are looked at when it runs; mypy cannot follow

import json
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

R = TypeVar("R", bound=tuple[Any, ...])


def to_json(record: tuple[Any, ...], schema: int) -> bytes:
    """One line. ``schema`` says by which rules to read it."""
    return json.dumps({"schema": schema, **_plain(record)}, separators=(",", ":")).encode() + b"\n"


def from_json(kind: type[R], content: bytes, schema: int) -> R:
    """Raises ValueError for anything that is not such a record. Fields that we do not know are a newer writer's."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != schema:
        raise ValueError(f"not of schema {schema}")
    record: R = _typed(kind, document, kind.__name__)
    return record


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: _plain(each) for name, each in zip(value._fields, value, strict=True)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.value if isinstance(value, Enum) else value


def _typed(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, UnionType):
        if value is None and NoneType in get_args(kind):
            return None
        return _typed(next(each for each in get_args(kind) if each is not NoneType), value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: not a list")
        return tuple(_typed(get_args(kind)[0], each, where) for each in value)
    if hasattr(kind, "_fields"):
        return _record(kind, value, where)
    if issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{where}: not of type {kind.__name__}")
    return value


def _record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: not an object")  # noqa: TRY004 - one error for whatever is no record
    fields = {}
    for name, hint in get_type_hints(kind).items():
        if name in value:
            fields[name] = _typed(hint, value[name], f"{where}.{name}")
        elif name not in kind._field_defaults:
            raise ValueError(f"{where}.{name}: missing")
    return kind(**fields)
