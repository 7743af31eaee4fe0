# SPDX-License-Identifier: Apache-2.0
"""Node A reaches the LUNs by two paths under dm-multipath, node B by one. Each path is an I_T nexus of its own."""

from pathlib import Path

import pytest

from .agent import Caller, caller, keys, unfence, write
from .level2 import NODES, Level2Guest, linked
from .rows import further

A, B = NODES
EBADE = "Invalid exchange"
PATIENT = "--deadline=100"
_MOUNT = "/run/lab/mnt"

pytestmark = [pytest.mark.lab(multipath=True), pytest.mark.timeout(400)]


def _by_map(guest: Level2Guest, lun: int = 0) -> Caller:
    return Caller(guest, A, [guest.maps[lun]])


def _paths(guest: Level2Guest, lun: int = 0) -> list[str]:
    return [guest.sd(A, lun, path) for path in (0, 1)]


def _unfenced(guest: Level2Guest, *, by_agent: bool = False) -> tuple[Caller, Caller]:
    a, b = _by_map(guest), caller(guest, B)
    unfence(a, b, (_paths(guest), b.disks), by_agent=by_agent)
    return a, b


def test_a_map_is_registered_on_every_path(guest: Level2Guest) -> None:
    _unfenced(guest, by_agent=True)
    assert keys(guest, guest.sd(B, 0)) == ["a1", "a1", "b1"]
    for path in _paths(guest):
        assert write(guest, path) == ""


def test_one_path_given_stands_for_the_whole_map(guest: Level2Guest) -> None:
    guest.forget_reservations()
    Caller(guest, A, [_paths(guest)[1]]).unfence()
    assert keys(guest, guest.sd(B, 0)) == ["a1", "a1"]


@pytest.mark.parametrize("form", ["wwn", "link", *further("sysfs", "scsi_id", "map's link")])
def test_one_lun_by_any_of_its_names(guest: Level2Guest, form: str) -> None:
    guest.forget_reservations()
    wwid = guest.run(f"cat /sys/block/{_paths(guest)[0][5:]}/device/wwid", check=True).out.strip()
    digits = wwid.removeprefix("naa.")
    name = {
        "sysfs": wwid,
        "wwn": f"wwn-0x{digits}",
        "scsi_id": f"3{digits}",
        "map's link": f"/dev/disk/by-id/dm-uuid-mpath-3{digits}",
        "link": linked(guest.maps[0]),
    }[form]
    Caller(guest, A, [name]).unfence()
    assert keys(guest, guest.sd(B, 0)) == ["a1", "a1"]


def test_a_preempt_takes_every_path(guest: Level2Guest) -> None:
    a, b = _unfenced(guest)
    assert b.call("off", A, PATIENT).rc == 0
    assert keys(guest, b.disks[0]) == ["b1"]
    for disk in (*_paths(guest), guest.maps[0]):
        assert EBADE in write(guest, disk)
    lost = a.call("off", B, PATIENT)
    assert lost.rc == 1
    assert "the fence race is lost" in lost.err


def test_off_with_one_path_dead(guest: Level2Guest) -> None:
    a, b = _unfenced(guest)
    state = f"/sys/block/{_paths(guest)[0][5:]}/device/state"
    guest.run(f"echo offline >{state}", check=True)
    try:
        fenced = a.call("off", B, PATIENT)
        assert fenced.rc == 0, fenced
    finally:
        guest.run(f"echo running >{state}", check=True)
    assert EBADE in write(guest, b.disks[0])
    assert keys(guest, _paths(guest)[1]) == ["a1", "a1"]


def test_off_with_one_path_silent(guest: Level2Guest) -> None:
    """Commands on the first path hang in state D until the initiator gives the session up; the other path decides."""
    a, b = _unfenced(guest)
    guest.cut(A)
    try:
        fenced = a.call("off", B, PATIENT, timeout_s=150)
        assert fenced.rc == 0, fenced
        assert EBADE in write(guest, b.disks[0])
        assert keys(guest, _paths(guest)[1]) == ["a1", "a1"]
    finally:
        guest.heal(A)
        first = _paths(guest)[0]
        read = f"dd if={first} of=/dev/null count=1 iflag=direct status=none"
        guest.run(f"for i in {{1..150}}; do {read} && exit; sleep 0.2; done; exit 1", check=True)
    assert write(guest, first) == ""  # the same session, so the same ISID: registered still


def _relogin_second_path(guest: Level2Guest) -> str:
    guest.logout(A, path=1)
    guest.login(A, path=1)
    returned = guest.sd(A, 0, 1)
    in_map = f'[ -n "$(ls /sys/block/{Path(returned).name}/holders)" ]'
    guest.run(f"for i in {{1..100}}; do {in_map} && exit; sleep 0.2; done; exit 1", check=True)
    return returned


def test_a_path_that_comes_back_is_registered_by_on(guest: Level2Guest) -> None:
    """A new login is a new nexus. Targets that keep to SPC refuse its writes until it is registered, too."""
    a, b = _unfenced(guest)
    _relogin_second_path(guest)
    assert keys(guest, b.disks[0]) == ["a1", "a1", "b1"]
    repaired = a.call("on", A, PATIENT)
    assert repaired.rc == 0, repaired
    assert keys(guest, b.disks[0]) == ["a1", "a1", "a1", "b1"]  # one of them on the nexus that is no more
    for path in _paths(guest):
        assert write(guest, path) == ""
    assert a.call("off", B, PATIENT).rc == 0
    assert EBADE in write(guest, b.disks[0])


def test_a_path_that_came_back_unregistered_is_shut_out_with_the_others(guest: Level2Guest) -> None:
    """LIO lets it write as long as the same initiator is registered on another path: so it must end with that one."""
    _, b = _unfenced(guest)
    returned = _relogin_second_path(guest)
    assert b.call("off", A, PATIENT).rc == 0
    for path in (returned, guest.sd(A, 0, 0), guest.maps[0]):
        assert EBADE in write(guest, path)


def test_the_map_carries_a_file_system_through_a_fence(guest: Level2Guest) -> None:
    """What the survivor has mounted goes on; no path of it loses its registration."""
    a, b = _unfenced(guest)
    guest.run(f"mkfs.ext4 -q -F {guest.maps[0]} && mkdir -p {_MOUNT} && mount {guest.maps[0]} {_MOUNT}", check=True)
    try:
        assert a.call("off", B, PATIENT).rc == 0
        guest.run("for i in {1..20}; do echo $i >/run/lab/mnt/$i; done; sync -f /run/lab/mnt", check=True)
        assert guest.run("grep ' /run/lab/mnt ' /proc/mounts", check=True).out.split()[3].startswith("rw")
    finally:
        guest.run("umount /run/lab/mnt", check=True)
    assert EBADE in write(guest, b.disks[0])
