# SPDX-License-Identifier: Apache-2.0
"""What the feeder loads, all of which stays in locked memory and has to be loaded again before a restart can feed."""

import resource
import subprocess
import sys
from pathlib import Path

from tests.test_loading import BY_CTYPES

LARGE = {"argparse", "ast", "dataclasses", "ipaddress", "pathlib", "pyudev", "socket", "subprocess", "typing", "urllib"}
"""What neither a child of the supervisor needs: it would be in the memory of each of them."""

SLOW = {
    "argparse", "ast", "dataclasses", "difflib", "inspect", "json", "pathlib", "pickle", "pyudev", "re", "socket",
    "sqlite3", "subprocess", "threading", "tomllib", "typing", "urllib",
}  # fmt: skip


def _loaded_by(statements: str) -> set[str]:
    # -S: what a distribution's sitecustomize loads is none of ours.
    code = f"import sys; sys.path[:] = {sys.path!r}; {statements}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_the_feeder_loads_nothing_slow() -> None:
    loaded = _loaded_by("import fencer.sidecar.main")
    assert "fencer.sidecar.feeder" in loaded
    assert not loaded & SLOW - BY_CTYPES


def test_the_supervisor_loads_nothing_large() -> None:
    loaded = _loaded_by("from fencer.sidecar.processes import jobs; jobs('', 1, 2)")
    assert "fencer.sidecar.observer.observing" in loaded
    assert not loaded & LARGE


def test_a_new_observer_needs_no_disk(tmp_path: Path) -> None:
    """All that it loads is loaded before anything is armed: a root disk that hangs, an upgrade in place."""
    code = [sys.executable, "-m", "tests.sidecar.observer_without_disk", str(tmp_path)]
    done = subprocess.run(code, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == ["marker True"]


def test_what_children_are_forked_from_stays_in_memory() -> None:
    code = (
        "from fencer.sidecar.realtime import keep_loaded; keep_loaded(); "
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmLck')][0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    assert int(done.stdout) > 0 or limit != resource.RLIM_INFINITY  # without the privilege it is best effort
