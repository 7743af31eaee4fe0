# SPDX-License-Identifier: Apache-2.0
"""One simulated BMC: an ``ipmi_sim`` process on a loopback address, its chassis a few files (see chassis_hook)."""

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.rig import require_program

_HOOK = Path(__file__).with_name("chassis_hook")
_READY_TIMEOUT_S = 30.0
_AUTH_CAPABILITIES = bytes.fromhex("0600ff07 00 00000000 00000000 09 2018c8 8104 388e 04 b1")

_EMULATOR = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_add 0x30 2 no-device-sdrs 0x98 0x10 1 0xa0 0x1291 0xf03
mc_enable 0x30
mc_enable 0x20
"""

_LAN = """\
name "bmc"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid {guid}
{kg_line}  endlan
  chassis_control "{hook} {chassis}"
  user 1 true "" "" user 10 none md2 md5 straight
  user 2 true "ADMIN" "ADMIN" admin 10 none md2 md5 straight
  user 3 true "oper" "oper" operator 10 none md2 md5 straight
  user 4 true "user" "test" user 10 none md2 md5 straight
"""


@dataclass(frozen=True, slots=True)
class ChassisEvent:
    """One line of the chassis' log. at_s: seconds since boot (CLOCK_BOOTTIME), to 10 ms. words: set, power, 0."""

    at_s: float
    words: tuple[str, ...]


def free_port(address: str) -> int:
    """A UDP port that no program uses on this address now."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


class Bmc:
    """Context manager: a real RMCP+ BMC (cipher suite 3 only) with the users ADMIN/ADMIN (administrator), oper/oper
    (operator), user/test (user) and a satellite controller at IPMB address 30h. ipmi_sim does not hold its users to
    their privilege, only a session to the level it asked for.

    address: any loopback address, also ``::1``. port: 0 takes a free one. kg: the BMC key, up to 20 ASCII
    characters, or none. guid: 16 bytes; by default its own, made of address and port.
    Knobs may be turned at any time. Raises RuntimeError when ipmi_sim does not come up. A test that needs it is skipped
    where ipmi_sim is not installed.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        kg: bytes | None = None,
        power: str = "on",
        guid: bytes | None = None,
    ) -> None:
        self.address = address
        self.port = port or free_port(address)
        self.guid = guid or hashlib.md5(f"{address} {self.port}".encode(), usedforsecurity=False).digest()
        self._kg = kg
        self._initial_power = power
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = Path()

    def __enter__(self) -> Self:
        require_program("ipmi_sim", "openipmi")
        self._directory = Path(tempfile.mkdtemp(prefix="bmc."))
        try:
            self.chassis.mkdir()
            self.power = self._initial_power
            (self.chassis / "log").touch()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def chassis(self) -> Path:
        return self._directory / "chassis"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("ipmi_sim is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts ipmi_sim and returns when it has answered. Sessions are gone, the chassis keeps its power."""
        program = shutil.which("ipmi_sim") or "/usr/bin/ipmi_sim"
        state = self._directory / "state"
        shutil.rmtree(state, ignore_errors=True)  # it remembers users, which then win over lan.conf
        state.mkdir()
        kg_line = f'    bmc_key "{self._kg.decode("ascii")}"\n' if self._kg else ""
        lan = self._directory / "lan.conf"
        lan.write_text(
            _LAN.format(
                address=self.address,
                port=self.port,
                guid=self.guid.hex(),
                hook=_HOOK,
                chassis=self.chassis,
                kg_line=kg_line,
            )
        )
        emulator = self._directory / "bmc.emu"
        emulator.write_text(_EMULATOR)
        with (self._directory / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [program, "-n", "-p", "-c", str(lan), "-f", str(emulator), "-s", str(state)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._await_answer()

    def stop(self) -> None:
        """Kills ipmi_sim, as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """A cold reset of the BMC: all sessions are gone."""
        self.stop()
        self.start()

    @property
    def power(self) -> str:
        """``on`` or ``off``: what the chassis really is."""
        return (self.chassis / "power").read_text().strip()

    @power.setter
    def power(self, value: str) -> None:
        if value not in ("on", "off"):
            raise ValueError(value)
        new = self.chassis / "power.set"
        new.write_text(value + "\n")
        new.rename(self.chassis / "power")

    def slow(self, get_s: float = 0.0, set_s: float = 0.0) -> None:
        """Seconds until the BMC answers Get Chassis Status, Chassis Control. It does nothing else meanwhile."""
        self._knob("slow_get", get_s)
        self._knob("slow_set", set_s)

    def lag(self, off_s: float = 0.0, on_s: float = 0.0) -> None:
        """Seconds from an accepted command to its effect."""
        self._knob("lag_off", off_s)
        self._knob("lag_on", on_s)

    def refuse(self, refusing: bool = True) -> None:
        """Chassis Control is answered with an error."""
        self._knob("refuse_set", float(refusing))

    def ignore(self, off: bool = False, on: bool = False) -> None:
        """Chassis Control is accepted and has no effect."""
        self._knob("ignore_off", float(off))
        self._knob("ignore_on", float(on))

    def log(self) -> list[ChassisEvent]:
        """What the chassis was asked (``get power``, ``set power 0``) and became (``now off``), oldest first."""
        lines = (self.chassis / "log").read_text().splitlines()
        return [ChassisEvent(float(at), tuple(words)) for at, *words in map(str.split, lines)]

    def commands(self) -> list[str]:
        """The Chassis Control commands among the log, as ``power 0``, ``power 1``, ``reset 1``."""
        return [" ".join(event.words[1:]) for event in self.log() if event.words[0] == "set"]

    def _knob(self, name: str, value: float) -> None:
        path = self.chassis / name
        if value:
            path.write_text(f"{value:g}\n")
        else:
            path.unlink(missing_ok=True)

    def _await_answer(self) -> None:
        until = time.monotonic() + _READY_TIMEOUT_S
        with socket.socket(_family(self.address), socket.SOCK_DGRAM) as probe:
            probe.connect((self.address, self.port))  # so that "connection refused" is reported
            probe.settimeout(0.05)
            while time.monotonic() < until:
                if self._process is None or self._process.poll() is not None:
                    break
                try:
                    probe.send(_AUTH_CAPABILITIES)
                    probe.recv(512)
                except ConnectionRefusedError:
                    time.sleep(0.005)
                except TimeoutError:
                    pass
                else:
                    return
        said = (self._directory / "out").read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"ipmi_sim on {self.address} port {self.port} does not answer: {said}")


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


if __name__ == "__main__":
    with Bmc(port=int(os.environ.get("BMC_PORT", "0"))) as bmc:
        print(f"{bmc.address} port {bmc.port}, chassis in {bmc.chassis}; interrupt to stop")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
