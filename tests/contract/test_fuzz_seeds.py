# SPDX-License-Identifier: Apache-2.0
"""The fuzzer's seeds hold in every test run, also where atheris is not installed."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "fuzz" / "fuzz_stdin.py"
spec = importlib.util.spec_from_file_location("fuzz_stdin", PATH)
assert spec is not None
assert spec.loader is not None
fuzz_stdin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz_stdin)


@pytest.mark.parametrize("seed", fuzz_stdin.SEEDS)
def test_seed(seed):
    fuzz_stdin.one_input(seed)
