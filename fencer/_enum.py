# SPDX-License-Identifier: Apache-2.0
"""Light replacements for the enumerations of ``enum``: they save a sixth of what each start of the agent loads.

The rule: a module that a fence loads imports them from here, never from ``enum`` (docs/decisions/0004).

The standard library builds each class and each member by several passes of Python code. For a type checker these names
are those of ``enum``. At run time they support what this project uses: members with values, ``auto``, aliases, ``name``
and ``value``, a member by its value or name, iteration in the order of definition, length, ``in``, identity,
comparison of StrEnum and IntEnum with plain values, hashing, ``match``, copies and pickling, methods and properties.
They do not support flags, ``_missing_``, values of several fields, or functional creation.
"""

from collections.abc import Iterator, Mapping

from fencer._typing import TYPE_CHECKING, Any

__all__ = ("Enum", "IntEnum", "StrEnum", "auto")

if TYPE_CHECKING:
    from enum import Enum, IntEnum, StrEnum, auto
else:

    class auto:  # noqa: N801 - as enum names it
        """A value that counts up from 1."""

    class _EnumMaker(type):
        """Makes the classes. One whose bases have no members gets those of its body."""

        _members: Mapping[str, object] = {}

        def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            values = {
                key: value for key, value in body.items() if key[0] != "_" and not hasattr(type(value), "__get__")
            }
            for base in bases:
                if getattr(base, "_members", None):
                    raise TypeError(f"{name}: {base.__name__} has members and cannot be extended")
            cls = super().__new__(mcs, name, bases, {key: each for key, each in body.items() if key not in values})
            members, by_value, counted = {}, {}, {}
            for key, value in values.items():
                if value.__class__ is auto:
                    # An alias is the same auto.
                    value = counted.setdefault(id(value), len(by_value) + 1)  # noqa: PLW2901 - this is its value
                member = by_value.get(value)
                if member is None:
                    kind = cls._kind
                    member = object.__new__(cls) if kind is None else kind.__new__(cls, value)
                    member.__dict__.update(name=key, value=value)
                    by_value[value] = member
                members[key] = member
                type.__setattr__(cls, key, member)
            type.__setattr__(cls, "_members", members)
            type.__setattr__(cls, "_by_value", by_value)
            return cls

        def __call__(cls, value: object) -> object:
            if value.__class__ is cls:
                return value
            try:
                return cls._by_value[value]
            except (KeyError, TypeError):  # TypeError: it cannot be hashed
                raise ValueError(f"{value!r} is not a valid {cls.__qualname__}") from None

        def __iter__(cls) -> Iterator[object]:
            return iter(cls._by_value.values())

        def __reversed__(cls) -> Iterator[object]:
            return reversed(cls._by_value.values())

        def __len__(cls) -> int:
            return len(cls._by_value)

        def __bool__(cls) -> bool:
            return True

        def __contains__(cls, value: object) -> bool:
            return isinstance(value, cls) or value in cls._by_value

        def __getitem__(cls, name: str) -> object:
            return cls._members[name]

        def __setattr__(cls, name: str, value: object) -> None:
            if name in cls._members:
                raise AttributeError(f"{cls.__name__}: {name} is a member")
            type.__setattr__(cls, name, value)

        def __repr__(cls) -> str:
            return f"<enum {cls.__name__!r}>"

        @property
        def __members__(cls) -> Mapping[str, object]:
            return dict(cls._members)

    class Enum(metaclass=_EnumMaker):
        """Members that equal nothing but themselves."""

        _kind: Any = None

        def __repr__(self) -> str:
            return f"<{self.__class__.__name__}.{self.name}: {self.value!r}>"

        def __str__(self) -> str:
            return f"{self.__class__.__name__}.{self.name}"

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"{self!r}: cannot be changed")

        def __copy__(self) -> "Enum":
            return self

        def __deepcopy__(self, _memo: object) -> "Enum":
            return self

        def __reduce_ex__(self, _protocol: object) -> tuple[object, ...]:
            return self.__class__, (self.value,)

    class StrEnum(str, Enum):
        """Members that are text."""

        _kind = str
        __str__ = str.__str__
        __format__ = str.__format__
        __repr__ = Enum.__repr__

    class IntEnum(int, Enum):
        """Members that are integers."""

        _kind = int
        __str__ = int.__repr__
        __format__ = int.__format__
        __repr__ = Enum.__repr__
