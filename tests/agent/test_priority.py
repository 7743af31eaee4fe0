# SPDX-License-Identifier: Apache-2.0
"""A fence goes before the monitors, which a cluster manager starts at the same moment, and before what it waits for."""

import os
from pathlib import Path

import pytest

from tests.agent.halvm import AGENT, Call, halvm


@pytest.mark.parametrize(
    ("action", "nicer_by"),
    [
        ("off", -10),
        ("reboot", -10),
        (None, -10),
        ("REBOOT", -10),
        ("on", 0),
        ("monitor", 5),
        ("status", 5),
        ("list-status", 5),
        ("validate-all", 0),
    ],
)
def test_what_it_starts_has_the_priority_of_the_action(tmp_path: Path, action: str | None, nicer_by: int) -> None:
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("run as root: only root can raise a priority")
        pytest.skip("run as root: only root can raise a priority")
    seen = tmp_path / "nice"
    given = f"ip=127.0.0.1\nusername=ADMIN\nplug=serv-0001\npassword_script=nice >{seen}; exit 1\n"
    done = halvm(stdin=given + (f"action={action}\n" if action else ""))
    assert done.status == 1
    assert int(seen.read_text()) == max(-20, min(19, os.getpriority(os.PRIO_PROCESS, 0) + nicer_by))


def test_without_the_right_to_raise_it_nothing_is_said(tmp_path: Path) -> None:
    """As where root has no CAP_SYS_NICE."""
    seen = tmp_path / "nice"
    given = f"action=off\nip=127.0.0.1\nusername=ADMIN\nplug=serv-0001\npassword_script=nice >{seen}; exit 1\n"
    done = Call(stdin=given, program=("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice", AGENT)).end()
    assert int(seen.read_text()) == os.getpriority(os.PRIO_PROCESS, 0)
    assert "password_script" in done.stderr
    assert "nice" not in done.stderr
