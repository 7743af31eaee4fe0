# SPDX-License-Identifier: Apache-2.0
"""Answers as long as the protocol allows: whole they are decoded, cut or spoiled they are malformed, never a crash."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencer.errors import MalformedAnswer
from fencer.storage import pr
from tests.fuzz.fuzz_pr import DECODERS, LONGEST, LONGEST_BYTES, _seeds, run, run_all

ANSWERS = [(decoder, answer) for decoder, answers in LONGEST.items() for answer in answers]
unhurried = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(("name", "answer"), ANSWERS)
def test_whole_it_is_decoded(name: str, answer: bytes) -> None:
    assert LONGEST_BYTES - 24 < len(answer) <= LONGEST_BYTES
    DECODERS[name](answer)
    for length in (8, LONGEST_BYTES // 2, len(answer) - 1):
        with pytest.raises(MalformedAnswer):
            DECODERS[name](answer[:length])


def test_nothing_of_it_is_lost() -> None:
    assert len(pr.decode_keys(LONGEST["keys"][0]).keys) == (LONGEST_BYTES - 8) // 8
    many, one = (pr.decode_full_status(answer).registrations for answer in LONGEST["full_status"])
    assert len(many) == (LONGEST_BYTES - 8) // 24
    assert one[0].initiator is not None
    assert one[0].initiator.isprintable()


@pytest.mark.parametrize(("name", "answer"), ANSWERS)
@unhurried
@given(data=st.data())
def test_spoiled_it_is_a_value_or_malformed(name: str, answer: bytes, data: st.DataObject) -> None:
    spoiled = bytearray(answer)
    for position in data.draw(st.lists(st.one_of(st.integers(0, 40), st.integers(0, len(answer) - 1)), max_size=6)):
        spoiled[position] = data.draw(st.integers(0, 255))
    run(DECODERS[name], bytes(spoiled[: data.draw(st.integers(len(answer) - 9, len(answer)))]))


def test_the_fuzzer_begins_with_them(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    corpus = {path.name: path.read_bytes() for path in (tmp_path / _seeds("all")).iterdir()}
    assert len(corpus) == len(ANSWERS)
    for name, seed in corpus.items():
        assert list(DECODERS)[seed[0]] == name.split("-")[1]
        assert len(seed) <= LONGEST_BYTES + 1
        run_all(seed)
