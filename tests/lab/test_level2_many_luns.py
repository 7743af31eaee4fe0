# SPDX-License-Identifier: Apache-2.0
"""64 LUNs, and one of them dead: the others are isolated, the dead one is named, and nobody waits for it."""

import pytest

from .agent import keys, unfenced, write
from .level2 import NODES, Level2Guest

A, B = NODES
LUNS = 64
DEAD = 17
PATIENT = "--deadline=100"

pytestmark = [pytest.mark.lab(luns=LUNS), pytest.mark.timeout(600)]


def test_one_dead_lun_is_named_and_the_rest_is_isolated(guest: Level2Guest) -> None:
    """Offline on this node; the arbiter is another LUN. A link that hangs takes all LUNs along: see the pitfalls."""
    a, b = unfenced(guest, tuple(range(LUNS)))
    dead = a.disks[DEAD]
    state = f"/sys/block/{dead[5:]}/device/state"
    guest.run(f"echo offline >{state}", check=True)
    try:
        result = a.call("off", B, PATIENT)
    finally:
        guest.run(f"echo running >{state}", check=True)
    assert result.rc == 1
    assert dead in result.err
    assert "Success" not in result.out
    assert keys(guest, dead) == ["a1", "b1"]
    for lun in (0, DEAD - 1, DEAD + 1, LUNS - 1):
        assert keys(guest, a.disks[lun]) == ["a1"]
        assert "Invalid exchange" in write(guest, b.disks[lun])
