# SPDX-License-Identifier: Apache-2.0
"""The record of a long trial: it can be interrupted, and goes on where it was.

A file of JSON lines: the terms of the trial, then a row for each run, with its commit and its date (UTC).
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
TELL_EACH_S = 10.0


class TrialRecord:
    """rows: of the runs that were played already."""

    def __init__(self, path: Path, terms: Row, runs: int) -> None:
        """runs: how many there are to be. Raises SystemExit where the file is of a trial with other terms."""
        self._path, self._runs, self._commit = path, runs, commit()
        self.rows: list[dict[str, Any]] = []
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        lines = [line for line in lines if line.endswith("\n")]  # the last one may have been torn
        if lines:
            found, *self.rows = [json.loads(line) for line in lines]
            if found != terms:
                raise SystemExit(f"{path}: of another trial ({found}): remove it, or give its terms")
            path.write_text("".join(lines))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(terms) + "\n")
        self._began_with, self._began = len(self.rows), time.monotonic()
        self._told = self._began

    @property
    def left(self) -> int:
        """How many runs are still to be played."""
        return max(0, self._runs - len(self.rows))

    @property
    def played(self) -> str:
        """How many, on which days, and of which commits."""
        when, what = (", ".join(dict.fromkeys(row[name] for row in self.rows)) for name in ("date", "commit"))
        return f"{len(self.rows)} played, {when}, commit {what}"

    def add(self, row: Row, remark: str = "") -> None:
        """Keeps a row. Now and then prints how many there are, the remark, and how long the others will take."""
        self.rows.append({**row, "commit": self._commit, "date": time.strftime("%F", time.gmtime())})
        with self._path.open("a") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
        now = time.monotonic()
        if now - self._told > TELL_EACH_S or not self.left:
            left_s = (now - self._began) / (len(self.rows) - self._began_with) * self.left
            told = f"{len(self.rows)} of {self._runs}{remark}; {left_s:.0f} s left"
            print(told, file=sys.stderr, flush=True)
            self._told = now


def commit() -> str:
    """Of the tree that runs, with -dirty where it was changed since."""
    told = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"
