# SPDX-License-Identifier: Apache-2.0
"""The light reader and writer of JSON do what the package json does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer import json_text

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
SPACES = st.text(" \t\r\n", max_size=3)
PIECES = st.lists(
    st.sampled_from([*'{}[]:,"\\ \n', "null", "true", "NaN", "-Infinity", "-", "1", "0.5e3", "\\u12", '"a"', "\x01"])
).map("".join)


@given(VALUES)
def test_writes_the_same(value):
    assert json_text.dumps(value) == json.dumps(value)


@given(VALUES, SPACES, SPACES)
def test_reads_the_same(value, before, behind):
    text = before + json.dumps(value, indent=1, ensure_ascii=False) + behind
    assert repr(json_text.loads(text)) == repr(json.loads(text))
    content = text.encode("utf-8", "surrogatepass")
    assert repr(json_text.loads(content)) == repr(json.loads(content))


@given(PIECES, st.booleans())
def test_refuses_the_same(text, strict):
    try:
        expected = repr(json.loads(text, strict=strict))
    except ValueError:
        with pytest.raises(ValueError):
            json_text.loads(text, strict=strict)
    else:
        assert repr(json_text.loads(text, strict=strict)) == expected


@pytest.mark.parametrize("text", ["", " ", "1 2", "[1] x", "\ufeff1", "{", '"', b"\xff", b"\x00\x31"])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        json_text.loads(text)


def test_depth_without_end_is_a_recursion_error():
    with pytest.raises(RecursionError):
        json_text.loads("[" * 100_000)


@pytest.mark.parametrize("value", [object(), {1, 2}, {"a": b"b"}, {(1, 2): 3}])
def test_what_json_cannot_hold_is_a_type_error(value):
    with pytest.raises(TypeError):
        json_text.dumps(value)


TORN = ('{"boot_id": "', '{"a', '"\\u12', '{"a": 1', "[1,", "nul", "", '{"a" 1}', '"\x01"')


@pytest.mark.parametrize("text", TORN)
def test_refuses_what_is_torn_also_where_nothing_of_json_is_loaded(text):
    """As in a fence: the C half looks for its error in a module that is not there."""
    program = (
        "import sys\nsys.path.append(sys.argv[1])\nfrom fencer.json_text import loads\n"
        "assert not {'json', 'json.decoder'} & set(sys.modules)\n"
        "try:\n    loads(sys.argv[2])\nexcept ValueError:\n    print('refused')"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(root), text], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("refused\n", "")
