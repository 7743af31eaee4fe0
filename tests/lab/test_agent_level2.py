# SPDX-License-Identifier: Apache-2.0
"""The agent against real disks: SG_IO through libsgutils2, LIO's reservations, the kernel's word on who may write."""

import time

from .agent import STATE, caller, generation, keys, reservation, unfenced, write
from .level2 import NODES, Level2Guest

A, B = NODES
EBADE = "Invalid exchange"


def test_unfencing_registers_and_reserves(guest: Level2Guest) -> None:
    a, _ = unfenced(guest, by_agent=True)
    assert keys(guest, a.disks[0]) == ["a1", "b1"]
    assert "Write Exclusive, registrants only" in reservation(guest, a.disks[0])


def test_off_stops_the_victim_and_no_other_node(guest: Level2Guest) -> None:
    a, b = unfenced(guest, (0, 1))
    result = a.call("off", B)
    assert result.rc == 0, result
    assert "Success: Powered OFF" in result.out
    for disk in b.disks:
        assert EBADE in write(guest, disk)
    for disk in a.disks:
        assert keys(guest, disk) == ["a1"]
        assert write(guest, disk) == ""


def test_a_buffered_write_of_the_victim_fails_at_fsync(guest: Level2Guest) -> None:
    a, b = unfenced(guest)
    assert write(guest, b.disks[0], buffered=True) == ""
    assert a.call("off", B).rc == 0
    assert write(guest, b.disks[0], buffered=True) != ""


def test_off_again_finds_it_done(guest: Level2Guest) -> None:
    a, _ = unfenced(guest)
    assert a.call("off", B).rc == 0
    before = generation(guest, a.disks[0])
    result = a.call("off", B)
    assert (result.rc, result.out) == (0, "Success: Already OFF\n")
    # One REGISTER of the own key: by the generation the victim knows that its key did not merely get lost (0008).
    assert generation(guest, a.disks[0]) == before + 1
    assert keys(guest, a.disks[0]) == ["a1"]


def test_off_does_not_believe_an_empty_lun(guest: Level2Guest) -> None:
    """Neither key nor reservation: the victim's key is absent, and nothing keeps it from writing."""
    guest.forget_reservations()
    result = caller(guest, A).call("off", B)
    assert result.rc == 1
    assert "Success" not in result.out
    assert keys(guest, guest.sd(A, 0)) == []


def test_status_is_the_registration(guest: Level2Guest) -> None:
    a, _ = unfenced(guest)
    assert a.call("status", B).rc == 0
    assert a.call("off", B).rc == 0
    assert a.call("status", B).rc == 2


def test_monitor_changes_nothing(guest: Level2Guest) -> None:
    a, _ = unfenced(guest)
    before = generation(guest, a.disks[0]), keys(guest, a.disks[0]), reservation(guest, a.disks[0])
    assert a.call("monitor", B).rc == 0
    assert (generation(guest, a.disks[0]), keys(guest, a.disks[0]), reservation(guest, a.disks[0])) == before


def test_a_fenced_node_does_not_come_back_in_the_same_boot(guest: Level2Guest) -> None:
    a, b = unfenced(guest)
    assert a.call("off", B).rc == 0
    assert b.call("on", B).rc == 1
    assert b.call("off", A).rc == 1
    assert keys(guest, a.disks[0]) == ["a1"]


def test_a_rebooted_node_unfences_and_writes(guest: Level2Guest) -> None:
    a, b = unfenced(guest)
    assert a.call("off", B).rc == 0
    b.reboot()
    b.unfence()
    assert write(guest, b.disks[0]) == ""
    assert write(guest, a.disks[0]) == ""


def test_an_unregistered_caller_shoots_no_node(guest: Level2Guest) -> None:
    guest.forget_reservations()
    a, b = caller(guest, A), caller(guest, B)
    b.unfence()
    before = generation(guest, b.disks[0])
    result = a.call("off", B)
    assert result.rc == 1
    assert keys(guest, b.disks[0]) == ["b1"]
    assert generation(guest, b.disks[0]) == before
    assert write(guest, b.disks[0]) == ""


def test_a_target_that_lost_everything_is_no_proof(guest: Level2Guest) -> None:
    """Registrations and reservation vanish, as on a target without APTPL that was restarted."""
    a, b = unfenced(guest)
    guest.run(f"cp -a {STATE} /run/kept", check=True)
    guest.forget_reservations()
    guest.run(f"mv /run/kept {STATE}", check=True)
    result = a.call("off", B)
    assert result.rc == 1
    assert write(guest, b.disks[0]) == ""  # it is true: nothing stops the victim


def test_unit_attentions_are_taken_in_stride(guest: Level2Guest) -> None:
    """A LUN reset leaves 29/xx on every nexus, a preempt 2A/03 or 2A/05 on the others."""
    a, b = unfenced(guest, (0, 1))
    for disk in a.disks:
        guest.run(f"sg_reset --device {disk}", check=True)
    assert a.call("off", B).rc == 0
    assert b.call("off", A).rc == 1
    assert keys(guest, a.disks[0]) == ["a1"]


def test_reading_makes_no_uevent(guest: Level2Guest) -> None:
    """A device opened for writing makes udev probe it again at close, and mounts in that moment fail."""
    a, _ = unfenced(guest)
    listen = "timeout 20 udevadm monitor --kernel --subsystem-match=block >/run/lab/uevents 2>&1 & echo $!"
    monitor = guest.run(listen, check=True).out.strip()
    time.sleep(1)
    for action in ("status", "monitor", "off"):
        assert a.call(action, B).rc == 0
    time.sleep(0.5)
    guest.run(f"kill {monitor}")
    assert "KERNEL[" not in guest.run("cat /run/lab/uevents", check=True).out
