"""What the feeder loads, all of which stays in locked memory and has to be loaded again before a restart can feed."""

import subprocess
import sys

SLOW = {
    "argparse", "ast", "dataclasses", "difflib", "inspect", "json", "pathlib", "pickle", "pyudev", "re", "socket",
    "sqlite3", "subprocess", "threading", "tomllib", "typing", "urllib",
}  # fmt: skip


def test_the_feeder_loads_nothing_slow():
    # -S: what a distribution's sitecustomize loads is none of ours.
    code = f"import sys; sys.path[:] = {sys.path!r}; import fencer.cli.halvm_watchdogd; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "fencer.watchdog.daemon" in loaded
    assert not loaded & SLOW
