# SPDX-License-Identifier: Apache-2.0
"""The sidecar feeding a real watchdog on level 2, kept in memory and restored as often as a reset is to be seen.

A reset stops the guest (level2.py) and QEMU tells when. A loss is timed by the guest, a reset by the host; how far the
two clocks are apart is measured first, to the time that a question to the guest's agent takes.
"""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from . import level2
from .agent import KEYS, STATE
from .guest import Guest, GuestError
from .level2 import NODES, Level2Guest, Shape, linked
from .places import new_run_directory

NODE, PEER = NODES
CONFIG = "/etc/fence-halvm/watchdogd.toml"
LOG = "/run/lab/sidecar.log"
PID = "/run/lab/sidecar.pid"
PEER_DISK = "/run/lab/peer"
TIMEOUT_S = 5
_RESETS = ("RESET", "SHUTDOWN")


class Reset(NamedTuple):
    """by_hardware: the watchdog ran out; else the guest itself asked for it."""

    at_unix_s: float
    by_hardware: bool


class ResetWatch:
    """A QMP connection kept to hear of resets. QEMU serves one at a time: guest.qmp waits until this is closed."""

    def __init__(self, guest: Guest) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(guest.directory / "qmp"))
        self._buffer = b""
        self._hardware = False
        self._reset: Reset | None = None
        self._line(time.monotonic() + 20)  # the greeting
        self._socket.sendall(b'{"execute": "qmp_capabilities"}\n')
        self._line(time.monotonic() + 20)

    def close(self) -> None:
        self._socket.close()

    def wait(self, timeout_s: float) -> Reset | None:
        """The first reset since this was made, or since again(); None when there was none by then."""
        end = time.monotonic() + timeout_s
        while self._reset is None and (line := self._line(end)) is not None:
            event = line.get("event")
            self._hardware |= event == "WATCHDOG"
            if event in _RESETS and line["data"].get("guest"):
                stamp = line["timestamp"]
                self._reset = Reset(stamp["seconds"] + stamp["microseconds"] / 1e6, self._hardware)
        return self._reset

    def again(self) -> None:
        """Forgets the reset that was seen: wait() waits for the next one."""
        self._hardware, self._reset = False, None

    def _line(self, end: float) -> dict[str, Any] | None:
        while b"\n" not in self._buffer:
            left_s = end - time.monotonic()
            if left_s <= 0 and self._buffer == b"":
                left_s = 0.001  # what has arrived counts, also when nobody wants to wait
                end = time.monotonic() - 1
            try:
                self._socket.settimeout(max(0.001, left_s))
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return None
            if not data:
                raise GuestError("QEMU closed its monitor")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Rig:
    """A guest with the sidecar in it, and what is told of its resets."""

    def __init__(self, guest: Level2Guest) -> None:
        self.guest = guest
        self.disk = guest.maps[0] if guest.maps else guest.sd(NODE, 0)
        self.peer_disk = guest.run(f"cat {PEER_DISK}", check=True).out.split()[0]
        self.resets = ResetWatch(guest)
        self.ahead_s = guest.clock_lead_s()

    def snapshot(self) -> dict[str, Any]:
        """What the sidecar publishes."""
        published: dict[str, Any] = json.loads(self.guest.run(f"cat {STATE}/watchdogd.json", check=True).out)
        return published

    def wait_state(self, state: str, timeout_s: float = 120, after_pid: int = 0) -> dict[str, Any]:
        """Returns when the sidecar publishes that state; with after_pid, another one than that."""
        end = time.monotonic() + timeout_s
        while True:
            if self.resets.wait(0) is not None:
                raise GuestError(f"it was reset: {self.guest.console()[-3000:]}")
            look = f"kill -0 $(cat {PID}) 2>/dev/null && echo runs; cat {STATE}/watchdogd.json 2>/dev/null; true"
            told = self.guest.run(look).out
            runs, said = told.startswith("runs\n"), told.removeprefix("runs\n")
            snapshot: dict[str, Any] = json.loads(said) if said else {}
            if snapshot.get("state") == state and snapshot["pid"] != after_pid:
                return snapshot
            if time.monotonic() > end or not runs:
                raise GuestError(f"not {state}: {snapshot.get('state')} {snapshot.get('reasons')}\n{self.log()}")
            time.sleep(0.2)

    def log(self) -> str:
        return self.guest.run(f"cat {LOG}").out

    def began(self, command: str) -> float:
        """Starts a command, which may be the guest's last, and leaves it alone; the host's time at which it began."""
        known = len(self.guest.console())
        self.guest.run(f"(echo @$(date +%s.%N)@ >/dev/ttyS0; {command}) >/run/lab/began.out 2>&1 </dev/null &")
        end = time.monotonic() + 30
        while len(said := self.guest.console()[known:].split("@")) < 3:
            if time.monotonic() > end:
                raise GuestError(f"{command}: it is not known when it began")
            time.sleep(0.05)
        return float(said[1]) - self.ahead_s

    def reset_after(self, command: str, timeout_s: float) -> tuple[Reset, float]:
        """Does what leads to a reset; the reset, and how long after that it came. Raises GuestError when none came."""
        began_unix_s = self.began(command)
        reset = self.resets.wait(timeout_s)
        if reset is None:
            raise GuestError(f"no reset within {timeout_s} s of {command}: {self.log()}")
        return reset, reset.at_unix_s - began_unix_s


def configuration(disks: Sequence[str], **settings: Any) -> str:
    """watchdogd.toml for the first node of level 2."""
    values: dict[str, object] = {
        "devices": [linked(disk) for disk in disks],
        "local_node": NODE,
        "local_key": f"0x{KEYS[NODE]}",
        "state_dir": STATE,
        "watchdog_timeout_s": TIMEOUT_S,
        "grace_s": 10.0,  # the default is made for arrays that take over, and no trial has one
        **settings,
    }
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


# As the unit has it: every process of it is spared by the OOM killer.
START = f"choom -n -1000 -- halvm-watchdogd >>{LOG} 2>&1 </dev/null & echo $! >{PID}"


def start(guest: Level2Guest, disks: Sequence[str], driver: str = "i6300esb", **settings: Any) -> None:
    """Prepares the guest and starts the sidecar; it is not ready on return."""
    prepare(guest, driver)
    run_sidecar(guest, disks, **settings)


@contextmanager
def feeding(guest: Level2Guest, driver: str = "i6300esb", **settings: Any) -> Iterator[Rig]:
    """The sidecar in this guest, on its first LUN, from its first keepalive until the block ends."""
    start(guest, [guest.maps[0] if guest.maps else guest.sd(NODE, 0)], driver, **settings)
    rig = Rig(guest)
    try:
        rig.wait_state("keepalive", 300)
        yield rig
    finally:
        rig.resets.close()


def prepare(guest: Level2Guest, driver: str = "i6300esb") -> None:
    """Registers the peer on LUNs that have forgotten everybody, and loads a watchdog's driver."""
    guest.forget_reservations()
    hide_peer(guest)
    guest.run(f"modprobe {driver} && udevadm settle; mkdir -p {Path(CONFIG).parent}", check=True)


def run_sidecar(guest: Level2Guest, disks: Sequence[str], **settings: Any) -> None:
    guest.put(CONFIG, configuration(disks, **settings))
    guest.run(START, check=True)


_HIDE = """
for disk in {disks}; do
  device=$(readlink -f /sys/block/$disk/device)
  sg_persist -n -o -I -S {key} -Z /dev/$disk || exit
  echo ${{device##*/}} >/sys/bus/scsi/drivers/sd/unbind || exit
  echo /dev/$(ls $device/scsi_generic) >>{file}
done
udevadm settle
"""


def hide_peer(guest: Level2Guest) -> None:
    """Registers the peer and takes its disks from the kernel: they would be further paths of this node's LUNs.

    Its sessions stay, and with them /dev/sgN: their names are in PEER_DISK.
    """
    disks = " ".join(Path(guest.sd(PEER, lun)).name for lun in range(guest.luns))
    guest.run(_HIDE.format(disks=disks, key=f"0x{KEYS[PEER]}", file=PEER_DISK), check=True)


class Kept:
    """A guest that was stopped with everything under way in it."""

    def __init__(self, shape: Shape, directory: Path) -> None:
        self._shape, self._directory = shape, directory

    @contextmanager
    def restored(self) -> Iterator[Rig]:
        """It goes on; gone when the block ends."""
        with level2.restored(self._shape, with_product=False, snapshot=self._directory) as guest:
            rig = Rig(guest)
            try:
                yield rig
            finally:
                rig.resets.close()


@contextmanager
def kept(shape: Shape, prepare: Callable[[Level2Guest], object]) -> Iterator[Kept]:
    """Prepares a guest once. What is kept of it goes when the block ends."""
    directory = new_run_directory()
    try:
        with level2.restored(shape) as guest:
            prepare(guest)
            level2.keep(guest, directory)
        yield Kept(shape, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def armed(shape: Shape | None = None, driver: str = "i6300esb", **settings: Any) -> Iterator[Kept]:
    """Kept with the sidecar feeding, its storage reachable."""
    shape = shape or Shape()

    def prepare(guest: Level2Guest) -> None:
        with feeding(guest, driver, **settings):
            pass

    with kept(shape, prepare) as made:
        yield made
