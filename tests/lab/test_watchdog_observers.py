# SPDX-License-Identifier: Apache-2.0
"""The sidecar's observers and policy on real disks: each way to lose a path, a preemption, resets, a path that comes
back, a target that forgets. Times are the guest's own, so that the speed of the guest agent does not count."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .agent import KEYS, STATE, caller, keys, reservation, write
from .guest import Guest
from .level2 import NODES, TARGET, Level2Guest, linked
from .product import PYTHON

A, B = NODES
LOG = "/run/lab/watch.log"
PROGRAM = "/run/lab/watch_program.py"
PATIENT = {"grace_s": 60.0, "settle_s": 2.0}  # where nobody is to be fenced: the guest may be slow
GRACE_S = 4.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Watch:
    """The program under way in the guest."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._guest.run(f"cat {LOG}").out.splitlines()]

    def wait(self, what: str, timeout_s: float = 60, after_s: float = 0.0, **wanted: object) -> dict[str, Any]:
        """The first line of that kind after a moment."""
        end = time.monotonic() + timeout_s
        while True:
            lines = self.lines()
            for line in lines:
                if line["what"] == what and line["at_s"] > after_s and wanted.items() <= line.items():
                    return line
            assert time.monotonic() < end, f"no {what} {wanted} after {after_s}: {lines}"
            time.sleep(0.3)

    def assert_not_fenced(self) -> None:
        """Shows every decision if there was a self-fence."""
        decisions = [line for line in self.lines() if line["what"] == "decision"]
        assert not [line for line in decisions if line["state"] == "self-fence"], decisions

    def states(self, after_s: float = 0.0) -> list[str]:
        return [line["state"] for line in self.lines() if line["what"] == "decision" and line["at_s"] > after_s]

    def do(self, command: str) -> float:
        """Runs a command; the guest's monotonic time at which it began."""
        said = self._guest.run(f"cat /proc/uptime; {command}", check=True).out
        return float(said.split()[0])


@contextmanager
def watching(
    guest: Level2Guest, disks: Sequence[str], *, until: str = "keepalive", node: str = A, **timing: object
) -> Iterator[Watch]:
    """Watches until the block ends; ready when the policy has said until."""
    guest.put(PROGRAM, (Path(__file__).parent / "watch_program.py").read_text())
    others = [Path(guest.sd(other, lun)).name for other in NODES if other != node for lun in range(guest.luns)]
    options = json.dumps({"not_ours": others} | PATIENT | timing)
    guest.run(f"rm -f {LOG}; mkdir -p /run/lab")
    command = f"{PYTHON} {PROGRAM} {LOG} {STATE}/{node} {KEYS[node]} '{options}' {' '.join(map(linked, disks))}"
    guest.run(f"{command} >/run/lab/watch.out 2>&1 </dev/null & echo $! >/run/lab/watch.pid", check=True)
    watch = Watch(guest)
    try:
        watch.wait("decision", 90, state=until)
        yield watch
    finally:
        guest.run("kill $(cat /run/lab/watch.pid); cat /run/lab/watch.out >&2")


def scsi_state(disk: str) -> str:
    """Where the kernel is told that a disk is offline or running."""
    return f"/sys/block/{Path(disk).name}/device/state"


def _wait_readable(guest: Level2Guest, disk: str) -> None:
    read = f"dd if={disk} of=/dev/null count=1 iflag=direct status=none"
    guest.run(f"for i in {{1..150}}; do {read} && exit; sleep 0.2; done; exit 1", check=True)


@pytest.mark.parametrize("how", ["offline", "deleted", "silent"])
def test_losing_the_only_path(guest: Level2Guest, how: str) -> None:
    guest.forget_reservations()
    disk = guest.sd(A, 0)
    scsi = guest.run(f"basename $(readlink /sys/block/{Path(disk).name}/device)").out.strip()
    host = scsi.partition(":")[0]
    lose = {
        "offline": f"echo offline >{scsi_state(disk)}",
        "deleted": f"echo 1 >/sys/block/{Path(disk).name}/device/delete",
        "silent": "ip route add blackhole 127.0.1.1/32 table local",
    }[how]
    with watching(guest, [disk], grace_s=GRACE_S) as watch:
        try:
            lost_s = watch.do(lose)
            end = watch.wait("decision", 60, lost_s, state="self-fence")
            print(f"{how}: self-fence {end['at_s'] - lost_s:.2f} s after the loss: {end['reasons']}")
            assert end["cause"] == "paths-lost"
            bound_s = watch.wait("began")["bound_s"]
            assert GRACE_S - 0.3 <= end["at_s"] - lost_s <= bound_s
        finally:
            if how == "silent":
                guest.heal(A)
            elif how == "offline":
                guest.run(f"echo running >{scsi_state(disk)}", check=True)
            else:
                guest.run(f"echo '- - -' >/sys/class/scsi_host/host{host}/scan; udevadm settle", check=True)
                guest._find_disks()
            _wait_readable(guest, guest.sd(A, 0))


def test_a_flap_shorter_than_grace(guest: Level2Guest) -> None:
    guest.forget_reservations()
    disk = guest.sd(A, 0)
    with watching(guest, [disk]) as watch:
        lost_s = watch.do(f"echo offline >{scsi_state(disk)}; sleep 3; echo running >{scsi_state(disk)}")
        watch.wait("decision", 30, lost_s, state="degraded")
        watch.wait("Registered", 30, lost_s, path=Path(disk).name)
        watch.wait("decision", 30, lost_s, state="keepalive")
        watch.assert_not_fenced()
        assert keys(guest, disk) == ["a1"]
        assert write(guest, disk) == ""


def test_preempted_by_the_peer(guest: Level2Guest) -> None:
    guest.forget_reservations()
    disk, peer = guest.sd(A, 0), caller(guest, B)
    peer.unfence()
    with watching(guest, [disk]) as watch:
        watch.assert_not_fenced()
        # By one command, so that it is known when: what the agent does is other tests' business.
        preempted_s = watch.do(f"sg_persist -n -o -A -K b1 -S a1 -T 5 {peer.disks[0]}")
        end = watch.wait("decision", 60, preempted_s, state="self-fence")
        print(f"preempted: self-fence {end['at_s'] - preempted_s:.2f} s after sg_persist was started")
        assert end["cause"] == "preempted"
        assert end["at_s"] - preempted_s <= watch.wait("began")["preempt_bound_s"]
        time.sleep(5)  # several checks: a fenced node is not registered again
        assert keys(guest, guest.sd(B, 0)) == ["b1"]
    with watching(guest, [disk], until="self-fence") as again:  # a sidecar that is started again in this boot
        assert again.wait("decision", state="self-fence")["cause"] == "preempted"
        time.sleep(3)
    assert keys(guest, guest.sd(B, 0)) == ["b1"]


def test_a_lun_reset_and_unit_attentions_change_nothing(guest: Level2Guest) -> None:
    guest.forget_reservations()
    disk = guest.sd(A, 0)
    caller(guest, B).unfence()
    with watching(guest, [disk]) as watch:
        watch.do(f"for i in 1 2 3; do sg_reset -d {disk} || exit 1; sleep 1; done")
        guest.run(f"sg_persist -n -o -L -K b1 -T 5 {guest.sd(B, 0)}")  # RELEASE by somebody who does not hold it
        watch.do("sleep 5")
        watch.assert_not_fenced()
        assert watch.states()[-1] in ("keepalive", "degraded")
        watch.wait("decision", 30, state="keepalive")
        assert write(guest, disk) == ""


_FORGET = """
import os
from pathlib import Path
config = Path("/sys/kernel/config/target")
unit, lun = config / "core/fileio_1/lun0", config / "iscsi/{target}/tpgt_1/lun/lun_0"
serial = (unit / "wwn/vpd_unit_serial").read_text().split(":")[1].strip()
(lun / "port").unlink(); lun.rmdir(); unit.rmdir()
if {forget}:
    for kept in Path("/var/target/pr").glob("*"), Path("/etc/target/pr").glob("*"):
        [file.unlink() for file in kept if serial in file.name]
unit.mkdir()
backing = "/run/lio/lun0.img"
(unit / "control").write_text(f"fd_dev_name={{backing}},fd_dev_size={{os.stat(backing).st_size}},fd_buffered_io=1\\n")
(unit / "wwn/vpd_unit_serial").write_text(serial + "\\n")
(unit / "enable").write_text("1\\n")
lun.mkdir()
(lun / "port").symlink_to(unit)
"""


@pytest.mark.parametrize("policy", ["re-register", "self-fence"])
def test_a_target_that_forgets(guest: Level2Guest, policy: str) -> None:
    guest.forget_reservations()
    disk = guest.sd(A, 0)
    guest.put("/run/lab/forget.py", _FORGET.format(target=TARGET, forget=True))
    with watching(guest, [disk], on_target_reset=policy) as watch:
        lost_s = watch.do("python3 /run/lab/forget.py")
        if policy == "self-fence":
            assert watch.wait("decision", 60, lost_s, state="self-fence")["cause"] == "target-forgot"
            return
        watch.wait("lun", 60, lost_s, registration="target-forgot")
        watch.wait("Registered", 60, lost_s, path="")
        watch.wait("decision", 60, lost_s, state="keepalive")
        watch.assert_not_fenced()
        assert keys(guest, guest.sd(B, 0)) == ["a1"]
        assert "registrants only" in reservation(guest, guest.sd(B, 0)).lower()
        assert write(guest, disk) == ""
