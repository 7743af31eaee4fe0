# SPDX-License-Identifier: Apache-2.0
"""Level 2: the sidecar and real watchdog drivers: late, in use by sbd, outside the kernel's core, with nowayout."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from . import watchdog_rig
from .conftest import require
from .guest import GuestError
from .level2 import Level2Guest, Shape, restored
from .watchdog_rig import CONFIG, NODE, PID, Rig

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]

TIMEOUT_S = 30
"""The processor is emulated and shared: who feeds late is not what these tests are about."""
STOP = f"kill $(cat {PID}); for i in {{1..300}}; do kill -0 $(cat {PID}) 2>/dev/null || exit 0; sleep 0.1; done; exit 1"


@pytest.fixture
def rig() -> Iterator[Rig]:
    """The peer is registered, the sidecar not started, and no driver of a watchdog loaded."""
    shape = Shape()
    require(shape.snapshot)
    with restored(shape) as guest:
        guest.forget_reservations()
        watchdog_rig.hide_peer(guest)
        guest.run("mkdir -p /etc/fence-halvm", check=True)
        rig = Rig(guest)
        try:
            yield rig
        finally:
            rig.resets.close()


def start(guest: Level2Guest, **settings: Any) -> None:
    watchdog_rig.run_sidecar(guest, [guest.sd(NODE, 0)], watchdog_timeout_s=TIMEOUT_S, **settings)


def wait_unarmed(rig: Rig, *words: str) -> dict[str, Any]:
    """Returns when the sidecar says that nothing is armed, and why."""
    end = time.monotonic() + 120
    while True:
        state = rig.wait_state("starting")
        reasons = " ".join(state["reasons"])
        if "nothing is armed" in reasons and all(word in reasons for word in words):
            assert not state["watchdog"]["armed"]
            return state
        if time.monotonic() > end:
            raise GuestError(f"starting, but not for {words}: {reasons}\n{rig.log()}")
        time.sleep(0.2)


def sysfs(rig: Rig, name: str, device: str = "watchdog0") -> str:
    return rig.guest.run(f"cat /sys/class/watchdog/{device}/{name}", check=True).out.strip()


def test_a_driver_that_is_loaded_late(rig: Rig) -> None:
    start(rig.guest)
    wait_unarmed(rig, "no watchdog device")
    rig.guest.run("modprobe i6300esb", check=True)
    watchdog = rig.wait_state("keepalive")["watchdog"]
    assert watchdog["armed"] and watchdog["identity"] == "i6300ESB timer" and watchdog["software"] is False
    assert watchdog["timeout_s"] == watchdog["asked_timeout_s"] == TIMEOUT_S
    assert sysfs(rig, "state") == "active"


def test_sbd_beside(rig: Rig) -> None:
    """One watchdog: it is sbd's, softdog does not stand in, and the sidecar takes over when sbd is stopped in order."""
    guest = rig.guest
    guest.run("modprobe i6300esb && modprobe softdog && udevadm settle", check=True)
    disk = guest.sd(NODE, 1)
    guest.run(f"sbd -d {disk} create && sbd -d {disk} allocate {NODE}", check=True)
    alone = "SBD_PACEMAKER=no SBD_SYNC_RESOURCE_STARTUP=no"
    watch = f"{alone} sbd -d {disk} -n {NODE} -w /dev/watchdog0 -p /run/lab/sbd.pid watch"
    guest.run(f"{watch} >/run/lab/sbd.out 2>&1 </dev/null", check=True)
    start(guest)
    wait_unarmed(rig, "/dev/watchdog0: sbd (pid", "systemctl disable sbd")
    said = guest.run(f"halvm-watchdogd --check-config -c {CONFIG}")
    assert said.rc == 1 and "sbd (pid" in said.err
    assert rig.resets.wait(15) is None  # nobody is reset, and softdog is left alone
    assert sysfs(rig, "state", "watchdog1") == "inactive"
    guest.run("kill $(cat /run/lab/sbd.pid)", check=True)
    watchdog = rig.wait_state("keepalive")["watchdog"]
    assert (watchdog["device"], watchdog["identity"]) == ("/dev/watchdog0", "i6300ESB timer")


def test_each_has_a_watchdog_of_its_own(rig: Rig) -> None:
    guest = rig.guest
    guest.run("modprobe i6300esb && modprobe softdog && udevadm settle", check=True)
    guest.run("exec 9>/dev/watchdog0; (while sleep 1; do echo >&9; done) >/dev/null 2>&1 </dev/null &", check=True)
    start(guest, watchdog="/dev/watchdog1")
    watchdog = rig.wait_state("keepalive")["watchdog"]
    assert watchdog["device"] == "/dev/watchdog1" and watchdog["software"] is True
    assert "softdog" in rig.log()


def test_a_driver_outside_the_core_comes_before_softdog(rig: Rig) -> None:
    rig.guest.run("modprobe ipmi_si && modprobe ipmi_watchdog && modprobe softdog && udevadm settle", check=True)
    start(rig.guest)
    watchdog = rig.wait_state("keepalive")["watchdog"]
    assert watchdog["device"] == "/dev/watchdog" and watchdog["software"] is False, watchdog


def test_a_stop_with_nowayout_leaves_time_and_the_next_start_takes_it_back(rig: Rig) -> None:
    rig.guest.run("modprobe i6300esb nowayout=1 && udevadm settle", check=True)
    start(rig.guest)
    first = rig.wait_state("keepalive")
    assert first["watchdog"]["nowayout"] is True
    rig.guest.run(STOP, check=True)
    assert "cannot be disarmed (nowayout): it resets this node in 600 s" in rig.log()
    assert (sysfs(rig, "timeout"), sysfs(rig, "state")) == ("600", "active")
    assert rig.resets.wait(TIMEOUT_S + 5) is None
    start(rig.guest)
    assert rig.wait_state("keepalive", after_pid=first["pid"])["watchdog"]["timeout_s"] == TIMEOUT_S
    assert sysfs(rig, "timeout") == str(TIMEOUT_S)
