# SPDX-License-Identifier: Apache-2.0
"""What a fence by storage loads, in parent and child: none of what is slow to load and is not needed."""

import subprocess
import sys

import pytest

LOADED = (
    "fencer.agent.main", "fencer.journal.writer_process", "fencer.agent.action", "fencer.agent.storage_request",
    "fencer.cluster.corosync_conf", "fencer.agent.storage_worker", "fencer.storage.sgutils",
    "fencer.storage.volume_group",
)  # fmt: skip
SLOW = {
    "dataclasses", "enum", "getopt", "gettext", "hashlib", "inspect", "json", "pathlib", "pickle", "pyghmi", "pyudev",
    "random", "re", "signal", "socket", "subprocess", "threading", "typing", "urllib",
}  # fmt: skip
BY_CTYPES = {"threading"} if sys.version_info >= (3, 14) else set()
"""Since Python 3.14 ctypes imports sysconfig, and that threading."""


def test_a_storage_fence_loads_nothing_slow():
    # -S: what a distribution's sitecustomize loads is none of ours.
    code = f"import sys; sys.path[:] = {sys.path!r}; import {', '.join(LOADED)}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert loaded.issuperset(LOADED)
    assert not loaded & SLOW - BY_CTYPES


POWER_WORKER = """
import os, sys
sys.path[:] = {path!r}
os.sched_getaffinity = lambda _process: set(range({processors}))
from fencer.agent.power_worker import power_job

class Parent:
    def receive(self):
        print("pyghmi" in sys.modules)  # when the order is waited for; there will be none

power_job(Parent())
"""


@pytest.mark.parametrize(("processors", "loaded"), [(1, False), (2, True)])
def test_pyghmi_is_loaded_before_the_order_where_that_delays_no_storage(processors, loaded):
    code = POWER_WORKER.format(path=sys.path, processors=processors)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [str(loaded)]
