# SPDX-License-Identifier: Apache-2.0
"""The seeds of the fuzzer of files, and each with one byte changed, hold in every test run, also without atheris."""

import random

import pytest

from tests.fuzz.fuzz_files import READERS


@pytest.mark.parametrize("name", READERS)
def test_seeds_and_spoiled_seeds_are_read_rightly_or_refused(name: str) -> None:
    dice = random.Random(name)
    reader = READERS[name]
    for seed in reader.seeds():
        reader.read(seed)
        for _ in range(30 if name == "journal" else 150):
            spoiled = bytearray(seed)
            for _ in range(dice.randrange(1, 3)):
                if spoiled:
                    spoiled[dice.randrange(len(spoiled))] = dice.randrange(256)
            reader.read(bytes(spoiled))
            reader.read(seed[: dice.randrange(len(seed) + 1)])
