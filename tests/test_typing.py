# SPDX-License-Identifier: Apache-2.0
"""fencer._typing.NamedTuple is typing's, as far as the project uses it."""

import ast
import pickle
import typing
from collections.abc import Callable
from pathlib import Path

import pytest

import fencer
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


def _made_by(**body):
    """A record of this class body, as a later Python hands it to a metaclass, on any Python."""
    return type(_typing.NamedTuple)("Made", (_typing.NamedTuple,), {"__module__": __name__, **body})


@pytest.mark.parametrize("name", ["__annotate_func__", "__annotate__"])  # of Python 3.14 and 3.15; PEP 649
def test_takes_fields_from_a_body_that_makes_its_annotations_when_asked(name):
    asked = []

    def annotate(form):
        asked.append(form)
        if form != 1:  # as the compiler's own: annotationlib has to be loaded for the other forms
            raise NotImplementedError
        return {"first": int, "second": str, "third": Callable[[], float] | None}

    made = _made_by(**{name: annotate}, second="two", third=None, word=property(lambda self: self.second))
    assert made._fields == made.__match_args__ == Light._fields
    assert made._field_defaults == Light._field_defaults
    assert made.__annotations__ == Light.__annotations__
    assert asked == [1]
    assert made(1) == Light(1)
    assert (made(1).first, made(1, "b").word) == (1, "b")
    with pytest.raises(TypeError):
        made()


def test_a_body_without_annotations_is_a_record_without_fields():
    assert _made_by()._fields == ()
    assert _made_by(__annotate_func__=None)._fields == ()
    assert _made_by().__annotations__ == {}


def test_annotations_of_a_record_are_typings():
    assert Light.__annotations__ == Typical.__annotations__
    assert list(Light.__annotations__) == list(Light._fields)


def test_no_annotation_means_another_name_of_its_own_class():
    # Python 3.14 reads annotations when the class body has ended: ``bytes`` then is what the body made of it.
    for path in sorted(Path(fencer.__file__).parent.rglob("*.py")):
        for kind in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(kind, ast.ClassDef):
                annotations = [each.annotation for each in kind.body if isinstance(each, ast.AnnAssign)]
                named = {name.id for each in annotations for name in ast.walk(each) if isinstance(name, ast.Name)}
                assert not named & set(_names_of(kind.body)), f"{path}: {kind.name}"


def _names_of(body):
    for each in body:
        match each:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
