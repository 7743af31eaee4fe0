# SPDX-License-Identifier: Apache-2.0
"""The fuzzer's seeds and random input hold in every test run, also where atheris is not installed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_rmcp import SEEDS, one_input


@pytest.mark.parametrize("seed", SEEDS)
def test_seed(seed: bytes) -> None:
    one_input(seed)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(min_size=1, max_size=3), st.binary(min_size=1, max_size=80)), max_size=30))
def test_no_answer_of_a_bmc_is_more_than_an_error(operations: list[bytes]) -> None:
    one_input(b"".join(operations))
