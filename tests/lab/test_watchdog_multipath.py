# SPDX-License-Identifier: Apache-2.0
"""The sidecar's observers on a LUN with two paths: one lost is no loss, and one that comes back is registered again."""

from pathlib import Path

import pytest

from .agent import keys, write
from .level2 import NODES, Level2Guest
from .test_watchdog_observers import scsi_state, watching

A, B = NODES

pytestmark = [pytest.mark.lab(multipath=True), pytest.mark.slow, pytest.mark.timeout(400)]


def test_every_path_of_the_map_is_watched_and_registered(guest: Level2Guest) -> None:
    guest.forget_reservations()
    with watching(guest, [guest.maps[0]]) as watch:
        seen = {line["path"] for line in watch.lines() if line["what"] == "path" and line["ok"]}
        assert seen == {Path(guest.sd(A, 0, path)).name for path in (0, 1)}
        assert keys(guest, guest.sd(B, 0)) == ["a1", "a1"]


def test_one_path_lost_and_found_fences_no_node(guest: Level2Guest) -> None:
    guest.forget_reservations()
    disk = guest.sd(A, 0, 1)
    with watching(guest, [guest.maps[0]]) as watch:
        lost_s = watch.do(f"echo offline >{scsi_state(disk)}; sleep 6; echo running >{scsi_state(disk)}")
        watch.wait("decision", 60, lost_s, state="degraded")
        watch.wait("Registered", 60, lost_s, path=Path(disk).name)
        watch.wait("decision", 60, lost_s, state="keepalive")
        watch.assert_not_fenced()
        assert write(guest, disk) == ""


def test_a_silent_path_holds_no_other(guest: Level2Guest) -> None:
    """Commands hang in state D for nine seconds; the other path is probed and read meanwhile."""
    guest.forget_reservations()
    with watching(guest, [guest.maps[0]]) as watch:
        try:
            lost_s = watch.do("ip route add blackhole 127.0.1.1/32 table local; sleep 14")
            watch.wait("path", 60, lost_s, path=Path(guest.sd(A, 0, 0)).name, ok=False)
            watch.assert_not_fenced()
        finally:
            guest.heal(A)
        watch.wait("Registered", 90, lost_s, path=Path(guest.sd(A, 0, 0)).name)
        watch.wait("decision", 60, lost_s, state="keepalive")


def test_a_path_that_comes_back_by_a_new_login_is_registered(guest: Level2Guest) -> None:
    """A new login is a new I_T nexus, and a new disk. A target that keeps to SPC would refuse its writes."""
    guest.forget_reservations()
    with watching(guest, [guest.maps[0]]) as watch:
        before = keys(guest, guest.sd(B, 0)).count("a1")
        lost_s = watch.do("true")
        guest.logout(A, path=1)
        guest.login(A, path=1)
        returned = guest.sd(A, 0, 1)
        watch.wait("Registered", 90, lost_s, path=Path(returned).name)
        watch.wait("decision", 60, lost_s, state="keepalive")
        assert keys(guest, guest.sd(B, 0)).count("a1") == before + 1  # one of them on the nexus that is no more
        watch.assert_not_fenced()
        assert write(guest, returned) == ""
