# SPDX-License-Identifier: Apache-2.0
"""The light enumerations behave as those of the package enum, as far as this project uses them."""

import ast
import copy
import enum
import importlib
import pickle
from pathlib import Path

import pytest

from fencer import _enum
from fencer.model import Action, Privilege

SOURCE = Path(__file__).parents[1] / "fencer"


class Sort(_enum.Enum):
    ONE = _enum.auto()
    TWO = _enum.auto()
    UNO = ONE


def light() -> list[tuple[str, str, type]]:
    """Module, name and class of every enumeration of the project."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            bases = {ast.unparse(base) for base in node.bases} if isinstance(node, ast.ClassDef) else set()
            if bases & {"Enum", "IntEnum", "StrEnum"} and path.name != "_enum.py":
                found.append((module, node.name, getattr(importlib.import_module(module), node.name)))
    return found


def twin(name: str, ours: type) -> type[enum.Enum]:
    """The enumeration that the package enum makes of the same members."""
    base = next(getattr(enum, each.__name__) for each in ours.__mro__ if each.__module__ == "fencer._enum")
    return base(name, {each: ours[each].value for each in ours.__members__})


@pytest.mark.parametrize(("module", "name", "ours"), light(), ids=lambda each: each if isinstance(each, str) else "")
def test_every_enumeration_is_as_the_package_makes_it(module, name, ours):
    theirs = twin(name, ours)
    assert [(each.name, each.value) for each in ours] == [(each.name, each.value) for each in theirs]
    assert list(ours.__members__) == list(theirs.__members__)
    assert (len(ours), bool(ours)) == (len(theirs), bool(theirs))
    for one, other in zip(ours, theirs, strict=True):
        assert repr(one) == repr(other)
        assert f"{one}" == str(one)
        assert "__str__" in ours.__dict__ or (str(one), f"{one}") == (str(other), f"{other}")
        assert ours(one.value) is one is ours[one.name] is ours(one)
        assert one in ours
        assert (one == one.value) == (other == other.value)
        assert {one: 1}[one] == 1
        assert (one.value in {one}) == (other.value in {other})
        assert pickle.loads(pickle.dumps(one)) is one
        assert copy.copy(one) is copy.deepcopy(one) is one
    assert list(reversed(ours)) == list(ours)[::-1]


def test_what_is_no_member_is_a_value_error():
    for wrong in ("x", 77, None, []):
        with pytest.raises(ValueError, match="is not a valid Action"):
            Action(wrong)
    with pytest.raises(KeyError):
        Action["x"]
    assert "x" not in Action


def test_auto_counts_and_an_alias_is_the_member():
    assert (Sort.ONE.value, Sort.TWO.value) == (1, 2)
    assert Sort.UNO is Sort.ONE is Sort(1)
    assert Sort.UNO.name == "ONE"
    assert list(Sort) == [Sort.ONE, Sort.TWO]
    assert Sort.ONE != 1


def test_nothing_of_it_changes():
    with pytest.raises(AttributeError):
        Action.OFF = Action.ON
    with pytest.raises(AttributeError):
        Action.OFF.value = "on"
    with pytest.raises(TypeError, match="cannot be extended"):

        class More(Action):
            pass


def test_integers_stay_integers():
    assert (Privilege.ADMINISTRATOR + 1, bytes((Privilege.ADMINISTRATOR,))) == (5, b"\x04")
    assert Privilege.OPERATOR < Privilege.ADMINISTRATOR
