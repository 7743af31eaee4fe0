# SPDX-License-Identifier: Apache-2.0
"""fence-agents' own checks, out of its source package, with our agent as the one that is tested."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.conftest import container_of
from tests.conformance.container import Container
from tests.conformance.debian_root import FENCE_AGENTS, SUITES
from tests.rig.bmc import Bmc

SOURCE = f"/{FENCE_AGENTS}"
AGENT = "/usr/sbin/fence_halvm"
DEVICE = Path(__file__).parent / "devices.d" / "fence_halvm.cfg"


@pytest.fixture(scope="module", params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[Container]:
    """A container of each suite in turn, with a device file of ours in the source."""
    with container_of(request.param) as container:
        shutil.copy(DEVICE, container.path(f"{SOURCE}/tests/devices.d"))
        yield container


@pytest.mark.parametrize("method", ["stdin", "getopt", "longopt"])
@pytest.mark.parametrize("actions", ["status", "power-on-off", "list"])
def test_fence_testing(debian: Container, bmc: Bmc, actions: str, method: str) -> None:
    """Its sequences of actions, each with its exit status, by each way of giving options."""
    call = f"test_action('devices.d/fence_halvm.cfg', 'actions.d/{actions}.cfg', '{method}')"
    script = f'cd {SOURCE}/tests && python3 -W ignore -c "from fence_testing import test_action; {call}"'
    done = debian.run("bash", "-c", script)
    assert "TEST PASSED" in done.stdout, done.stdout + done.stderr
    if actions == "power-on-off":
        assert bmc.power == "off"


@pytest.mark.parametrize("language", ["py", "c"])
def test_delay_check(debian: Container, bmc: Bmc, language: str) -> None:
    """A delay of 10 s elapses: on standard input, as for its agents in Python, and by options, as for those in C."""
    bmc.power = "on"
    by_stdin = f"ip={bmc.address}\\nusername=ADMIN\\npassword=ADMIN\\naction=off\\n"
    by_options = f"--ip {bmc.address} --username ADMIN --password ADMIN --action off"
    arguments = by_stdin if language == "py" else by_options
    done = _make(debian, language, "delay-check", f"FENCE_TEST_ARGS={arguments}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "real" not in done.stdout + done.stderr, "the delay has not elapsed, so it was called again without one"
    assert bmc.power == "off"


def test_rng_check(debian: Container) -> None:
    """Our metadata become a schema of Pacemaker's options by its style sheet."""
    done = _make(debian, "py", "rng-check")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_metadata_rng(debian: Container) -> None:
    """Our metadata are valid by its schema."""
    script = f"fence_halvm -o metadata | xmllint --noout --relaxng {SOURCE}/lib/metadata.rng -"
    done = debian.run("bash", "-o", "pipefail", "-c", script)
    assert done.returncode == 0, done.stderr


def _make(debian: Container, language: str, goal: str, *variables: str):
    """One of its makefiles' goals for our agent, which has to be in the directory."""
    rules = f"{SOURCE}/make/agent{language}check.mk"
    known = [f"abs_top_srcdir={SOURCE}", f"abs_top_builddir={SOURCE}", "PYTHON=python3", "AWK=gawk", "SHELL=/bin/bash"]
    command = ["make", "-s", "-f", rules, f"fence_halvm.{goal}", *known, *variables]
    script = f'mkdir -p /tmp/check && cd /tmp/check && cp {AGENT} . && "$@"'
    return debian.run("bash", "-c", script, "bash", *command)
