"""Where the agents of one test process keep their journal: never the machine's own."""

import functools
import tempfile
from pathlib import Path


@functools.cache
def own_journal() -> Path:
    """A path in a directory that only we may write to, gone with the test run (tests/conftest.py)."""
    return Path(tempfile.mkdtemp(prefix="journal.")) / "journal.db"
