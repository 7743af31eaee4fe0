# SPDX-License-Identifier: Apache-2.0
"""The deadline counts from the start of the process, not from when Python has loaded."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fencer.agent.action import time_left_s
from fencer.agent.process_age import process_age_s
from tests.agent.halvm import AGENT, Call, at
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import UdpProxy

ASK = """
import sys, time
from fencer.agent.process_age import process_age_s
time.sleep(float(sys.argv[1]))
print(process_age_s())
"""


@pytest.mark.parametrize("slept_s", [0.0, 0.5])
def test_the_age_is_between_what_was_slept_and_what_the_caller_waited(slept_s):
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(slept_s)], capture_output=True, text=True, check=True, timeout=60
    )
    tick_s = 0.01
    assert slept_s <= float(done.stdout) <= time.monotonic() - began + tick_s


def test_the_age_grows():
    before = process_age_s()
    time.sleep(0.05)
    assert process_age_s() > before > 0


@pytest.mark.parametrize(("spent_s", "left_s"), [(0.0, 30.0), (2.0, 28.0), (15.0, 15.0), (400.0, 15.0)])
def test_a_slow_start_takes_at_most_half_of_the_deadline(spent_s, left_s):
    assert time_left_s(30.0, spent_s) == left_s


@pytest.mark.parametrize("action", ["off", "monitor", "list-status"])
def test_a_failure_after_a_slow_start_names_the_start(bmc: Bmc, proxy: UdpProxy, tmp_path: Path, action: str) -> None:
    """Half of the deadline was over when the BMC was asked: it is not the BMC's fault alone that nothing came."""
    proxy.blackhole = True
    slow = ("/bin/sh", "-c", 'sleep 1.5; exec "$@"', "sh", AGENT)  # the process, and its age, stay the same
    options = (*at(bmc, proxy.port), "-o", action, "-n", "serv-0001", "--deadline=2", f"--state-dir={tmp_path}")
    outcome = Call(*options, program=slow).end()
    said = re.search(
        r"opened no session within (\S+) s of the deadline's 2 s "
        r"\(this program took (\S+) s to start: this machine is overloaded\): check its address",
        outcome.stderr,
    )
    assert said, outcome.stderr
    assert float(said[1]) <= 1.0
    assert float(said[2]) >= 1.5
