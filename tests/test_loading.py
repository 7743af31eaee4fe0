"""What a fence by storage loads, in parent and child: none of what is slow to load and is not needed."""

import subprocess
import sys

LOADED = (
    "fencer.cli.fence_halvm", "fencer.cli.witness", "fencer.cli.action", "fencer.cli.asking_storage",
    "fencer.corosync_conf", "fencer.cli.storage_job", "fencer.storage.sgutils",
)  # fmt: skip
SLOW = {
    "dataclasses", "getopt", "gettext", "hashlib", "inspect", "json", "pathlib", "pickle", "pyghmi", "pyudev", "random",
    "re", "socket", "subprocess", "threading", "typing", "urllib",
}  # fmt: skip


def test_a_storage_fence_loads_nothing_slow():
    # -S: what a distribution's sitecustomize loads is none of ours.
    code = f"import sys; sys.path[:] = {sys.path!r}; import {', '.join(LOADED)}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert loaded.issuperset(LOADED)
    assert not loaded & SLOW
