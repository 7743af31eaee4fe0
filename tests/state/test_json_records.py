# SPDX-License-Identifier: Apache-2.0
"""Records as JSON and back: many plain ones are read at once, and as strictly as one by one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer._typing import NamedTuple
from fencer.state.json_records import _reader, from_json, to_json


class Each(NamedTuple):
    """Plain values only."""

    name: str
    took_s: float
    number: int
    up: bool = False


class All(NamedTuple):
    """Many of them."""

    every: tuple[Each, ...]


PLAIN = {"name": "a", "took_s": 1.5, "number": 1, "up": True}
ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2) | st.just([]) | st.just({})
RECORD = st.fixed_dictionaries(
    {"name": st.text(max_size=2), "took_s": st.floats(allow_nan=False), "number": st.integers()},
    optional={"up": st.booleans(), "newer": ANY},
)
SPOILT = st.builds(lambda record, name, value: record | {name: value}, RECORD, st.sampled_from(list(PLAIN)), ANY)
LACKING = st.builds(
    lambda record, name: {k: v for k, v in record.items() if k != name}, RECORD, st.sampled_from(list(PLAIN))
)


def read(reader, value):
    """What comes of it, with the types of all values; or what is said of it."""
    try:
        return repr(reader(value))
    except ValueError as error:
        return (error.reason, error.names)


@given(st.lists(RECORD | SPOILT | LACKING | ANY, max_size=5) | st.lists(RECORD, max_size=5) | ANY | RECORD)
def test_many_at_once_is_one_by_one(document):
    each = _reader(Each)

    def one_by_one(value):
        if type(value) is not list:
            raise _wrong("not a list")
        return tuple(each(one) for one in value)

    assert read(_reader(tuple[Each, ...]), document) == read(one_by_one, document)


def _wrong(reason):
    error = ValueError(reason)
    error.reason, error.names = reason, []
    return error


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"up": 1}, "All.every.up: not of type bool"),
        ({"number": True}, "All.every.number: not of type int"),
        ({"number": 1.0}, "All.every.number: not of type int"),
        ({"took_s": True}, "All.every.took_s: not of type float"),
        ({"took_s": 10**400}, "All.every.took_s: too large"),
        ({"name": None}, "All.every.name: not of type str"),
    ],
)
def test_one_wrong_value_among_many_is_named(changed, said):
    content = json.dumps({"schema": 1, "every": [PLAIN, PLAIN | changed, PLAIN]}).encode()
    with pytest.raises(ValueError, match=said):
        from_json(All, content, 1)


def test_a_whole_number_is_a_float_a_default_is_filled_in_and_a_newer_field_passed_over():
    for changed in ({"took_s": 2}, {"newer": [1]}):
        content = json.dumps({"schema": 1, "every": [PLAIN, PLAIN | changed]}).encode()
        second = from_json(All, content, 1).every[1]
        assert type(second.took_s) is float
        assert second.name == "a"
    content = json.dumps({"schema": 1, "every": [{"name": "a", "took_s": 1.5, "number": 1}]}).encode()
    assert from_json(All, content, 1) == All((Each("a", 1.5, 1, False),))


def test_there_and_back():
    every = All((Each("a", 1.5, 1, True), Each("b", 0.0, -1)))
    back = from_json(All, to_json(every, 3), 3)
    assert back == every
    assert {type(each) for each in back.every} == {Each}
