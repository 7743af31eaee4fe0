# SPDX-License-Identifier: Apache-2.0
"""The record of a long trial."""

from pathlib import Path

import pytest

from tests.trial_record import TrialRecord

TERMS = {"seed": 1}


@pytest.mark.parametrize("torn", ["", '{"se', '{"seed": 1}\n{"outc'])
def test_a_torn_line_is_played_again(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "record"
    path.write_text(torn)
    assert TrialRecord(path, TERMS, 2).left == 2
    assert path.read_text() == '{"seed": 1}\n'


def test_it_tells_what_was_played_and_when(tmp_path: Path) -> None:
    path = tmp_path / "below" / "record"
    TrialRecord(path, TERMS, 3).add({"outcome": "well"})
    path.write_text(path.read_text() + '{"outcome": "well", "commit": "abc", "date": "2026-01-02"}\n')
    record = TrialRecord(path, TERMS, 3)
    assert record.left == 1
    assert "2 played, " in record.played
    assert record.played.endswith(", abc")
    assert ", 2026-01-02, commit " in record.played


def test_more_runs_than_asked_for_leave_none(tmp_path: Path) -> None:
    for _ in range(2):
        TrialRecord(tmp_path / "record", TERMS, 9).add({})
    assert TrialRecord(tmp_path / "record", TERMS, 1).left == 0


def test_other_terms_are_refused(tmp_path: Path) -> None:
    TrialRecord(tmp_path / "record", TERMS, 1)
    with pytest.raises(SystemExit, match="of another trial"):
        TrialRecord(tmp_path / "record", {"seed": 2}, 1)
