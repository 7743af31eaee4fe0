# SPDX-License-Identifier: Apache-2.0
"""Where promtool is."""

import os
import shutil

import pytest


def promtool() -> str:
    """Debian's package prometheus has it."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing: apt-get install prometheus")
        pytest.skip("promtool is missing: apt-get install prometheus")
    return found
