# SPDX-License-Identifier: Apache-2.0
"""fencer._ctypes: ctypes without the sysconfig that it has imported since Python 3.14, unless it needs it."""

import subprocess
import sys
from pathlib import Path

import pytest

LOAD = """
import sys
sys.path[:0] = {path!r}
sys.version_info = (3, 14)  # the stand-in of ctypes does as that one's
from fencer._ctypes import ctypes
print(ctypes.__file__, ctypes.whole, "sysconfig" in sys.modules)
import sysconfig
print(bool(sysconfig.get_paths()))
"""


@pytest.mark.parametrize(
    ("uses_it", "loaded"),
    [("", "False False"), ("sysconfig.get_config_var('LDLIBRARY')", "True True")],
)
def test_sysconfig_is_loaded_where_ctypes_uses_it_only(tmp_path: Path, uses_it: str, loaded: str) -> None:
    stand_in = tmp_path / "ctypes.py"
    stand_in.write_text(f"import sysconfig\n{uses_it}\nwhole = hasattr(sysconfig, 'get_paths')\n")
    code = LOAD.format(path=[str(tmp_path), str(Path(__file__).parents[1])])
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [f"{stand_in} {loaded}", "True"]
