# SPDX-License-Identifier: Apache-2.0
"""Where the agents of a test keep their journal and their state: never the machine's own."""

import functools
import os
import tempfile
from pathlib import Path


@functools.cache
def own_journal() -> Path:
    """A path in a directory that only we may write to, gone with the test run (tests/conftest.py)."""
    return Path(tempfile.mkdtemp(prefix="journal.")) / "journal.db"


def own_state_dir() -> Path:
    """A directory for the test that runs: what is learnt of one test's BMCs must not be held against another's."""
    return _state_dir_of(os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0])


@functools.cache
def _state_dir_of(_test: str) -> Path:
    return Path(tempfile.mkdtemp(prefix="state."))
