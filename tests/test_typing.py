# SPDX-License-Identifier: Apache-2.0
"""fencer._typing.NamedTuple is typing's, as far as the project uses it."""

import pickle
import typing
from collections.abc import Callable

import pytest

from fencer import _typing


class Typical(typing.NamedTuple):
    first: int
    second: str = "two"
    third: Callable[[], float] | None = None

    @property
    def both(self) -> str:
        return f"{self.first} {self.second}"


class Light(_typing.NamedTuple):
    first: int
    second: str = "two"
    third: Callable[[], float] | None = None

    @property
    def both(self) -> str:
        return f"{self.first} {self.second}"


@pytest.mark.parametrize("positional", [(), (1,), (1, "b"), (1, "b", None), (1, "b", None, 4)])
@pytest.mark.parametrize("named", [{}, {"first": 1}, {"second": "c"}, {"second": "c", "third": None}, {"fourth": 4}])
def test_takes_what_typings_takes(positional, named):
    try:
        expected = Typical(*positional, **named)
    except TypeError:
        with pytest.raises(TypeError):
            Light(*positional, **named)
    else:
        assert Light(*positional, **named) == expected


def test_behaves_as_typings_does():
    typical, light = Typical(1, third=None), Light(1, third=None)
    assert light == typical
    assert hash(light) == hash(typical)
    assert repr(light) == repr(typical).replace("Typical", "Light")
    assert (light.first, light.second, light.both) == (1, "two", "1 two")
    assert light._fields == typical._fields
    assert light._asdict() == typical._asdict()
    assert light._replace(first=3) == typical._replace(first=3)
    assert isinstance(light._replace(first=3), Light)
    match light:
        case Light(first, second):
            assert (first, second) == (1, "two")
        case _:
            pytest.fail("no class pattern")


def test_replace_knows_no_other_field():
    with pytest.raises(TypeError):
        Light(1)._replace(fourth=4)


def test_cannot_be_changed():
    with pytest.raises(AttributeError):
        Light(1).first = 2
    with pytest.raises(AttributeError):
        Light(1).fourth = 4


def test_survives_pickling():
    assert pickle.loads(pickle.dumps(Light(1, "x"))) == Light(1, "x")
    assert type(pickle.loads(pickle.dumps(Light(1)))) is Light


def test_a_method_may_call_its_base():
    class Loud(_typing.NamedTuple):
        word: str

        def __repr__(self) -> str:
            return super().__repr__().upper()

    assert repr(Loud("a")).startswith("LOUD")
