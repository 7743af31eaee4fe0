"""What holds for all tests: where a run keeps its files, and that nothing of it stays."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.rig.leash import tie_to_this_process

settings.register_profile("quick", max_examples=20)  # make test-fast


def pytest_configure(config: pytest.Config) -> None:
    """In each process of a run: the one that was called and, with xdist, its workers."""
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # tmp_path stays, to be looked at
    directory = Path(tempfile.mkdtemp(prefix="fence-halvm-tests."))
    os.environ["TMPDIR"], tempfile.tempdir = str(directory), None
    tie_to_this_process(directory)
    config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))
